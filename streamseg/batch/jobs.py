"""Batch jobs: plan the videos of a folder and run them in worker processes, so that a crash costs only its own file."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from streamseg.batch.worker import Lost, Worker
from streamseg.errors import OUT_OF_MEMORY, InputError, OutputError, StreamsegError
from streamseg.media.storage import AnyPath, files_in, is_same_file, size_bytes
from streamseg.settings import InferSettings, Settings

if TYPE_CHECKING:
    from streamseg.infer.engines.base import Engine

CURRENT_SUFFIXES = "mp4 m4v mov qt mj2 3gp 3g2 f4v ismv psp insv lrv 360 mp4v mkv mk3d webm avi divx amv gif apng"
BROADCAST_SUFFIXES = (
    "ts tp trp m2t m2ts mts mpg mpeg mpe m1v m2v m2p mpv mod tod vob vro evo dvd mxf gxf dv dif wtv dvr-ms ty"
)
LEGACY_SUFFIXES = "wmv asf flv swf ogv ogm rm rmvb ivr viv nut bik smk roq cpk fli flc xmv"
RAW_CODEC_SUFFIXES = (
    "h261 h263 h264 264 h26l avc h265 265 hevc h266 266 vvc ivf obu av1 evc apv vc1 rcv mjpeg mjpg y4m dnxhd dnxhr "
    "drc vc2 cavs avs avs2 avs3"
)
VIDEO_SUFFIXES = frozenset(
    f".{suffix}"
    for family in (CURRENT_SUFFIXES, BROADCAST_SUFFIXES, LEGACY_SUFFIXES, RAW_CODEC_SUFFIXES)
    for suffix in family.split()
)
"""Suffixes of files that are taken for videos; FFmpeg goes by the content."""

RESOURCE_FORK_PREFIX = "._"
"""Prefix of the files in which macOS keeps metadata on file systems that cannot hold it."""

Status = Literal["done", "damaged", "skipped", "failed"]

STANDARD = Settings()
POLL_SECONDS = 2.0
"""Time between two looks into a watched folder."""


@dataclass(frozen=True)
class Job:
    """A video and its output file.

    Attributes:
        source: the input file.
        out: the output file.
        problem: why it cannot be run, in one line; empty if it can.
    """

    source: AnyPath
    out: AnyPath
    problem: str = ""

    def outcome(self, status: Status, frames: int = 0, seconds: float = 0.0, message: str = "") -> Outcome:
        """Make the job's outcome."""
        return Outcome(str(self.source), str(self.out), status, frames, seconds, message)


Task: TypeAlias = tuple[Job, Settings]


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment of a file that was done on a cluster: where, how many frames, and how long it took."""

    machine: str
    frames: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """Outcome of one job.

    Attributes:
        source: the input file.
        out: the output file.
        status: `done`; `damaged`: done as far as the source could be decoded; `there`: skipped, as the output existed;
            `failed`.
        frames: number of frames written.
        seconds: duration of the run.
        message: summary of the output, or the error.
        segments: those of a file that was done on a cluster, in order.
    """

    source: str
    out: str
    status: Status
    frames: int = 0
    seconds: float = 0.0
    message: str = ""
    segments: tuple[SegmentRecord, ...] = ()

    @property
    def fps(self) -> float:
        """Frames written a second."""
        return self.frames / self.seconds if self.seconds else 0.0


def plan(folder: AnyPath, out: AnyPath, suffix: str, settings: Settings = STANDARD) -> list[Job]:
    """List a folder's videos in the order of their names, with their outputs.

    Args:
        folder: of the videos.
        out: the folder that they are written to.
        suffix: of the outputs.
        settings: say whether each has a sidecar matte.

    Raises:
        InputError: as `videos_in`.
        OutputError: two files would be written to one output.
    """
    taken: dict[AnyPath, AnyPath] = {}
    jobs = [_checked(job, taken, settings) for job in videos_in(folder, out, suffix)]
    for job in jobs:
        if job.problem:
            raise OutputError(job.problem)
    return jobs


def videos_in(folder: AnyPath, out: AnyPath, suffix: str) -> list[Job]:
    """List a folder's videos as `plan` does, of which several may be for one output.

    Raises:
        InputError: the folder cannot be read, or is the output folder too.
    """
    sources = sorted(path for path in files_in(folder) if _is_video(path))
    if is_same_file(out, folder):
        raise InputError(f"{out} is the folder that is read; give another one with -o")
    return [Job(source, out / f"{source.stem}{suffix}") for source in sources]


def arrivals(
    folder: AnyPath,
    out: AnyPath,
    suffix: str,
    pause: Callable[[float], None] = time.sleep,
    settings: Settings = STANDARD,
) -> Iterator[Job | None]:
    """Yield, without end, the videos of a folder and those that come into it, each once it has stopped growing.

    None is yielded after each look into the folder. A video whose output is that of an earlier one has a `problem`.
    """
    yielded: set[AnyPath] = set()
    sizes: dict[AnyPath, int] = {}
    while True:
        found = videos_in(folder, out, suffix)
        taken = {path: job.source for job in found if job.source in yielded for path in _files_of(job, settings)}
        for job in found:
            with suppress(OSError):
                size = size_bytes(job.source)
                if job.source not in yielded and sizes.get(job.source) == size:
                    yielded.add(job.source)
                    yield _checked(job, taken, settings)
                sizes[job.source] = size
        yield None
        pause(POLL_SECONDS)


def _checked(job: Job, taken: dict[AnyPath, AnyPath], settings: Settings) -> Job:
    """Note a job's files in `taken`, with its source; if one is of another source, return the job with a problem."""
    for path in _files_of(job, settings):
        other = taken.setdefault(path, job.source)
        if other != job.source:
            problem = f"{job.source} and {other} would both be written to {path}; rename one of them"
            return replace(job, problem=problem)
    return job


