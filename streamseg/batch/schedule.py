"""The schedule: hands the segments of files to workers, has lost ones done again, checks the seams and joins the files.

It runs in one process, the driver, and does no matting itself. Workers of any kind will do; see `Crew`.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from streamseg.batch.cuts import WHOLE, Segment
from streamseg.batch.folder import Finished, fits, is_joined_well
from streamseg.batch.tasks import (
    Failure,
    Joined,
    JoinTask,
    Plan,
    PlanTask,
    Result,
    SegmentTask,
    Task,
    Whole,
    WholeTask,
    Work,
)
from streamseg.batch.worker import Lost
from streamseg.errors import StreamsegError
from streamseg.media.atomic import followed
from streamseg.media.storage import RemotePath
from streamseg.sink.images import make_folder
from streamseg.sink.lock import Claim

MAX_LOSSES = 3
"""Times that a task is given to another worker after one was lost with it."""

MAX_REDONE, LEAD_IN_GROWTH = 4, 8
"""Times that a segment is matted again because its first matte is not that of the segment before, and the factor by
which it begins earlier from the second time on."""

POLL_SECONDS = 0.5
"""Longest time between two reports of progress."""


class Crew(Protocol):
    """Workers that each do one task at a time."""

    @property
    def size(self) -> int:
        """Number of workers."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether a worker is idle."""
        ...

    @property
    def frames(self) -> int:
        """Frames that the tasks under way have finished."""
        ...

    def give(self, task: Task) -> None:
        """Begin a task."""
        ...

    def results(self, timeout_seconds: float) -> Sequence[tuple[Task, Result | Lost]]:
        """Wait for finished tasks, no longer than some time, and return them.

        Raises:
            EngineError: as `run_task`.
            WeightsError: as `run_task`.
        """
        ...

    def end(self) -> None:
        """End all workers at once, whatever they are doing."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far all is.

    Attributes:
        files: files finished.
        frames: frames finished, with those of earlier runs.
        frame_count: number of frames of the files begun so far, if it is stated for all of them.
        new_frames: frames finished by this run.
        elapsed_seconds: since its start.
        workers: number of workers.
    """

    files: int
    frames: int
    frame_count: int | None
    new_frames: int
    elapsed_seconds: float
    workers: int


@dataclass(frozen=True)
class FileResult:
    """What became of a file.

    Attributes:
        work: the file.
        message: the summary of the output, or the error.
        has_failed: there is no output.
        damage: what could not be decoded, in one line.
        frames: number of frames written.
        seconds: from the file's begin to its end.
        segments: its segments, with machine and time.
    """

    work: Work
    message: str
    has_failed: bool = False
    damage: str | None = None
    frames: int = 0
    seconds: float = 0.0
    segments: tuple[Finished, ...] = ()


def work_off(
    works: Iterable[Work | None], crew: Crew, on_progress: Callable[[Progress], None] = lambda progress: None
) -> Iterator[FileResult]:
    """Do the work on files, the earlier ones first, and yield what became of each; at the end, end the workers.

    What is finished of a file when this is closed, or interrupted, is taken up when the file is given again.

    Args:
        works: the files; one is begun when the others leave a worker idle. None for no more files at present.
        crew: the workers.
        on_progress: called now and then.

    Raises:
        EngineError: no engine opens.
        WeightsError: the network's weights cannot be read.
    """
    schedule = _Schedule(works, crew)
    try:
        while schedule.hand_out():
            yield from schedule.collect()
            on_progress(schedule.progress())
        on_progress(schedule.progress())
    finally:
        crew.end()
        schedule.close()


