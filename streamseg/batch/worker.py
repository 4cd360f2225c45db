"""A process that does one task after another, and may be lost to any of them."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Task = TypeVar("Task")
Result = TypeVar("Result")


def _nothing() -> None:
    """There is nothing to prepare."""


class Lost(Exception):
    """The process ended amid its task; the message says how."""


class Worker(Generic[Task, Result]):
    """Does tasks in a process of its own, one at a time; a process that is lost is replaced for the next task.

    There is nothing between the two but a pipe: what a process held when it was killed is held by nobody. The pools of
    `concurrent.futures` and of pebble 5.2 break for good when a process is killed between two tasks or at its start.

    Attributes:
        pipe: ready to be read when `result` need not wait; what `multiprocessing.connection.wait` takes.
    """

    pipe: Connection[Task, tuple[Result | None, Exception | None]]

    def __init__(self, work: Callable[[Task], Result], prepare: Callable[[], None] = _nothing) -> None:
        """Nothing is begun yet.

        Args:
            work: does a task; it, tasks and results are pickled.
            prepare: called in the new process first.
        """
        self._work, self._prepare = work, prepare
        self._process: SpawnProcess | None = None

    def give(self, task: Task) -> None:
        """Begins a task; the result of the one before it must have been taken."""
        if self._process is None or self.pipe.poll():  # Between tasks there is nothing to be read but its end.
            self._begin()
        self.pipe.send(task)

    def result(self) -> Result:
        """Waits for what became of the task.

        Raises:
            Lost: the process ended before that.
            Exception: what `work` raised.
        """
        assert self._process is not None
        try:
            result, error = self.pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            raise Lost(_how_it_ended(self._process.exitcode)) from None
        if error:
            raise error
        return result  # type: ignore[return-value]

    def end(self) -> None:
        """Ends the process at once, whatever it is doing."""
        if self._process:
            self._process.kill()
            self._process.join()
            self.pipe.close()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _begin(self) -> None:
        self.end()
        spawn = multiprocessing.get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, self._prepare, self._work), daemon=True)
        with _interrupts_held_back():
            process.start()
        self._process = process
        theirs.close()  # So that the pipe ends with the process.


def _serve(
    pipe: Connection[tuple[Result | None, Exception | None], Task],
    prepare: Callable[[], None],
    work: Callable[[Task], Result],
) -> None:
    """In the new process: until nobody is left who gives tasks."""
    prepare()
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            answer: tuple[Result | None, Exception | None] = work(task), None
        except Exception as error:
            answer = None, error
        pipe.send(answer)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that are started here never see Ctrl-C, not even amid their first imports: we end them ourselves."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # Otherwise it would begin with the process, and let the signal through.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"its process ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    why = "perhaps for want of memory" if name == "SIGKILL" else "a crash in a codec or in the network's engine"
    return f"its process was ended by {name}, {why}"
