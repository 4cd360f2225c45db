"""Judge a whole video: measure every frame, find the moments, grade."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from streamseg.frames import Frame, VideoInfo
from streamseg.qa.figures import Meter
from streamseg.qa.grades import CRITERIA, Criterion, Grade, Judged, Series, worst
from streamseg.qa.matted import MattedVideo
from streamseg.qa.moments import Moment, MomentFinder


@dataclass(frozen=True, slots=True)
class Verdict:
    """A criterion and what came of it.

    Attributes:
        criterion: what was measured.
        value: its figure.
        grade: of the value.
        count: number of its moments.
    """

    criterion: Criterion
    value: float
    grade: Grade
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a matte.

    Attributes:
        name: of the video.
        info: of its frames.
        origin: where the mattes come from.
        series: figures of all frames.
        verdicts: the grades.
        moments: the worst moments of each kind, in the order of time.
        warning: one line on what was wrong with the files, or None.
    """

    name: str
    info: VideoInfo
    origin: str
    series: Series
    verdicts: list[Verdict]
    moments: list[Moment]
    warning: str | None

    @property
    def grade(self) -> Grade:
        """Grade of the whole."""
        return worst([verdict.grade for verdict in self.verdicts])


class Judge:
    """Judges one video frame by frame, so that a report can be had at any time."""

    def __init__(self, video: str, matted: MattedVideo) -> None:
        self._name, self._matted = Path(video).name, matted
        self._series, self._finder = Series(), MomentFinder()

    def judge(self, on_frame: Callable[[Frame], object] = lambda _: None) -> None:
        """Judge all frames.

        Args:
            on_frame: called after every frame.

        Raises:
            StreamsegError: a file cannot be read, or the pipeline failed.
        """
        meter = Meter(self._matted.shows_background)
        for matted in self._matted.frames:
            figures, small = meter.measure(matted)
            self._series.add(figures)
            self._finder.add(figures, small)
            on_frame(matted.frame)

    def report(self) -> Report:
        """Report on the frames so far; no frame can be judged after that."""
        self._finder.finish()
        info = self._matted.info
        judged = Judged(self._series, self._finder, max(info.width_px, info.height_px))
        verdicts = [self._verdict(criterion, judged) for criterion in CRITERIA]
        moments = self._finder.moments()
        return Report(self._name, info, self._matted.origin, self._series, verdicts, moments, self._matted.warning)

    def _verdict(self, criterion: Criterion, judged: Judged) -> Verdict:
        value = criterion.measure(judged)
        count = self._finder.count(criterion.kind) if criterion.kind else 0
        return Verdict(criterion, value, criterion.grade(value), count)
