"""Run a video in segments by several processes, or on a cluster, with progress and a summary as of one run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from streamseg.cli.errors import DAMAGED
from streamseg.errors import StreamsegError
from streamseg.interrupt import raise_again

if TYPE_CHECKING:
    from streamseg.batch.schedule import Crew
    from streamseg.batch.tasks import Work
    from streamseg.decode import TimeRange
    from streamseg.settings import Settings


def parted(source: str, out: str, settings: Settings, time_range: TimeRange, workers: int, resume: bool) -> Work | None:
    """Return the work on a source that is parted into segments, now or by an earlier run; None if it is not.

    Args:
        source: what `open_source` takes.
        out: what `open_sink` takes.
        settings: of the pipeline.
        time_range: the part of the source to matte.
        workers: number of processes.
        resume: go on with what a run in one piece has left, if there is any.

    Raises:
        StreamsegError: the source cannot be read, or nothing can be written to `out`.
    """
    from streamseg.batch.cuts import WHOLE, length_of, segment_seconds, segments_of
    from streamseg.batch.tasks import Work
    from streamseg.decode import open_source
    from streamseg.media.storage import path_of
    from streamseg.sink import check_format
    from streamseg.sink.animation import ANIMATIONS
    from streamseg.sink.images import sequence_pattern
    from streamseg.sink.resume import unfinished

    pattern = sequence_pattern(out)
    target = pattern or path_of(out)
    if not pattern:
        check_format(target, settings.composite.kind, settings.output)
        if target.suffix.lower() in ANIMATIONS:
            return None
    with open_source(source, time_range) as opened:
        length = length_of(opened)
        if length is None:
            return None
        seconds = settings.batch.segment_seconds or segment_seconds(float(length), workers)
        work = Work(source, target, settings, seconds, pattern is not None, time_range)
        if work.folder.path.exists():
            return work
        if resume and isinstance(target, Path) and any(path.exists() for path in unfinished(target)):
            return None
        return work if workers > 1 and segments_of(opened, seconds) != WHOLE else None


def run_parted(work: Work, workers: int) -> None:
    """Matte a video in segments and print a summary.

    Raises:
        StreamsegError: it cannot be done.
        KeyboardInterrupt: Ctrl-C; the segments that are finished are kept.
    """
    from streamseg.batch.local import LocalCrew

    raise_again()
    _run(work, LocalCrew(workers), "process" if workers == 1 else "processes")


def run_on_cluster(
    source: str, out: str, settings: Settings, time_range: TimeRange, address: str, gpus_per_task: float
) -> None:
    """Matte a video on a Ray cluster and print a summary; arguments as of `parted` and `RayCrew`.

    Raises:
        StreamsegError: it cannot be done.
        KeyboardInterrupt: Ctrl-C; the segments that are finished are kept.
    """
    from streamseg.batch.plan import work_on
    from streamseg.batch.ray_crew import RayCrew
    from streamseg.batch.visible import everywhere
    from streamseg.decode import open_source
    from streamseg.media.storage import path_of
    from streamseg.sink import check_format
    from streamseg.sink.images import make_folder, sequence_pattern

    pattern = sequence_pattern(out)
    if not pattern:
        check_format(path_of(out), settings.composite.kind, settings.output)
    with open_source(source, time_range):
        pass  # It can be read: that is known before a cluster is begun.
    raise_again()
    with RayCrew(address, gpus_per_task) as crew:
        work = everywhere(
            work_on(source, pattern or path_of(out), settings, crew.size, pattern is not None, time_range)
        )
        if pattern:
            make_folder(work.out.parent)
        crew.check([work])
        _run(work, crew, "worker" if crew.size == 1 else "workers")


def _run(work: Work, crew: Crew, workers: str) -> None:
    """Work a file off and print a summary, which calls the crew's members so."""
    from streamseg.batch.schedule import work_off
    from streamseg.cli.progress import CrewProgress
    from streamseg.frames import counted

    size = crew.size
    try:
        with CrewProgress() as progress:
            (result,) = work_off([work], crew, progress.show)
    except KeyboardInterrupt:
        print(f"stopped by Ctrl-C; {_kept(work)}", file=sys.stderr)
        raise
    if result.has_failed:
        raise StreamsegError(result.message)
    print(result.message)
    fps = result.frames / result.seconds
    by = f"{counted(len(result.segments), 'segment')} by {size} {workers}"
    print(f"{counted(result.frames, 'frame')} in {result.seconds:.1f} s, {fps:.1f} fps, {by}")
    if result.damage:
        print(f"warning: {result.damage}; {work.out} holds what could be decoded", file=sys.stderr)
        raise typer.Exit(DAMAGED)


def _kept(work: Work) -> str:
    """Say what an interrupted run has left."""
    folder = work.folder
    manifest = folder.manifest()
    if not manifest:
        return "nothing was written"
    count, all_count = len(folder.finished()), len(manifest.cuts) + 1
    return f"{count} of {all_count} segments are kept in {folder.path}, and the same command goes on"
