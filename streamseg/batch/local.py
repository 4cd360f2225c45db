"""A crew of processes on this machine, which share out its cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from ctypes import c_longlong
from functools import partial
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Self

from streamseg.batch.tasks import Result, Task
from streamseg.batch.worker import Lost, Worker


def nothing() -> None:
    """Prepare nothing."""


class LocalCrew:
    """Worker processes of this machine; see `Crew`."""

    def __init__(self, workers: int, prepare: Callable[[], None] = nothing) -> None:
        """Start no process yet.

        Args:
            workers: their number.
            prepare: called in each new process first.
        """
        self._idle = [_Counted(cores, prepare) for cores in core_sets(workers)]
        self._busy: list[tuple[_Counted, Task]] = []
        self.size = workers

    @property
    def has_room(self) -> bool:
        """See `Crew`."""
        return bool(self._idle)

    @property
    def frames(self) -> int:
        """See `Crew`."""
        return sum(one.frames.value for one, _ in self._busy)

    def give(self, task: Task) -> None:
        """See `Crew`."""
        one = self._idle.pop()
        one.frames.value = 0
        one.worker.give(task)
        self._busy.append((one, task))

    def results(self, timeout_seconds: float) -> Sequence[tuple[Task, Result | Lost]]:
        """See `Crew`."""
        ready = wait([one.worker.pipe for one, _ in self._busy], timeout_seconds)
        found: list[tuple[Task, Result | Lost]] = []
        for one, task in [pair for pair in self._busy if pair[0].worker.pipe in ready]:
            self._busy.remove((one, task))
            self._idle.append(one)
            try:
                found.append((task, one.worker.result()))
            except Lost as lost:
                found.append((task, lost))
        return found

    def end(self) -> None:
        """See `Crew`."""
        for one in (*self._idle, *(busy for busy, _ in self._busy)):
            one.worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class _Counted:
    """A process, and the number of frames that its task has finished, which both sides see."""

    def __init__(self, cores: set[int], prepare: Callable[[], None]) -> None:
        self.frames: Any = multiprocessing.get_context("spawn").Value(c_longlong, 0, lock=False)
        self.worker: Worker[Task, Result] = Worker(partial(_do, self.frames), partial(_begin, cores, prepare))


def _begin(cores: set[int], prepare: Callable[[], None]) -> None:
    pin_to_cores(cores)
    prepare()


def _do(frames: Any, task: Task) -> Result:
    from streamseg.batch.work import run_task

    def tell(count: int) -> None:
        frames.value = count

    return run_task(task, tell)


def core_sets(workers: int) -> list[set[int]]:
    """Share out the cores among workers; empty sets if the system does not support affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return [set()] * workers
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[number % len(cores) :: workers]) for number in range(workers)]


def pin_to_cores(cores: set[int]) -> None:
    """Restrict a worker process to its cores, before libraries count them."""
    if cores:
        os.sched_setaffinity(0, cores)
