"""Damage report of a video: compare the pts sent to the decoder with those of the frames that it returned."""

from __future__ import annotations

import math
from collections import Counter, deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import av
from av.packet import Packet

from streamseg.frames import counted

MAX_LISTED_RANGES = 3
NEARBY_SECONDS = 1
"""Longest distance between a decoder's error and the frames that it cost: decoders report errors late."""

MAX_REMEMBERED_ERRORS = 64
"""Latest errors that a gap is compared with."""

HALF = Fraction(1, 2)
BEFORE_FIRST_PTS = -(2**63)
CONSTANT_RATE_SHARE, EXTRA_PACKET_SHARE = 0.9, 0.25

TickRange: TypeAlias = tuple[int, int]
"""The first and the last pts of damaged frames, in ticks of the stream's time base."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A range of pts in which frames may be missing, in ticks of the stream's time base.

    Attributes:
        first: pts of the first missing frame.
        last: pts of the last missing frame.
        span: ticks from the frame before the gap to the frame after it.
        packet_count: packets sent to the decoder for this range.
        is_certain: the decoder reported an error nearby.
        is_open: more frames than `packet_count` may be missing, as data of the file was lost.
    """

    first: int
    last: int
    span: int
    packet_count: int
    is_certain: bool
    is_open: bool

    def missing_count(self, frame_interval: Fraction) -> int:
        """Estimate how many frames are missing, where frames are usually `frame_interval` ticks apart."""
        room = max(0, math.ceil(self.span / frame_interval - HALF) - 1)
        return room if self.is_open else min(self.packet_count, max(room, int(self.is_certain)))


