"""What of a video is damaged: judged by the times that went into the decoder and did not come out again."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import av
from av.packet import Packet

PLACES_TOLD = 3
NEARBY_SECONDS = 1
"""Decoders answer late: an error is told apart from the pictures that it cost by at most this."""

REMEMBERED = 64
"""Errors that gaps are compared with."""

HALF = Fraction(1, 2)
BEFORE_ALL = -(2**63)
EVEN_SHARE, EXTRA_SHARE = 0.9, 0.25

Place: TypeAlias = tuple[int, int]
"""The first and the last tick of what is damaged."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Where pictures may be missing, in ticks of the stream's clock.

    Attributes:
        first: when the first of them was due.
        last: when the last of them was due.
        span: from the picture before them to the one after them.
        due: how many packets went into the decoder for them.
        is_certain: the decoder gave an error nearby.
        is_open: there may have been more of them than `due`, in data that was lost.
    """

    first: int
    last: int
    span: int
    due: int
    is_certain: bool
    is_open: bool

    def missing(self, step: Fraction) -> int:
        """How many pictures are missing, where they usually are `step` ticks apart."""
        room = max(0, math.ceil(self.span / step - HALF) - 1)
        return room if self.is_open else min(self.due, max(room, int(self.is_certain)))


class Damage:
    """Counts pictures that are missing or wrong, and remembers where.

    Not every packet has a picture of its own: the fields of one picture may come in two, and some codecs send pictures
    that others only lean on. So a picture counts as missing where the time between its neighbours has room for it.

    Attributes:
        last_came: the time in ticks of the picture that came out last.
    """

    def __init__(self, time_base: Fraction, rate: Fraction, may_begin_amid: bool) -> None:
        """For one stream.

        Args:
            time_base: a tick of its clock in seconds.
            rate: the mean one, in frames a second, for as long as it cannot be measured.
            may_begin_amid: pictures before the first key picture lean on what is not there, and are not missed.
        """
        self._time_base, self._step = time_base, 1 / (rate * time_base)
        self._may_begin_amid = may_begin_amid
        self._steps: Counter[int] = Counter()
        self._extra_packets = 0
        self._due: set[int] = set()
        self._gaps: list[Gap] = []
        self._wrong: list[int] = []
        self._errors: deque[int] = deque(maxlen=REMEMBERED)
        self._losses: deque[int] = deque(maxlen=REMEMBERED)
        self._first_key: int | None = None
        self._sent: int | None = None
        self._shown: int | None = None
        self.last_came = BEFORE_ALL

    @property
    def is_likely(self) -> bool:
        """Whether something went wrong by now, so that the order in which pictures come is not to be relied on."""
        return bool(self._errors or self._losses or self._gaps)

    @property
    def due(self) -> set[int]:
        """The times in ticks that went in and are still to come out."""
        return set(self._due)

    def sent(self, packet: Packet[Any]) -> None:
        """Notes what goes into the decoder."""
        if packet.pts is None or packet.is_discard:
            return
        if self._first_key is None and (packet.is_keyframe or not self._may_begin_amid):
            self._first_key = packet.pts
        if self._first_key is None or packet.pts < self._first_key:
            return
        self._due.add(packet.pts)
        self._sent = packet.pts
        if packet.is_corrupt:
            self._losses.append(packet.pts)

    def failed(self) -> None:
        """Notes that the decoder gave an error."""
        if self._sent is not None:
            self._errors.append(self._sent)

    def came(self, picture: av.VideoFrame) -> None:
        """Notes what comes out of the decoder."""
        if picture.pts is None:
            return
        self.last_came = picture.pts
        self._due.discard(picture.pts)
        if picture.is_corrupt and self._first_key is not None and picture.pts >= self._first_key:
            self._wrong.append(picture.pts)
            self._errors.append(picture.pts)

    def shown(self, pts: int | None) -> None:
        """Notes the time of a picture, in the order in which they are seen."""
        before = self._shown
        if pts is None or (before is not None and pts <= before):
            return
        missed = sorted(due for due in self._due if due < pts)
        self._due.difference_update(missed)
        self._note_gap(before, pts, missed)
        if before is not None:
            self._note_step(pts - before)
        self._shown = pts

    def ended(self) -> None:
        """Notes that nothing more comes out."""
        missed = sorted(self._due)
        self._due.clear()
        if missed:
            self._note_gap(self._shown, missed[-1] + round(self._step), missed)

    def told(self, origin: Fraction, begin: Fraction | None, end: Fraction | None) -> str | None:
        """How many pictures are missing or wrong, and where; None if none are.

        Args:
            origin: the time in seconds, on the stream's clock, that counts as 0.
            begin: the time on that clock before which nothing matters.
            end: the time from which nothing matters.
        """
        missing: Counter[Place] = Counter()
        for gap in self._gaps:
            missing[gap.first, gap.last] += gap.missing(self._step)
        wrong = Counter((pts, pts) for pts in self._wrong)
        first, last = (None if time is None else time / self._time_base for time in (begin, end))
        parts = []
        for what, places in (("missing", missing), ("wrong", wrong)):
            wanted = {place: count for place, count in places.items() if _is_within(place, first, last)}
            if any(wanted.values()):
                parts.append(self._part(+Counter(wanted), what, origin))
        return ", ".join(parts) or None

    def _note_step(self, step: int) -> None:
        self._steps[step] += 1
        if self._steps[step] >= self._steps[round(self._step)]:
            self._step = Fraction(step)

    def _note_gap(self, before: int | None, after: int, missed: list[int]) -> None:
        """Between two pictures, or before the first one."""
        step = round(self._step)
        first, last = (missed[0], missed[-1]) if missed else ((before or 0) + step, after - step)
        span = after - (first - step if before is None else before)
        has_error = self._is_near(first, last, self._errors)
        is_open = before is not None and (self._is_near(first, last, self._losses) or (has_error and self._is_even))
        gap = Gap(first, last, span, len(missed), has_error and not self._has_extra_packets, is_open)
        if gap.missing(self._step):
            self._gaps.append(gap)
        elif missed:
            self._extra_packets += 1

    @property
    def _is_even(self) -> bool:
        """Whether nearly all pictures are one step apart; clocks that do not divide the rate alternate."""
        step = round(self._step)
        return sum(self._steps[near] for near in (step - 1, step, step + 1)) >= EVEN_SHARE * self._steps.total()

    @property
    def _has_extra_packets(self) -> bool:
        """Whether packets without a picture of their own are usual."""
        return self._extra_packets > EXTRA_SHARE * self._steps.total()

    def _is_near(self, first: int, last: int, places: deque[int]) -> bool:
        margin = round(NEARBY_SECONDS / self._time_base)
        return any(first - margin <= place <= last + margin for place in places)

    def _part(self, found: Counter[Place], what: str, origin: Fraction) -> str:
        count, places = found.total(), [self._place(*place, origin) for place in _merged(sorted(found), 2 * self._step)]
        more = [f"{len(places) - PLACES_TOLD} more places"] if len(places) > PLACES_TOLD else []
        where = ", ".join(places[:PLACES_TOLD] + more)
        return f"{count} {'picture is' if count == 1 else 'pictures are'} {what} (at {where})"

    def _place(self, first: int, last: int, origin: Fraction) -> str:
        begin, end = (f"{float(ticks * self._time_base - origin):.2f}" for ticks in (first, last))
        return f"{begin} s" if begin == end else f"{begin} to {end} s"


def _is_within(place: Place, first: Fraction | None, last: Fraction | None) -> bool:
    return (first is None or place[1] >= first) and (last is None or place[0] < last)


def _merged(places: list[Place], step: Fraction) -> list[Place]:
    """Places less than `step` apart become one."""
    merged = places[:1]
    for first, last in places[1:]:
        if first - merged[-1][1] < step:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
