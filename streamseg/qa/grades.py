"""Grades of a whole matte: what is good, fair and poor, and why; the limits of single frames stand in `moments.py`.

The figures of true mattes, and of mattes of the packaged networks, were measured on clips of `python -m train synth`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, fields
from statistics import median
from typing import Literal

from streamseg.qa.figures import FrameFigures
from streamseg.qa.moments import LIMITS, Kind, MomentFinder

Grade = Literal["good", "fair", "poor"]
GRADES: tuple[Grade, ...] = ("good", "fair", "poor")

REFERENCE_SIDE_PX = 1920
"""Long side of the frames that the softness is graded at."""


class Series:
    """The figures of all frames, 4 bytes a value."""

    def __init__(self) -> None:
        self._columns = {field.name: array("f") for field in fields(FrameFigures)}

    def add(self, figures: FrameFigures) -> None:
        """Append the figures of a frame."""
        for name, column in self._columns.items():
            column.append(float(getattr(figures, name)))

    def __getitem__(self, name: str) -> array[float]:
        return self._columns[name]

    def __len__(self) -> int:
        return len(self._columns["index"])

    def known(self, name: str) -> list[float]:
        """Return the values of the frames that have the figure."""
        return [value for value in self._columns[name] if not math.isnan(value)]

    def mean(self, name: str) -> float:
        """Return the mean of a figure; 0 if no frame has it."""
        values = self.known(name)
        return math.fsum(values) / len(values) if values else 0.0

    def median(self, name: str) -> float:
        """Return the median of a figure; 0 if no frame has it."""
        return median(self.known(name) or [0.0])

    def share_above(self, name: str, limit: float) -> float:
        """Return the share of frames whose figure reaches a limit."""
        return sum(value >= limit for value in self._columns[name]) / max(1, len(self))

    @property
    def seconds(self) -> float:
        """Time from the first frame to the end of the last, as far as known."""
        times = self._columns["seconds"]
        return (times[-1] - times[0]) * len(times) / (len(times) - 1) if len(times) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Judged:
    """What a criterion is applied to.

    Attributes:
        series: the figures of all frames.
        finder: the moments.
        long_side_px: of the frames.
    """

    series: Series
    finder: MomentFinder
    long_side_px: int


@dataclass(frozen=True, slots=True)
class Criterion:
    """One grade.

    Attributes:
        name: of the figure.
        kind: of its moments; None if it has none.
        measure: the figure of the whole video.
        good: greatest value that is good.
        fair: greatest value that is fair.
        unit: of the value, with `%` for shares.
        meaning: what is measured, for the report.
        reason: why the limits are where they are.
    """

    name: str
    kind: Kind | None
    measure: Callable[[Judged], float]
    good: float
    fair: float
    unit: str
    meaning: str
    reason: str

    def grade(self, value: float) -> Grade:
        """Return the grade of a value."""
        return "good" if value <= self.good else "fair" if value <= self.fair else "poor"

    def text(self, value: float) -> str:
        """Format a value with its unit."""
        number = percent(value).removesuffix(" %") if self.unit.startswith("%") else f"{value:.3g}"
        return f"{number} {self.unit}"


def percent(share: float) -> str:
    """Format a share with two digits: `0.35 %`, `12 %`, `100 %`."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _each_minute(judged: Judged) -> float:
    count = judged.finder.count("drop-out")
    return count * 60 / max(judged.series.seconds, 1.0)


CRITERIA = (
    Criterion(
        "flicker",
        "flicker",
        lambda judged: judged.series.mean("flicker"),
        0.01,
        0.03,
        "% of the subject a frame",
        "What changes from frame to frame though it does not move: the last matte is moved along the optical flow and "
        "compared.",
        "True mattes of moving people stay below 1 %, from errors of the flow; above 3 % edges are seen to boil.",
    ),
    Criterion(
        "drop-outs",
        "drop-out",
        _each_minute,
        0.0,
        1.0,
        "a minute",
        "The area of the matte falls by a fifth or more within a quarter of a second, and returns within one second.",
        "Each one is seen at once.",
    ),
    Criterion(
        "islands",
        "island",
        lambda judged: judged.series.share_above("islands", LIMITS["island"]),
        0.01,
        0.05,
        "% of the frames",
        "Small parts that stand apart from the subject; a part of a tenth of its size counts as a second subject.",
        "A speck in one frame of a hundred may pass unseen; in one of twenty it draws the eye.",
    ),
    Criterion(
        "holes",
        "hole",
        lambda judged: judged.series.share_above("holes", LIMITS["hole"]),
        0.01,
        0.05,
        "% of the frames",
        "Holes that open where the subject was whole a frame before; the gap between an arm and the body is none, and "
        "neither is a hole that is there from the first frame on.",
        "As for islands.",
    ),
    Criterion(
        "softness",
        None,
        lambda judged: judged.series.median("softness_px") * REFERENCE_SIDE_PX / max(1, judged.long_side_px),
        16.0,
        32.0,
        f"px of {REFERENCE_SIDE_PX}",
        "The width of the edge: median over the frames, as if their long side were 1920 pixels. Hair and motion blur "
        "widen it.",
        "True mattes of people with loose hair have 5 to 15 px; from 30 px on the old background shows around the "
        "subject.",
    ),
    Criterion(
        "haze",
        "haze",
        lambda judged: judged.series.mean("haze"),
        0.004,
        0.012,
        "% of alpha",
        "Mean of small alpha further from the subject than a twentieth of the diagonal.",
        "One level of 255 is not seen; three are, as a veil over a dark background.",
    ),
)
"""All grades, in the order of the report."""


def worst(grades: list[Grade]) -> Grade:
    """Return the worst of grades, which is that of the whole: one fault is enough to be seen."""
    return max(grades, key=GRADES.index)
