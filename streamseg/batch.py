"""A folder of videos, in processes of their own: a bad file, or a crash in a codec, costs only itself."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal

from streamseg.config import Settings
from streamseg.errors import InputError, OutputError, StreamsegError

if TYPE_CHECKING:
    from streamseg.infer import Engine

VIDEO_SUFFIXES = (
    ".mp4",
    ".mov",
    ".m4v",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".ts",
    ".mts",
    ".wmv",
    ".flv",
    ".3gp",
)
Status = Literal["done", "there", "failed"]

SECONDS_BETWEEN_LOOKS = 2.0
CRASHED = "its process ended: a crash in a codec, or not enough memory"

_engine: Engine | None = None
"""The engine of a worker process."""


@dataclass(frozen=True)
class Job:
    """One file and where it goes."""

    source: Path
    out: Path

    def came_to(self, status: Status, frames: int = 0, seconds: float = 0.0, message: str = "") -> Outcome:
        """What is told of it."""
        return Outcome(str(self.source), str(self.out), status, frames, seconds, message)


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        source: the file.
        out: what was to be written.
        status: `done` now, `there` from before, or `failed`.
        frames: how many were written now.
        seconds: how long that took.
        message: what was written, or what went wrong.
    """

    source: str
    out: str
    status: Status
    frames: int = 0
    seconds: float = 0.0
    message: str = ""

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.frames / self.seconds if self.seconds else 0.0


def plan(folder: Path, out: Path, suffix: str) -> list[Job]:
    """The videos of a folder in the order of their names, with where they go.

    Raises:
        InputError: the folder cannot be read, or it is where the output goes.
        OutputError: two files would be written to one.
    """
    try:
        sources = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error
    if out.exists() and out.samefile(folder):
        raise InputError(f"{out} is the folder that is read; give another one with -o")
    taken: dict[Path, Path] = {}
    for source in sources:
        target = out / f"{source.stem}{suffix}"
        if target in taken:
            raise OutputError(f"{source} and {taken[target]} would both be written to {target}; rename one of them")
        taken[target] = source
    return [Job(source, target) for target, source in taken.items()]


def arrivals(folder: Path, out: Path, suffix: str, pause: Callable[[float], None] = time.sleep) -> Iterator[Job | None]:
    """The videos that are in a folder and that come into it, each once it has stopped growing; without end.

    None stands for each time that nothing more has come.
    """
    begun: set[Path] = set()
    sizes: dict[Path, int] = {}
    while True:
        for job in plan(folder, out, suffix):
            with suppress(OSError):
                size = job.source.stat().st_size
                if job.source not in begun and sizes.get(job.source) == size:
                    begun.add(job.source)
                    yield job
                sizes[job.source] = size
        yield None
        pause(SECONDS_BETWEEN_LOOKS)


def run_batch(jobs: Iterable[Job | None], settings: Settings, workers: int) -> Iterator[Outcome]:
    """Mattes files, `workers` at a time; outcomes come as files are finished.

    What is there already is left alone, and what an interrupted run left is gone on with.

    Args:
        jobs: the files; None says that there is no more for now.
        settings: the knobs of the line, for all of them.
        workers: processes; the cores are shared out between them.
    """
    idle: SimpleQueue[Worker] = SimpleQueue()
    hired = [Worker(settings, share) for share in _shares(workers)]
    for worker in hired:
        idle.put(worker)
    with ThreadPoolExecutor(workers) as threads:
        running: set[Future[Outcome]] = set()
        try:
            for job in jobs:
                if job:
                    running.add(threads.submit(_with_idle, idle, job))
                yield from _finished(running, workers)
            while running:
                yield from _finished(running, 1)
        finally:
            for worker in hired:
                worker.end()


class Worker:
    """A process with an engine; it is replaced when it crashes."""

    def __init__(self, settings: Settings, cores: set[int]) -> None:
        self._settings, self._cores, self._ended = settings, cores, False
        self._pool: ProcessPoolExecutor | None = None

    def matte(self, job: Job) -> Outcome:
        """Does one file."""
        if self._ended:
            return job.came_to("failed", message="stopped before it began")
        if job.out.exists():
            return job.came_to("there", message="was there before")
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, spawn, _begin, (self._cores, self._settings))
        try:
            return self._pool.submit(_matte, job, self._settings).result()
        except BrokenProcessPool:
            self._pool = None
            return job.came_to("failed", message=CRASHED)

    def end(self) -> None:
        """Ends the process, whatever it is doing; what is unfinished is gone on with next time."""
        self._ended = True
        if self._pool:
            # The executor's own way to do this comes with Python 3.14.
            for process in list((self._pool._processes or {}).values()):
                process.terminate()
            self._pool.shutdown()


def _with_idle(idle: SimpleQueue[Worker], job: Job) -> Outcome:
    worker = idle.get()
    try:
        return worker.matte(job)
    finally:
        idle.put(worker)


def _finished(running: set[Future[Outcome]], limit: int) -> list[Outcome]:
    """Takes the finished ones out of `running`; waits for one if `limit` are running and none is finished."""
    done = {future for future in running if future.done()}
    if not done and len(running) >= limit:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
    running -= done
    return [future.result() for future in done]


def _shares(workers: int) -> list[set[int]]:
    """The cores, dealt out; empty where the system does not let processes choose."""
    if not hasattr(os, "sched_getaffinity"):
        return [set()] * workers
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[number % len(cores) :: workers]) for number in range(workers)]


def _begin(cores: set[int], settings: Settings) -> None:
    """In a new process: Ctrl-C ends it at once, and every library sees only its cores."""
    global _engine
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if cores:
        os.sched_setaffinity(0, cores)
    from streamseg.infer import engine_of

    _engine = engine_of(settings.infer)


def _matte(job: Job, settings: Settings) -> Outcome:
    from streamseg.decode import open_source
    from streamseg.pipeline import run
    from streamseg.sink import open_sink
    from streamseg.sink.animation import ANIMATIONS

    assert _engine is not None
    try:
        with open_source(str(job.source)) as source:
            resume = job.out.suffix not in ANIMATIONS  # They are short, and begin again.
            sink = open_sink(str(job.out), source.info, settings.composite.kind, settings.output, resume)
            with sink:
                statistics = run(source, _engine, sink, settings)
            frames, seconds = statistics.frames, statistics.elapsed_seconds
            if source.damage:
                message = f"{source.damage}; {job.out} holds what could be decoded"
                return job.came_to("failed", frames, seconds, message)
            return job.came_to("done", frames, seconds, sink.written)
    except StreamsegError as error:
        return job.came_to("failed", message=str(error))
