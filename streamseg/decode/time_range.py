"""Time range of a video: start and end as the user gives them, in seconds."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Self

from streamseg.errors import InputError

Time = str | float | Fraction
"""Seconds, or a clock's hours, minutes and seconds."""

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
    def of(cls, start: Time | None, end: Time | None) -> Self:
        """Parse a range from times such as `90`, `90.5`, `1:30.5` or `0:01:30.5`, or take numbers of seconds.

        Raises:
            InputError: `start` or `end` is not a time, or `end` does not come after `start`.
        """
        begin, until = (None if time is None or time == "" else _seconds(time) for time in (start, end))
        time_range = cls(begin or Fraction(0), until)
        if time_range.end is not None and time_range.end <= time_range.start:
            raise InputError(f"the end {end} does not come after the start {start or 0}")
        return time_range

    def holds(self, time: Fraction) -> bool:
        """Whether a frame at `time`, in seconds, is in the range."""
        return self.start <= time and (self.end is None or time < self.end)


WHOLE = TimeRange()


def _seconds(time: Time) -> Fraction:
    """Return a time in seconds; of a float, the decimals that it shows are meant: .1 is a tenth.

    Raises:
        InputError: it is no time.
    """
    found = CLOCK.fullmatch(time) if isinstance(time, str) else None
    if found:
        hours, minutes, seconds = (Fraction(part or 0) for part in found.groups())
        return hours * 3600 + minutes * 60 + seconds
    with suppress(ValueError):
        if not isinstance(time, str) and Fraction(str(time)) >= 0:
            return Fraction(str(time))
    raise InputError(f"{time!r} is not a time; write seconds such as 90.5, or 1:30.5")
