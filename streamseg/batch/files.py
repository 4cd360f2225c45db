"""Batch conversion by a crew: the segments of all files are in one queue, and each file has an outcome of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from streamseg.batch.jobs import Job, Outcome, SegmentRecord
from streamseg.batch.plan import work_on
from streamseg.batch.ray_crew import RayCrew
from streamseg.batch.schedule import FileResult, Progress, work_off
from streamseg.batch.visible import everywhere
from streamseg.settings import Settings


def run_on_cluster(
    jobs: Sequence[Job], settings: Settings, crew: RayCrew, on_progress: Callable[[Progress], None]
) -> Iterator[Outcome]:
    """Run jobs on a cluster; yield outcomes as files are finished.

    Existing outputs are skipped; the segments that an earlier run has finished are taken up.

    Args:
        jobs: the files.
        settings: of the pipeline, for all files.
        crew: the workers, which are ended.
        on_progress: called now and then.

    Raises:
        StreamsegError: no engine opens, or a node cannot see the files.
    """
    works = []
    for job in jobs:
        if job.out.exists():
            yield job.outcome("skipped", message="was there before")
        else:
            works.append(everywhere(work_on(str(job.source), job.out, settings, crew.size)))
    crew.check(works)
    for result in work_off(works, crew, on_progress):
        yield _outcome(result)


def _outcome(result: FileResult) -> Outcome:
    work, message = result.work, result.message
    if result.damage and not result.has_failed:
        message = f"{result.damage}; {work.out} holds what could be decoded"
    return Outcome(
        source=work.source,
        out=str(work.out),
        status="failed" if result.has_failed else "damaged" if result.damage else "done",
        frames=result.frames,
        seconds=result.seconds,
        message=message,
        segments=tuple(SegmentRecord(one.machine, one.frames, one.seconds) for one in result.segments),
    )
