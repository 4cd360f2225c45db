"""A folder of videos, in processes of their own: a bad file, or a crash in a codec, costs only itself."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from streamseg.batch.worker import Lost, Worker
from streamseg.errors import OUT_OF_MEMORY, InputError, OutputError, StreamsegError
from streamseg.settings import InferSettings, Settings

if TYPE_CHECKING:
    from streamseg.infer.engines.base import Engine

OF_TODAY = "mp4 m4v mov qt mj2 3gp 3g2 f4v ismv psp insv lrv 360 mp4v mkv mk3d webm avi divx amv gif apng"
OF_BROADCAST = (
    "ts tp trp m2t m2ts mts mpg mpeg mpe m1v m2v m2p mpv mod tod vob vro evo dvd mxf gxf dv dif wtv dvr-ms ty"
)
OF_LONG_AGO = "wmv asf flv swf ogv ogm rm rmvb ivr viv nut bik smk roq cpk fli flc xmv"
OF_ONE_CODEC = (
    "h261 h263 h264 264 h26l avc h265 265 hevc h266 266 vvc ivf obu av1 evc apv vc1 rcv mjpeg mjpg y4m dnxhd dnxhr "
    "drc vc2 cavs avs avs2 avs3"
)
VIDEO_SUFFIXES = frozenset(
    f".{suffix}" for family in (OF_TODAY, OF_BROADCAST, OF_LONG_AGO, OF_ONE_CODEC) for suffix in family.split()
)
"""What is taken for a video; FFmpeg goes by the content."""

RESOURCE_FORK = "._"
"""How names begin under which macOS keeps what its file system knew of a file on one that cannot hold that."""

Status = Literal["done", "damaged", "there", "failed"]

SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True)
class Job:
    """One file and where it goes."""

    source: Path
    out: Path

    def outcome(self, status: Status, frames: int = 0, seconds: float = 0.0, message: str = "") -> Outcome:
        """What is told of it."""
        return Outcome(str(self.source), str(self.out), status, frames, seconds, message)


Task: TypeAlias = tuple[Job, Settings]


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        source: the file.
        out: what was to be written.
        status: `done` now, `damaged`, which is done as far as the source could be decoded, `there` from before, or
            `failed`.
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
        sources = sorted(path for path in folder.iterdir() if _is_video(path))
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
        settings: the settings of the pipeline, for all of them.
        workers: processes; the cores are shared out between them.

    Raises:
        StreamsegError: there is no engine for any of them.
    """
    with ExitStack() as hired:
        idle = [hired.enter_context(Worker(_matte, partial(_begin, share))) for share in _shares(workers)]
        busy: list[tuple[Worker[Task, Outcome], Job]] = []
        for job in jobs:
            if job and job.out.exists():
                yield job.outcome("there", message="was there before")
                continue
            if job:
                worker = idle.pop()
                worker.give((job, settings))
                busy.append((worker, job))
            yield from _finished(busy, idle, wait_for_one=not idle)
        while busy:
            yield from _finished(busy, idle, wait_for_one=True)


def _finished(
    busy: list[tuple[Worker[Task, Outcome], Job]], idle: list[Worker[Task, Outcome]], wait_for_one: bool
) -> Iterator[Outcome]:
    """Moves the workers that are done from `busy` to `idle`."""
    ready = wait([worker.pipe for worker, _ in busy], None if wait_for_one else 0)
    for worker, job in [pair for pair in busy if pair[0].pipe in ready]:
        busy.remove((worker, job))
        idle.append(worker)
        try:
            outcome = worker.result()
        except Lost as lost:
            outcome = job.outcome("failed", message=str(lost))
        yield outcome


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(RESOURCE_FORK) and not path.is_dir()


def _shares(workers: int) -> list[set[int]]:
    """The cores, dealt out; empty where the system does not let processes choose."""
    if not hasattr(os, "sched_getaffinity"):
        return [set()] * workers
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[number % len(cores) :: workers]) for number in range(workers)]


def _begin(cores: set[int]) -> None:
    """In a new process: every library sees only its cores."""
    if cores:
        os.sched_setaffinity(0, cores)


@cache
def _engine(settings: InferSettings) -> Engine:
    """The engine of a worker process."""
    from streamseg.infer.engines import load_engine

    return load_engine(settings)


def _matte(task: Task) -> Outcome:
    """In a worker process: does one file, and says what became of it whatever that was."""
    job, settings = task
    engine = _engine(settings.infer)
    try:
        return _matted(job, engine, settings)
    except StreamsegError as error:
        return job.outcome("failed", message=str(error))
    except MemoryError:
        return job.outcome("failed", message=OUT_OF_MEMORY)
    except Exception as error:
        return job.outcome("failed", message=_as_bug(error))


def _matted(job: Job, engine: Engine, settings: Settings) -> Outcome:
    from streamseg.decode import open_source
    from streamseg.pipeline import run
    from streamseg.sink import open_file
    from streamseg.sink.animation import ANIMATIONS

    with open_source(str(job.source)) as source:
        resume = job.out.suffix.lower() not in ANIMATIONS  # They are short, and begin again.
        sink = open_file(job.out, source.info, settings.composite.kind, settings.output, resume)
        with sink:
            statistics = run(source, engine, sink, settings)
        frames, seconds = statistics.frames, statistics.elapsed_seconds
        if source.decode_error:
            message = f"{source.decode_error}; {job.out} holds what could be decoded"
            return job.outcome("damaged", frames, seconds, message)
        return job.outcome("done", frames, seconds, sink.summary)


def _as_bug(error: Exception) -> str:
    """What is told of an error that nobody foresaw: enough to report it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason} ({Path(place.filename).name}, line {place.lineno}); this is a bug"
