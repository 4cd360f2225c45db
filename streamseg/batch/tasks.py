"""Tasks that worker processes do, on this machine or others: what is to be done, and what becomes of it.

This module is light: those who only hand out tasks need neither the pipeline nor PyTorch.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from streamseg.batch.cuts import Segment
from streamseg.batch.folder import Finished, SegmentFolder
from streamseg.decode import TimeRange
from streamseg.decode.time_range import WHOLE
from streamseg.errors import OUT_OF_MEMORY, EngineError, StreamsegError, WeightsError
from streamseg.settings import AUTO, InferSettings, Settings

if TYPE_CHECKING:
    from streamseg.infer.engines.base import Engine
    from streamseg.smooth.seams import SceneMemory

Tell: TypeAlias = Callable[[int], None]
"""Takes the number of frames that a task has finished so far."""

_engines: dict[InferSettings, Engine] = {}

MACHINES_FAULT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Errors of the system that may not come up on another machine, such as a full disk."""


class Task(Protocol):
    """A piece of work; it is pickled, and so is its result."""

    @property
    def name(self) -> str:
        """What is done, for people."""
        ...

    def run(self, tell: Tell) -> object:
        """Do it and return its result.

        Raises:
            StreamsegError: it cannot be done.
        """
        ...


@dataclass(frozen=True)
class Work:
    """A file that is parted into segments.

    Attributes:
        source: what `open_source` takes.
        out: the output: a file, or the pattern of an image sequence.
        settings: of the pipeline.
        segment_seconds: wanted length of a segment.
        as_images: `out` is a pattern.
        time_range: the part of the source that is matted.
    """

    source: str
    out: Path
    settings: Settings
    segment_seconds: float
    as_images: bool = False
    time_range: TimeRange = WHOLE

    @property
    def folder(self) -> SegmentFolder:
        """The folder of its segments."""
        return SegmentFolder(self.out, self.as_images)


@dataclass(frozen=True)
class Plan:
    """How a file is parted, and what an earlier run has finished of it.

    Attributes:
        work: with settings that say the same on every machine: the network and its engine by name.
        segments: in order; one if the file is not parted.
        finished: segments of an earlier run by number.
        frame_count: number of frames, if it is stated.
    """

    work: Work
    segments: tuple[Segment, ...]
    finished: dict[int, Finished]
    frame_count: int | None


@dataclass(frozen=True)
class PlanTask:
    """Looks into a file, and into what an earlier run has left; the result is a `Plan`."""

    work: Work

    @property
    def name(self) -> str:
        """See `Task`."""
        return f"{self.work.source}, plan"

    def run(self, tell: Tell) -> Plan:
        """See `Task`."""
        from streamseg.batch.plan import plan_segments

        return plan_segments(self.work)


@dataclass(frozen=True)
class SegmentTask:
    """Mattes one segment into the folder of its output.

    Attributes:
        work: the file.
        segment: the stretch.
        attempt: a name that no other attempt has.
        lead_in: factor of the time by which reading begins earlier.
        known: what the segment before knows at the cut; see `Seams`.
    """

    work: Work
    segment: Segment
    attempt: str
    lead_in: int = 1
    known: SceneMemory | None = None

    @property
    def name(self) -> str:
        """See `Task`."""
        return f"{self.work.source}, {self.segment}"

    def run(self, tell: Tell) -> Finished:
        """See `Task`."""
        from streamseg.batch.matting import matte_segment

        return matte_segment(self, tell)


@dataclass(frozen=True)
class Joined:
    """A file that is complete; the summary says what it holds and what plays it."""

    summary: str


@dataclass(frozen=True)
class JoinTask:
    """Joins the segments of a file to its output.

    Attributes:
        work: the file.
        finished: the segments in order.
    """

    work: Work
    finished: tuple[Finished, ...]

    @property
    def name(self) -> str:
        """See `Task`."""
        return f"{self.work.out}, join"

    def run(self, tell: Tell) -> Joined:
        """See `Task`."""
        from streamseg.batch.join import join_segments

        return Joined(join_segments(self.work, self.finished))


@dataclass(frozen=True)
class Whole:
    """A file that was matted in one piece.

    Attributes:
        summary: what the output holds and what plays it.
        finished: all of it.
    """

    summary: str
    finished: Finished


@dataclass(frozen=True)
class WholeTask:
    """Mattes a file in one piece, and goes on with what an interrupted run left of it."""

    work: Work

    @property
    def name(self) -> str:
        """See `Task`."""
        return self.work.source

    def run(self, tell: Tell) -> Whole:
        """See `Task`."""
        from streamseg.batch.matting import matte_whole

        return matte_whole(self.work, tell)


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that cannot be done.

    Attributes:
        message: one line.
        is_machines: another machine may be able to do it.
    """

    message: str
    is_machines: bool = False


def run_task(task: Task, tell: Tell) -> object:
    """Do a task in a worker process; return its result or a Failure.

    Raises:
        EngineError: no engine opens, for this task or any other.
        WeightsError: the network's weights cannot be read, for this task or any other.
    """
    try:
        return task.run(tell)
    except (EngineError, WeightsError):
        raise
    except StreamsegError as error:
        return Failure(str(error), _is_machines_fault(error))
    except MemoryError:
        return Failure(OUT_OF_MEMORY, is_machines=True)
    except Exception as error:
        return Failure(bug_message(error))


def engine_of(settings: InferSettings) -> Engine:
    """Open the engine of a worker process, once."""
    from streamseg.infer.engines import load_engine

    if settings not in _engines:
        _engines[settings] = load_engine(settings)
    return _engines[settings]


def settled(settings: InferSettings) -> InferSettings:
    """Open the engine, and return settings that name it and the weights, so that every machine takes the same."""
    from streamseg.infer.engines import ENGINES
    from streamseg.model import precision

    weights = precision.settled(settings)
    engine = engine_of(weights)
    if settings.engine != AUTO or engine.name not in ENGINES:
        return weights
    device = "cuda" if engine.device.startswith("cuda") else "cpu"
    named = weights.model_copy(update={"engine": engine.name, "device": device})
    _engines[named] = engine
    return named


def bug_message(error: Exception) -> str:
    """Describe an unexpected error with its file and line, for a bug report."""
    origin = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason} ({Path(origin.filename).name}, line {origin.lineno}); this is a bug"


def _is_machines_fault(error: BaseException) -> bool:
    """Whether an error goes back to one of `MACHINES_FAULT`."""
    cause = error.__cause__
    return cause is not None and (getattr(cause, "errno", None) in MACHINES_FAULT or _is_machines_fault(cause))