class _Schedule:
    """The files that are under way."""

    def __init__(self, works: Iterable[Work | None], crew: Crew) -> None:
        self._coming, self._crew = iter(works), crew
        self._has_more = True
        self._open: list[_File] = []
        self._under_way: list[tuple[Task, _File]] = []
        self._started = time.monotonic()
        self._done = _Tally()

    def hand_out(self) -> bool:
        """Give tasks to idle workers; return whether there is anything left to do."""
        while self._crew.has_room and (found := self._next_task()):
            self._crew.give(found[0])
            self._under_way.append(found)
        return bool(self._open or self._has_more)

    def collect(self) -> Iterator[FileResult]:
        """Wait for finished tasks; yield the files that are finished by them."""
        for task, result in self._crew.results(POLL_SECONDS if self._under_way else 0):
            (file,) = [file for one, file in self._under_way if one is task]
            self._under_way = [pair for pair in self._under_way if pair[0] is not task]
            file.take(task, result)
        for file in self._open.copy():
            if file.result:
                self._open.remove(file)
                file.close()
                self._done = self._done.plus(file)
                yield file.result

    def progress(self) -> Progress:
        """Return how far all is."""
        tally = self._done
        for file in self._open:
            tally = tally.plus(file)
        frames, elapsed_seconds = tally.frames + self._crew.frames, time.monotonic() - self._started
        frame_count = None if self._has_more else tally.frame_count
        new_frames = frames - tally.old_frames
        files = tally.files - len(self._open)
        return Progress(files, frames, frame_count, new_frames, elapsed_seconds, self._crew.size)

    def close(self) -> None:
        """Leave the files that are not finished as the next run can take them up."""
        for file in self._open:
            file.close()

    def _next_task(self) -> tuple[Task, _File] | None:
        """Return the next task of the file that was begun first, or of another file that is begun."""
        for file in self._open:
            if task := file.next_task():
                return task, file
        while self._has_more:
            try:
                work = next(self._coming)
            except StopIteration:
                self._has_more = False
                return None
            if work is None:
                return None
            file = _File(work)
            self._open.append(file)
            if task := file.next_task():
                return task, file
        return None


@dataclass(frozen=True, slots=True)
class _Tally:
    """Sums over files; see `_File`."""

    files: int = 0
    frames: int = 0
    old_frames: int = 0
    frame_count: int | None = 0

    def plus(self, file: _File) -> _Tally:
        known = self.frame_count is not None and file.frame_count is not None
        return _Tally(
            self.files + 1,
            self.frames + file.frames,
            self.old_frames + file.old_frames,
            (self.frame_count or 0) + (file.frame_count or 0) if known else None,
        )