def _files_of(job: Job, settings: Settings) -> list[AnyPath]:
    from streamseg.sink.overwriting import files_of

    return files_of(job.out, settings.composite.kind, settings.output)


def run_batch(jobs: Iterable[Job | None], settings: Settings, workers: int) -> Iterator[Outcome]:
    """Run jobs in `workers` processes; yield outcomes as files are finished.

    Existing outputs are skipped. Interrupted ones are resumed, or started over if the settings or the source differ.

    Args:
        jobs: the files; None for no more files at present.
        settings: of the pipeline, for all files.
        workers: number of processes, which share out the cores.

    Raises:
        StreamsegError: no engine opens.
    """
    with ExitStack() as stack:
        idle = [stack.enter_context(Worker(_matte, partial(_pin_to_cores, cores))) for cores in _core_sets(workers)]
        busy: list[tuple[Worker[Task, Outcome], Job]] = []
        for job in jobs:
            if job and job.problem:
                yield job.outcome("failed", message=job.problem)
                continue
            if job and job.out.exists():
                yield job.outcome("skipped", message="was there before")
                continue
            if job:
                worker = idle.pop()
                worker.give((job, settings))
                busy.append((worker, job))
            yield from _finished_outcomes(busy, idle, wait_for_one=not idle)
        while busy:
            yield from _finished_outcomes(busy, idle, wait_for_one=True)


def _finished_outcomes(
    busy: list[tuple[Worker[Task, Outcome], Job]], idle: list[Worker[Task, Outcome]], wait_for_one: bool
) -> Iterator[Outcome]:
    """Yield the outcomes of finished workers and move them from `busy` to `idle`."""
    ready = wait([worker.pipe for worker, _ in busy], None if wait_for_one else 0)
    for worker, job in [pair for pair in busy if pair[0].pipe in ready]:
        busy.remove((worker, job))
        idle.append(worker)
        try:
            outcome = worker.result()
        except Lost as lost:
            outcome = job.outcome("failed", message=str(lost))
        yield outcome


def _is_video(path: AnyPath) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(RESOURCE_FORK_PREFIX)


def _core_sets(workers: int) -> list[set[int]]:
    """Share out the cores among workers; empty sets if the system does not support affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return [set()] * workers
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[number % len(cores) :: workers]) for number in range(workers)]


def _pin_to_cores(cores: set[int]) -> None:
    """Restrict a worker process to its cores, before libraries count them."""
    if cores:
        os.sched_setaffinity(0, cores)


@cache
def _engine(settings: InferSettings) -> Engine:
    """Open the engine of a worker process, once."""
    from streamseg.infer.engines import load_engine

    return load_engine(settings)


def _matte(task: Task) -> Outcome:
    """Run one job in a worker process; turn every error into an outcome, except that no engine opens."""
    job, settings = task
    engine = _engine(settings.infer)
    try:
        return _run_pipeline(job, engine, settings)
    except StreamsegError as error:
        return job.outcome("failed", message=str(error))
    except MemoryError:
        return job.outcome("failed", message=OUT_OF_MEMORY)
    except Exception as error:
        return job.outcome("failed", message=_bug_message(error))


def _run_pipeline(job: Job, engine: Engine, settings: Settings) -> Outcome:
    """Run the pipeline on one job; raise StreamsegError if it cannot be done."""
    from streamseg.batch.matting import open_to_go_on
    from streamseg.decode import open_source
    from streamseg.pipeline import run
    from streamseg.sink.mix import with_background_sound
    from streamseg.sink.overwriting import refuse_overwriting

    refuse_overwriting(_files_of(job, settings), job.source, settings.composite.bg)
    with open_source(str(job.source)) as source:
        info = with_background_sound(source.info, settings.composite)
        sink = open_to_go_on(str(job.source), job.out, info, settings)
        with sink:
            statistics = run(source, engine, sink, settings)
        frames, seconds = statistics.frames, statistics.elapsed_seconds
        if source.decode_error:
            message = f"{source.decode_error}; {job.out} holds what could be decoded"
            return job.outcome("damaged", frames, seconds, message)
        return job.outcome("done", frames, seconds, sink.summary)


def _bug_message(error: Exception) -> str:
    """Describe an unexpected error with its file and line, for a bug report."""
    origin = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason} ({Path(origin.filename).name}, line {origin.lineno}); this is a bug"
