"""Run the pipeline into an output file, with safeguards against overwriting an input."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from streamseg.errors import OutputError
from streamseg.interrupt import raise_again
from streamseg.media.atomic import followed
from streamseg.media.storage import AnyPath, RemotePath, is_same_file, path_of

if TYPE_CHECKING:
    from streamseg.decode import Source
    from streamseg.settings import Settings
    from streamseg.statistics import Statistics


def run_into(
    source: Source, out: str, settings: Settings, frame_limit: int | None = None, resume: bool = False
) -> Statistics:
    """Run the pipeline from a source into the output that `out` names; print a progress bar and a summary.

    Args:
        source: yields frames.
        out: what `open_sink` takes.
        settings: of the pipeline.
        frame_limit: number of frames to read; None for all.
        resume: continue an interrupted run.

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
    sink = open_sink(out, info, settings.composite.kind, settings.output, resume, statistics.live_text)
    try:
        with sink, RunProgress(total) as progress:
            run(source, chosen.engine, sink, settings, frame_limit, progress.update, statistics=statistics)
    except KeyboardInterrupt:
        print(f"stopped by Ctrl-C; {sink.summary}", file=sys.stderr)
        raise
    print(sink.summary)
    return statistics


def output_path(out: str) -> AnyPath:
    """Return the file that will be written, or the folder of an image sequence; raise OutputError for `-`."""
    from streamseg.sink.images import sequence_pattern

    refuse_standard_output(out)
    pattern = sequence_pattern(out)
    return pattern.parent if pattern else path_of(out)


def refuse_overwriting(target: AnyPath, *inputs: str | None) -> None:
    """Raise OutputError if the output is one of the inputs, before anything is written."""
    written = target if isinstance(target, RemotePath) else followed(target)
    for name in filter(None, inputs):
        with suppress(OSError):  # A name that the system rejects is no file.
            if is_same_file(written, path_of(name)):
                raise OutputError(f"the output {target} is an input too; give another name")


def refuse_standard_output(out: str) -> None:
    """Raise OutputError for `-`."""
    if out == "-":
        raise OutputError("standard output cannot be gone back in, which finishing a file takes: give a name with -o")


def speed_line(statistics: Statistics) -> str:
    """Format number of frames, time and frame rate."""
    from streamseg.frames import counted

    return f"{counted(statistics.frames, 'frame')} in {statistics.elapsed_seconds:.1f} s, {statistics.fps:.1f} fps"
