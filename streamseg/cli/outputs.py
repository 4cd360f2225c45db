"""Runs the pipeline into an output, and refuses outputs that would do harm."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from streamseg.errors import OutputError
from streamseg.interrupt import raise_again
from streamseg.media.atomic import followed
from streamseg.settings import Settings

if TYPE_CHECKING:
    from streamseg.decode import Source
    from streamseg.statistics import Statistics


def run_into(
    source: Source, out: str, settings: Settings, frame_limit: int | None = None, resume: bool = False
) -> Statistics:
    """Run the pipeline from a source into what `out` names, with a progress bar and a line on what was written."""
    from streamseg.cli.progress import RunProgress
    from streamseg.infer.select import engine_for
    from streamseg.pipeline import run
    from streamseg.sink import open_sink
    from streamseg.statistics import Statistics

    chosen = engine_for(settings.infer, source.info)
    if chosen.reason:
        print(chosen.reason)
    total = min(filter(None, (source.info.frame_count, frame_limit)), default=None)
    raise_again()
    statistics = Statistics()
    sink = open_sink(out, source.info, settings.composite.kind, settings.output, resume, statistics.live_text)
    try:
        with sink, RunProgress(total) as progress:
            run(source, chosen.engine, sink, settings, frame_limit, progress.update, statistics=statistics)
    except KeyboardInterrupt:
        print(f"stopped by Ctrl-C; {sink.summary}", file=sys.stderr)
        raise
    print(sink.summary)
    return statistics


def target_of(out: str) -> Path:
    """The file that will be written, or the folder of a sequence: its names may be those of the pictures there."""
    from streamseg.sink.pictures import sequence_pattern

    refuse_standard_output(out)
    pattern = sequence_pattern(out)
    return pattern.parent if pattern else Path(out)


def refuse_overwriting(target: Path, *inputs: str | None) -> None:
    """Raise OutputError where the output is an input, or is no file, before anything is begun."""
    written = followed(target)
    for name in filter(None, inputs):
        with suppress(OSError):  # What has such a name is no file.
            if written.exists() and Path(name).exists() and written.samefile(name):
                raise OutputError(f"the output {target} is an input too; give another name")


def refuse_standard_output(out: str) -> None:
    """Raise OutputError for `-`."""
    if out == "-":
        raise OutputError("standard output cannot be gone back in, which finishing a file takes: give a name with -o")


def speed_line(statistics: Statistics) -> str:
    """How many frames, in which time."""
    return f"{statistics.frames} frames in {statistics.elapsed_seconds:.1f} s, {statistics.fps:.1f} fps"
