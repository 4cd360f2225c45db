"""Tasks for workers, on this machine or others: what is to be done, and what becomes of it.

Who only hands out tasks needs neither the pipeline nor PyTorch; see `work.py` for how they are done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from streamseg.batch.cuts import Segment
from streamseg.batch.folder import Finished, SegmentFolder
from streamseg.decode import TimeRange
from streamseg.decode.time_range import WHOLE
from streamseg.media.storage import AnyPath
from streamseg.settings import Settings

if TYPE_CHECKING:
    from streamseg.smooth.seams import SceneMemory

Tell: TypeAlias = Callable[[int], None]
"""Takes the number of frames that a task has finished so far."""


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
    out: AnyPath
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
        """What is done, for people."""
        return f"{self.work.source}, plan"


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
        """What is done, for people."""
        return f"{self.work.source}, {self.segment}"


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
        """What is done, for people."""
        return f"{self.work.out}, join"


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
        """What is done, for people."""
        return self.work.source


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that cannot be done.

    Attributes:
        message: one line.
        is_machines: another machine may be able to do it.
    """

    message: str
    is_machines: bool = False


Task: TypeAlias = PlanTask | SegmentTask | JoinTask | WholeTask
"""A piece of work; it is pickled, and so is its result. `name` says for people what is done."""

Result: TypeAlias = Plan | Finished | Joined | Whole | Failure
"""What becomes of a task that a worker has done: see each of them."""
