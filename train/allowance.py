"""A run that ends with the time it was given: its progress by the clock, and how many steps that is likely to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from train.augment import phase_at
from train.config import Augment, Phase

Clock = Callable[[], float]
"""Seconds since some fixed moment, such as `time.monotonic`."""

MEASURED_SECONDS = 30.0
"""How long a pace is measured before it is told, if that is not too much of the time given."""

MEASURED_SHARE = 1 / 16
"""The most of the time given that a measurement takes: 30 s of 8 minutes."""

CLOSING_MARGIN = 1.25
"""What is kept for the last evaluation, as a multiple of the longest one so far."""

TRAINED_BETWEEN = 8
"""Least time from one evaluation to the next, as a multiple of what is kept for one: they are not to eat up the run."""


class Allowance:
    """Minutes that a run may take from its start to its last checkpoint, over all sittings.

    Progress is time, not steps: crops grow during a run and machines are shared, so that a pace measured early says
    little about the end, while a clock ends it in time whatever happens. The order of the images still follows the
    steps, as ever.
    """

    def __init__(self, minutes: float, clock: Clock) -> None:
        """Starts the sitting: reading the data counts towards the minutes, though not as progress."""
        self.minutes, self._clock = minutes, clock
        self._began = clock()
        self._trains_since: float | None = None
        self._progress_before = self._spent_before = self._closing_seconds = 0.0
        self._evaluated = self._began

    def progress(self, _: int = 0) -> float:
        """The share in [0, 1] of the time for training that is gone; it begins to run when first asked."""
        now = self._clock()
        if self._trains_since is None:
            self._trains_since = now
        left = self._end() - self._trains_since
        share = min(1.0, (now - self._trains_since) / left) if left > 0 else 1.0
        return self._progress_before + (1 - self._progress_before) * share

    def evaluated(self, seconds: float) -> None:
        """Keeps as much for the last evaluation and checkpoint as this one took, if it was the longest so far."""
        self._closing_seconds = max(self._closing_seconds, CLOSING_MARGIN * seconds)
        self._evaluated = self._clock()

    def may_evaluate(self) -> bool:
        """Whether the last evaluation was long enough ago, and the next is far enough away."""
        now = self._clock()
        return min(now - self._evaluated, self._end() - now) >= TRAINED_BETWEEN * self._closing_seconds

    def state(self) -> dict[str, float]:
        """What `resume` takes."""
        return {
            "progress": self._progress_before if self._trains_since is None else self.progress(),
            "spent_seconds": self._spent_before + self._clock() - self._began,
            "closing_seconds": self._closing_seconds,
        }

    def resume(self, state: dict[str, float]) -> None:
        """Goes on from an earlier sitting's progress, with the time that it left."""
        self._progress_before, self._spent_before = state["progress"], state["spent_seconds"]
        self._closing_seconds = state["closing_seconds"]

    def _end(self) -> float:
        """When training has to end."""
        return self._began + 60 * self.minutes - self._spent_before - self._closing_seconds


@dataclass(frozen=True, slots=True)
class Outlook:
    """A pace that was measured, and how many steps the run has in all if it stays so."""

    steps_per_second: float
    crop_px: int
    expected_steps: int

    def __str__(self) -> str:
        pace = f"{self.steps_per_second:.2f} steps/s at {self.crop_px} px"
        return f"{pace}: about {self.expected_steps:,} steps in the time given"


class Forecast:
    """Measures a run's pace in each phase, and what it lets expect."""

    def __init__(self, config: Augment, minutes: float, clock: Clock) -> None:
        self._config, self._clock = config, clock
        self._seconds = min(MEASURED_SECONDS, MEASURED_SHARE * 60 * minutes)
        self._measured: Phase | None = None
        self._since: _Mark | None = None

    def interrupted(self) -> None:
        """Starts the measurement anew, since something else took time meanwhile."""
        self._since = None

    def after(self, step: int, progress: float) -> Outlook | None:
        """What was measured, once in each phase; to be asked when the device has done `step` steps."""
        phase, now = phase_at(self._config, progress), self._clock()
        if phase is self._measured:
            return None
        if self._since is None or self._since.phase is not phase:
            self._since = _Mark(phase, step, progress, now)
            return None
        steps, seconds, share = step - self._since.step, now - self._since.seconds, progress - self._since.progress
        if seconds < self._seconds or not share:
            return None
        self._measured = phase
        expected = step + steps_to_come(self._config, progress, steps / share)
        return Outlook(steps / seconds, phase.crop_px, round(expected))


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where a measurement began."""

    phase: Phase
    step: int
    progress: float
    seconds: float


def steps_to_come(config: Augment, progress: float, per_run: float) -> float:
    """How many steps are left, if a step takes time in proportion to the pixels of its crops.

    Args:
        config: its phases are the run's.
        progress: of the run.
        per_run: steps that the whole run would have at the present phase's crops.
    """
    now_px, steps, start = phase_at(config, progress).crop_px, 0.0, progress
    for phase in config.phases:
        end = 1.0 if phase is config.phases[-1] else phase.until
        steps += max(0.0, end - start) * per_run * (now_px / phase.crop_px) ** 2
        start = max(start, end)
    return steps
