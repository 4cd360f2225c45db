"""Time range of a video: start and end as the user gives them, in seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from streamseg.errors import InputError

CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A half-open range `[start, end)` of times in a video.

    Attributes:
        start: seconds from the beginning of the video.
        end: seconds from the beginning of the video; None is the end of the video.
    """

    start: Fraction = Fraction(0)
    end: Fraction | None = None

    @classmethod
    def of(cls, start: str | None, end: str | None) -> Self:
        """Parse a range from times such as `90`, `90.5`, `1:30.5` or `0:01:30.5`.

        Raises:
            InputError: `start` or `end` is not a time, or `end` does not come after `start`.
        """
        time_range = cls(_seconds(start) if start else Fraction(0), _seconds(end) if end else None)
        if time_range.end is not None and time_range.end <= time_range.start:
            raise InputError(f"the end {end} does not come after the start {start or 0}")
        return time_range

    def holds(self, time: Fraction) -> bool:
        """Whether a frame at `time`, in seconds, is in the range."""
        return self.start <= time and (self.end is None or time < self.end)


WHOLE = TimeRange()


def _seconds(clock: str) -> Fraction:
    found = CLOCK.fullmatch(clock)
    if not found:
        raise InputError(f"{clock!r} is not a time; write seconds such as 90.5, or 1:30.5")
    hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds
