"""The moments worth a look: runs of frames whose figure passes a limit, and drop-outs, each with its worst frame."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from statistics import median
from typing import Literal

from streamseg.qa.figures import FrameFigures, SmallFrame

Kind = Literal["drop-out", "flicker", "island", "hole", "haze"]

LIMITS: dict[Kind, float] = {"flicker": 0.05, "island": 0.002, "hole": 0.002, "haze": 0.02}
"""Values of the figure of the same name from which on a frame is worth a look.

flicker: true mattes of moving people change by less than 1 % along the motion, `lite`'s by 3 % where nothing is seen to
    be amiss; a twentieth of a person is a hand.
island, hole: a fifth of a per cent of a person who fills a third of 1920 x 1080 is 37 x 37 pixels.
haze: 5 of 255 levels are seen as a veil over black and over white.
"""

FALL = 0.2
"""Share of the area that a drop-out takes away: no movement of a person does so within `FALL_SECONDS`."""

RETURN = 0.9
"""Share of the area before a drop-out at which it has ended."""

FALL_SECONDS = 0.25
"""Time over which the area before a drop-out is taken, as its median."""

LONGEST_SECONDS = 1.0
"""Longest drop-out: who comes back later had left."""

LEAST_AREA = 0.005
"""Share of the frame that a subject covers to be missed."""

GAP_SECONDS = 0.25
"""Shortest time between two moments of a kind; what comes sooner belongs to the same."""

SHOWN = 6
"""Moments of a kind of which the images are kept: the worst."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A time at which a matte is worth a look.

    Attributes:
        kind: what is amiss.
        start_seconds: pts of its first frame.
        end_seconds: pts of its last frame.
        seconds: pts of its worst frame.
        index: of its worst frame.
        value: figure of its worst frame; of a drop-out, the share of the area that is missing.
        image: its worst frame.
    """

    kind: Kind
    start_seconds: float
    end_seconds: float
    seconds: float
    index: int
    value: float
    image: SmallFrame


@dataclass(slots=True)
class _Open:
    """A moment that has not ended."""

    start_seconds: float
    end_seconds: float
    worst: FrameFigures
    value: float
    image: SmallFrame

    def extend(self, figures: FrameFigures, value: float, image: SmallFrame) -> None:
        self.end_seconds = figures.seconds
        if value > self.value:
            self.worst, self.value, self.image = figures, value, image

    def closed(self, kind: Kind) -> Moment:
        worst = self.worst
        return Moment(kind, self.start_seconds, self.end_seconds, worst.seconds, worst.index, self.value, self.image)


@dataclass(slots=True)
class _Kept:
    """The moments of one kind: the times of all, the images of the worst."""

    times: list[tuple[float, float]] = field(default_factory=list)
    worst: list[tuple[float, int, Moment]] = field(default_factory=list)

    def add(self, moment: Moment) -> None:
        self.times.append((moment.start_seconds, moment.end_seconds))
        entry = (moment.value, -moment.index, moment)
        (heapq.heappushpop if len(self.worst) >= SHOWN else heapq.heappush)(self.worst, entry)


class _Runs:
    """Finds runs of frames with a figure at or above a limit; a short dip does not end one, a scene cut does."""

    def __init__(self, kind: Kind) -> None:
        self._kind, self._limit = kind, LIMITS[kind]
        self._open: _Open | None = None

    def add(self, figures: FrameFigures, value: float, image: SmallFrame) -> Iterable[Moment]:
        """Take the next frame; yield a moment that ended before it."""
        if self._open and (figures.is_cut or figures.seconds - self._open.end_seconds > GAP_SECONDS):
            yield from self.end()
        if value >= self._limit:
            if self._open:
                self._open.extend(figures, value, image)
            else:
                self._open = _Open(figures.seconds, figures.seconds, figures, value, image)

    def end(self) -> Iterable[Moment]:
        """Yield the moment that lasts until the end."""
        if self._open:
            yield self._open.closed(self._kind)
        self._open = None


class _DropOuts:
    """Finds times at which the area of alpha falls quickly and soon returns."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float]] = deque()
        self._before = 0.0
        self._open: _Open | None = None

    def add(self, figures: FrameFigures, image: SmallFrame) -> Iterable[Moment]:
        """Take the next frame; yield a drop-out that ended before it."""
        if figures.is_cut:
            self._forget()
        elif self._open:
            if figures.area >= RETURN * self._before:
                yield self._open.closed("drop-out")
                self._forget()
            elif figures.seconds - self._open.start_seconds > LONGEST_SECONDS:
                self._forget()
            else:
                self._open.extend(figures, 1 - figures.area / self._before, image)
                return
        while self._recent and figures.seconds - self._recent[0][0] > FALL_SECONDS:
            self._recent.popleft()
        before = median(area for _, area in self._recent) if self._recent else 0.0
        if before >= LEAST_AREA and figures.area < (1 - FALL) * before:
            self._before = before
            self._open = _Open(figures.seconds, figures.seconds, figures, 1 - figures.area / before, image)
        else:
            self._recent.append((figures.seconds, figures.area))

    def _forget(self) -> None:
        self._open = None
        self._recent.clear()


class MomentFinder:
    """Finds the moments of one video; keeps the images of the worst few and the times of all."""

    def __init__(self) -> None:
        self._runs: dict[Kind, _Runs] = {kind: _Runs(kind) for kind in LIMITS}
        self._drop_outs = _DropOuts()
        self._kept: dict[Kind, _Kept] = {"drop-out": _Kept(), **{kind: _Kept() for kind in LIMITS}}

    def add(self, figures: FrameFigures, image: SmallFrame) -> None:
        """Take the next frame."""
        for moment in self._drop_outs.add(figures, image):
            self._kept["drop-out"].add(moment)
        values: dict[Kind, float] = {
            "flicker": 0.0 if math.isnan(figures.flicker) else figures.flicker,
            "island": figures.islands,
            "hole": figures.holes,
            "haze": figures.haze,
        }
        for kind, value in values.items():
            for moment in self._runs[kind].add(figures, value, image):
                self._kept[kind].add(moment)

    def finish(self) -> None:
        """End what lasts until the last frame."""
        for kind, runs in self._runs.items():
            for moment in runs.end():
                self._kept[kind].add(moment)

    def count(self, kind: Kind) -> int:
        """Return the number of moments of a kind, without flicker that another moment explains."""
        return sum(not self._is_explained(kind, times) for times in self._kept[kind].times)

    def moments(self) -> list[Moment]:
        """Return the worst moments of each kind, in the order of time."""
        found = [
            moment
            for kind, kept in self._kept.items()
            for _, _, moment in kept.worst
            if not self._is_explained(kind, (moment.start_seconds, moment.end_seconds))
        ]
        return sorted(found, key=lambda moment: (moment.seconds, moment.kind))

    def _is_explained(self, kind: Kind, times: tuple[float, float]) -> bool:
        """Whether a moment is the flicker that a moment of another kind makes when it begins and when it ends."""
        return kind == "flicker" and any(
            times[0] - GAP_SECONDS <= edge <= times[1] + GAP_SECONDS
            for other, kept in self._kept.items()
            for edge in chain.from_iterable(kept.times)
            if other != kind
        )