class Damage:
    """Count the frames of a stream that are missing or corrupt, and remember their pts.

    Not every packet has a frame of its own: the two fields of a frame may come in two packets, and some codecs store
    reference frames that are never shown. So a frame counts as missing only where the interval between its neighbours
    has room for it.

    Attributes:
        last_frame_pts: pts in ticks of the last frame that the decoder returned.
    """

    def __init__(self, time_base: Fraction, rate: Fraction, may_begin_amid: bool) -> None:
        """Start the report of one stream.

        Args:
            time_base: seconds per tick of the stream's pts.
            rate: average frames per second, used until the frame interval has been measured.
            may_begin_amid: the stream may begin amid a group of pictures; frames before the first keyframe refer to
                frames outside the file and do not count as missing.
        """
        self._time_base, self._frame_interval = time_base, 1 / (rate * time_base)
        self._may_begin_amid = may_begin_amid
        self._interval_counts: Counter[int] = Counter()
        self._extra_packets = 0
        self._pending_pts: set[int] = set()
        self._gaps: list[Gap] = []
        self._corrupt_pts: list[int] = []
        self._error_pts: deque[int] = deque(maxlen=MAX_REMEMBERED_ERRORS)
        self._corrupt_packet_pts: deque[int] = deque(maxlen=MAX_REMEMBERED_ERRORS)
        self._first_keyframe_pts: int | None = None
        self._last_packet_pts: int | None = None
        self._last_presented_pts: int | None = None
        self.last_frame_pts = BEFORE_FIRST_PTS

    @property
    def is_likely(self) -> bool:
        """Whether an error, a corrupt packet or a gap was seen: from then on, frames may come out of order."""
        return bool(self._error_pts or self._corrupt_packet_pts or self._gaps)

    @property
    def pending_pts(self) -> set[int]:
        """The pts, in ticks, of packets whose frames the decoder has not returned yet."""
        return set(self._pending_pts)

    def note_packet(self, packet: Packet[Any]) -> None:
        """Record a packet that is sent to the decoder."""
        if packet.pts is None or packet.is_discard:
            return
        if self._first_keyframe_pts is None and (packet.is_keyframe or not self._may_begin_amid):
            self._first_keyframe_pts = packet.pts
        if self._first_keyframe_pts is None or packet.pts < self._first_keyframe_pts:
            return
        self._pending_pts.add(packet.pts)
        self._last_packet_pts = packet.pts
        if packet.is_corrupt:
            self._corrupt_packet_pts.append(packet.pts)

    def note_error(self) -> None:
        """Record that the decoder raised an error for the last packet."""
        if self._last_packet_pts is not None:
            self._error_pts.append(self._last_packet_pts)

    def note_frame(self, frame: av.VideoFrame) -> None:
        """Record a frame that the decoder returned."""
        if frame.pts is None:
            return
        self.last_frame_pts = frame.pts
        self._pending_pts.discard(frame.pts)
        if frame.is_corrupt and self._first_keyframe_pts is not None and frame.pts >= self._first_keyframe_pts:
            self._corrupt_pts.append(frame.pts)
            self._error_pts.append(frame.pts)

    def note_presented(self, pts: int | None) -> None:
        """Record the pts, in ticks, of the next frame in presentation order, and the gap before it."""
        previous = self._last_presented_pts
        if pts is None or (previous is not None and pts <= previous):
            return
        missing_pts = sorted(pending for pending in self._pending_pts if pending < pts)
        self._pending_pts.difference_update(missing_pts)
        self._note_gap(previous, pts, missing_pts)
        if previous is not None:
            self._note_interval(pts - previous)
        self._last_presented_pts = pts

    def note_end(self) -> None:
        """Record that the decoder returns no more frames: those still pending are missing."""
        missing_pts = sorted(self._pending_pts)
        self._pending_pts.clear()
        if missing_pts:
            self._note_gap(self._last_presented_pts, missing_pts[-1] + round(self._frame_interval), missing_pts)

    def describe(self, start_time: Fraction, begin: Fraction | None, end: Fraction | None) -> str | None:
        """Describe how many frames are missing or corrupt, and at what times; None if the stream is undamaged.

        Args:
            start_time: the stream's time, in seconds, that the message counts as 0.
            begin: the stream's time before which damage is ignored.
            end: the stream's time from which damage is ignored.
        """
        missing: Counter[TickRange] = Counter()
        for gap in self._gaps:
            missing[gap.first, gap.last] += gap.missing_count(self._frame_interval)
        corrupt = Counter((pts, pts) for pts in self._corrupt_pts)
        first, last = (None if time is None else time / self._time_base for time in (begin, end))
        parts = []
        for adjective, ranges in (("missing", missing), ("wrong", corrupt)):
            wanted = {ticks: count for ticks, count in ranges.items() if _is_within(ticks, first, last)}
            if any(wanted.values()):
                parts.append(self._describe_part(+Counter(wanted), adjective, start_time))
        return ", ".join(parts) or None

    def _note_interval(self, interval: int) -> None:
        """Count an interval in ticks; the most frequent one so far is the frame interval."""
        self._interval_counts[interval] += 1
        if self._interval_counts[interval] >= self._interval_counts[round(self._frame_interval)]:
            self._frame_interval = Fraction(interval)

    def _note_gap(self, previous: int | None, following: int, missing_pts: list[int]) -> None:
        """Record the gap between two presented frames, or before the first one (`previous` is None), in ticks."""
        interval = round(self._frame_interval)
        if missing_pts:
            first, last = missing_pts[0], missing_pts[-1]
        else:
            first, last = (previous or 0) + interval, following - interval
        span = following - (first - interval if previous is None else previous)
        has_error = self._is_near(first, last, self._error_pts)
        is_open = previous is not None and (
            self._is_near(first, last, self._corrupt_packet_pts) or (has_error and self._has_constant_rate)
        )
        gap = Gap(first, last, span, len(missing_pts), has_error and not self._has_extra_packets, is_open)
        if gap.missing_count(self._frame_interval):
            self._gaps.append(gap)
        elif missing_pts:
            self._extra_packets += 1

    @property
    def _has_constant_rate(self) -> bool:
        """Whether nearly all intervals are alike, to one tick: time bases that the rate does not divide alternate."""
        interval = round(self._frame_interval)
        alike = sum(self._interval_counts[near] for near in (interval - 1, interval, interval + 1))
        return alike >= CONSTANT_RATE_SHARE * self._interval_counts.total()

    @property
    def _has_extra_packets(self) -> bool:
        """Whether packets without a frame of their own are usual in this stream."""
        return self._extra_packets > EXTRA_PACKET_SHARE * self._interval_counts.total()

    def _is_near(self, first: int, last: int, found: deque[int]) -> bool:
        """Whether one of the pts `found` is within `NEARBY_SECONDS` of the range `first` to `last`."""
        margin = round(NEARBY_SECONDS / self._time_base)
        return any(first - margin <= pts <= last + margin for pts in found)

    def _describe_part(self, counts: Counter[TickRange], adjective: str, start_time: Fraction) -> str:
        count, merged = counts.total(), _merge_ranges(sorted(counts), 2 * self._frame_interval)
        times = [self._describe_range(*ticks, start_time) for ticks in merged]
        more = [f"{len(times) - MAX_LISTED_RANGES} more places"] if len(times) > MAX_LISTED_RANGES else []
        where = ", ".join(times[:MAX_LISTED_RANGES] + more)
        return f"{counted(count, 'frame')} {'is' if count == 1 else 'are'} {adjective} (at {where})"

    def _describe_range(self, first: int, last: int, start_time: Fraction) -> str:
        begin, end = (f"{float(ticks * self._time_base - start_time):.2f}" for ticks in (first, last))
        return f"{begin} s" if begin == end else f"{begin} to {end} s"


def _is_within(ticks: TickRange, first: Fraction | None, last: Fraction | None) -> bool:
    return (first is None or ticks[1] >= first) and (last is None or ticks[0] < last)


def _merge_ranges(ranges: list[TickRange], max_distance: Fraction) -> list[TickRange]:
    """Merge sorted ranges that are less than `max_distance` ticks apart."""
    merged = ranges[:1]
    for first, last in ranges[1:]:
        if first - merged[-1][1] < max_distance:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
