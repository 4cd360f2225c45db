"""Run the pipeline into an output file, with a progress bar and a summary."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from streamseg.errors import OutputError
from streamseg.interrupt import raise_again

if TYPE_CHECKING:
    from streamseg.decode import Source
    from streamseg.settings import Settings
    from streamseg.sink import MadeFrom
    from streamseg.statistics import Statistics


def run_into(
    source: Source,
    out: str,
    settings: Settings,
    frame_limit: int | None = None,
    resume: bool = False,
    made_from: MadeFrom | None = None,
) -> Statistics:
    """Run the pipeline from a source into the output that `out` names; print a progress bar and a summary.

    Args:
        source: yields frames.
        out: what `open_sink` takes.
        settings: of the pipeline.
        frame_limit: number of frames to read; None for all.
        resume: continue an interrupted run.
        made_from: see `open_sink`.

    Raises:
        StreamsegError: a stage failed, or the output cannot be written.
        KeyboardInterrupt: Ctrl-C, after the output has been finished.
    """
    from streamseg.cli.progress import RunProgress
    from streamseg.infer.select import engine_for
    from streamseg.pipeline import run
    from streamseg.sink import open_sink
    from streamseg.sink.mix import with_background_sound
    from streamseg.statistics import Statistics

    info = with_background_sound(source.info, settings.composite)
    chosen = engine_for(settings.infer, source.info)
    if chosen.pace:
        print(chosen.pace)
    total = min(filter(None, (source.info.frame_count, frame_limit)), default=None)
    raise_again()
    statistics = Statistics()
    kind, show = settings.composite.kind, statistics.live_text
    sink = open_sink(out, info, kind, settings.output, resume, show, made_from=made_from)
    try:
        with sink, RunProgress(total) as progress:
            run(source, chosen.engine, sink, settings, frame_limit, progress.update, statistics=statistics)
    except KeyboardInterrupt:
        print(f"stopped by Ctrl-C; {sink.summary}", file=sys.stderr)
        raise
    print(sink.summary)
    return statistics


def refuse_standard_output(out: str) -> None:
    """Raise OutputError for `-`."""
    if out == "-":
        raise OutputError("standard output cannot be gone back in, which finishing a file takes: give a name with -o")


def speed_line(statistics: Statistics) -> str:
    """Format number of frames, time and frame rate."""
    from streamseg.frames import counted

    return f"{counted(statistics.frames, 'frame')} in {statistics.elapsed_seconds:.1f} s, {statistics.fps:.1f} fps"