class _File:
    """One file under way.

    Attributes:
        result: what became of it, once that is known.
        frame_count: number of its frames, if it is stated.
        old_frames: frames that an earlier run had finished.
    """

    def __init__(self, work: Work) -> None:
        """Lock the output; if another run writes it, that is the result."""
        self._work, self._started = work, time.monotonic()
        self.result: FileResult | None = None
        self.frame_count: int | None = None
        self.old_frames = 0
        self._segments: tuple[Segment, ...] = ()
        self._finished: dict[int, Finished] = {}
        self._joined_well = 0
        self._redone: Counter[int] = Counter()
        self._losses: Counter[str] = Counter()
        self._claim: Claim | None = None
        self._todo: deque[Task] = deque([PlanTask(work)])
        try:
            self._claim = _claim(work)
        except StreamsegError as error:
            self._fail(str(error))

    @property
    def frames(self) -> int:
        """Frames that are finished."""
        return self.result.frames if self.result else sum(one.frames for one in self._finished.values())

    def next_task(self) -> Task | None:
        """Return a task that can be begun now, if there is one."""
        return self._todo.popleft() if self._todo and not self.result else None

    def take(self, task: Task, result: Result | Lost) -> None:
        """Take what became of a task; those of a file that has failed meanwhile are ignored."""
        if self.result:
            return
        match result:
            case Lost() as lost:
                self._do_again(task, f"its worker was lost {MAX_LOSSES + 1} times: {lost}")
            case Failure(message, is_machines=True):
                self._do_again(task, message)
            case Failure(message):
                self._fail(message)
            case Plan() as plan:
                self._begin(plan)
            case Finished() as finished if isinstance(task, SegmentTask) and task.segment in self._segments:
                self._finished[finished.number] = finished
                self._check_seams()
            case Joined(summary):
                self._work.folder.remove()
                self._complete(summary, self._in_order())
            case Whole() as whole:
                self._complete(whole.summary, (whole.finished,))

    def close(self) -> None:
        """Remove what attempts that were broken off have left, and unlock the output."""
        if self._segments and self._segments != WHOLE:
            self._work.folder.clear()
        if self._claim:
            self._claim.release()

    def _begin(self, plan: Plan) -> None:
        self._work, self._segments, self._finished = plan.work, plan.segments, plan.finished
        self.frame_count, self.old_frames = plan.frame_count, sum(one.frames for one in plan.finished.values())
        if plan.segments == WHOLE:
            self._begin_whole()
            return
        self._todo.extend(self._task(segment) for segment in plan.segments if segment.number not in plan.finished)
        self._check_seams()

    def _begin_whole(self) -> None:
        """Have the file matted in one piece, as files are that cannot be parted."""
        self._segments, self._finished = WHOLE, {}
        self._work.folder.remove()
        if self._claim:
            self._claim.release()  # The worker locks it, since its sink can be continued.
        self._todo = deque([WholeTask(self._work)])

    def _task(self, segment: Segment) -> SegmentTask:
        return SegmentTask(self._work, segment, uuid.uuid4().hex[:8])

    def _check_seams(self) -> None:
        """Go on from segment to segment as far as they are finished; join them after the last one."""
        while self._joined_well < len(self._segments):
            later = self._finished.get(self._joined_well)
            if later is None:
                return
            earlier = self._last_with_frames(later.number)
            if earlier and later.frames and not self._holds(earlier, later):
                return
            self._joined_well += 1
        last = self._last_with_frames(len(self._segments))
        if last and last.following_pts is not None:  # A frame belongs to none of the segments.
            self._begin_whole()
            return
        self._todo.append(JoinTask(self._work, self._in_order()))

    def _holds(self, earlier: Finished, later: Finished) -> bool:
        """Check one seam; if it does not hold, have the later segment, or all, done again."""
        folder, number = self._work.folder, later.number
        if not fits(earlier, later):  # Times that depend on where decoding begins.
            self._begin_whole()
            return False
        before = folder.seams(earlier.number)
        if is_joined_well(before, folder.seams(number)):
            return True
        if self._redone[number] == MAX_REDONE:
            self._begin_whole()
            return False
        lead_in = LEAD_IN_GROWTH ** self._redone[number]
        self._redone[number] += 1
        del self._finished[number]
        self._todo.appendleft(replace(self._task(self._segments[number]), lead_in=lead_in, known=before.memory))
        return False

    def _last_with_frames(self, number: int) -> Finished | None:
        """Return the last segment before `number` that has frames."""
        return next((self._finished[one] for one in reversed(range(number)) if self._finished[one].frames), None)

    def _do_again(self, task: Task, message: str) -> None:
        """Have a task done by another worker, or give the file up."""
        self._losses[task.name] += 1
        if self._losses[task.name] > MAX_LOSSES:
            self._fail(f"{task.name}: {message}")
            return
        again = replace(task, attempt=uuid.uuid4().hex[:8]) if isinstance(task, SegmentTask) else task
        self._todo.appendleft(again)

    def _in_order(self) -> tuple[Finished, ...]:
        return tuple(self._finished[segment.number] for segment in self._segments)

    def _complete(self, summary: str, segments: tuple[Finished, ...]) -> None:
        frames, seconds = sum(one.frames for one in segments), time.monotonic() - self._started
        damage = _damage(self._work, segments)
        self.result = FileResult(self._work, summary, False, damage, frames, seconds, segments)

    def _fail(self, message: str) -> None:
        self.result = FileResult(self._work, message, has_failed=True, seconds=time.monotonic() - self._started)


def _claim(work: Work) -> Claim | None:
    """Lock an output, whose folder is made if it is one of images; object storage has no locks."""
    if work.as_images:
        make_folder(work.out.parent)
    if isinstance(work.out, RemotePath):
        return None
    return Claim(work.out if work.as_images else followed(work.out))


def _damage(work: Work, segments: tuple[Finished, ...]) -> str | None:
    """Put the lines on what is missing of each segment into one."""
    prefix = f"{work.source} is damaged: "
    lines = dict.fromkeys(one.damage.removeprefix(prefix) for one in segments if one.damage)
    return prefix + "; ".join(lines) if lines else None
