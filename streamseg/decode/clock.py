"""Continuous timestamps over discontinuities: files whose clock jumps, such as broadcasts and joined recordings."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from av.packet import Packet

MAX_BACKWARD_SECONDS = Fraction(1, 10)
"""A packet further than this before the previous one of its track begins another clock."""

MAX_FORWARD_SECONDS = Fraction(10)
"""A packet further than this after all earlier ones begins another clock."""

MAX_WAIT_SECONDS = Fraction(2)
"""How long another track's clock may jump before the video's does: packets for the same moment are stored together."""

MAX_WAITING_PACKETS = 1000
"""The same limit for packets that state no duration."""

MAX_OVERHANG_SECONDS = Fraction(1, 2)
"""Sound after the last frame of a recording that is cut in favour of the next recording."""

ZERO = Fraction(0)


@dataclass(slots=True)
class Track:
    """State of one track; times are seconds of the continuous clock.

    Attributes:
        part: index of the recording, among those joined in the file, that the track is in.
        shift: offset of the track's own clock from the clock of its part.
        last_dts: dts of the last packet.
        end: end of the packet that ends last.
        resume_time: sound before this time overlaps with the part before and is dropped.
        waiting: packets whose clock no video packet has confirmed yet.
    """

    part: int = 0
    shift: Fraction = ZERO
    last_dts: Fraction | None = None
    end: Fraction | None = None
    resume_time: Fraction | None = None
    waiting: deque[Packet[Any]] = field(default_factory=deque)


class Clock:
    """Rewrite the timestamps of packets to one continuous clock.

    At a discontinuity, the video continues where it ended, and the other tracks keep their distance to the video. The
    result depends on the packets alone, so that all readers of a file get the same timestamps.
    """

    def __init__(self, video_index: int, frame_seconds: Fraction) -> None:
        """Begin the clock of one file.

        Args:
            video_index: index of the video stream, which the other tracks follow.
            frame_seconds: duration of a frame whose packet states none.
        """
        self._video, self._frame_seconds = Track(), frame_seconds
        self._tracks = {video_index: self._video}
        self._part_offsets = [ZERO]

    def timed(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """Yield the packets with pts and dts on the continuous clock; the packets of one track stay in order."""
        for packet in packets:
            track = self._tracks.setdefault(packet.stream_index, Track())
            if packet.dts is None and packet.pts is None:
                yield packet
            elif track is self._video:
                yield self._place_video(packet)
                for other in self._tracks.values():
                    yield from self._ready(other)
            else:
                track.waiting.append(packet)
                yield from self._ready(track)
        for track in self._tracks.values():
            yield from self._ready(track, max_wait=ZERO)

    def _place_video(self, packet: Packet[Any]) -> Packet[Any]:
        """Place a video packet; begin a new part where its clock jumps."""
        track, dts = self._video, _dts_seconds(packet)
        time = dts + self._part_offsets[-1]
        if track.last_dts is not None and (
            time < track.last_dts - MAX_BACKWARD_SECONDS or time > self._latest_end(dts) + MAX_FORWARD_SECONDS
        ):
            self._part_offsets.append(self._end_of_part(dts) - _pts_seconds(packet))
        return _place(packet, track, dts + self._part_offsets[-1], self._frame_seconds)

    def _ready(self, track: Track, max_wait: Fraction = MAX_WAIT_SECONDS) -> Iterator[Packet[Any]]:
        """Yield the waiting packets of a track, other than the video, that can be placed by now."""
        while track.waiting:
            packet = track.waiting[0]
            part, time = self._find_part(packet, track) or (track.part, None)
            if time is None:
                if len(track.waiting) > 1 and self._find_part(track.waiting[1], track):
                    track.waiting.popleft()  # A single packet off the clock has a damaged time.
                    continue
                waiting_seconds = sum(map(_duration_seconds, track.waiting), ZERO)
                if waiting_seconds < max_wait and len(track.waiting) < MAX_WAITING_PACKETS:
                    return
                time = self._latest_end(_dts_seconds(packet)) if track.end is None else track.end
                track.shift = time - _dts_seconds(packet) - self._part_offsets[part]
            track.waiting.popleft()
            if part > track.part:
                track.part, track.shift = part, ZERO
                track.resume_time = track.end if packet.stream.type == "audio" else None
            if track.resume_time is None or time >= track.resume_time - _duration_seconds(packet) / 2:
                track.resume_time = None
                yield _place(packet, track, time)

    def _find_part(self, packet: Packet[Any], track: Track) -> tuple[int, Fraction] | None:
        """Find the part in which a packet is nearest to the video, and its time there; None if it fits no part."""
        dts = _dts_seconds(packet)
        video_end = self._latest_end(dts) if self._video.end is None else self._video.end
        later = {part: dts + self._part_offsets[part] for part in range(track.part + 1, len(self._part_offsets))}
        fitting = {part: time for part, time in later.items() if abs(time - video_end) <= MAX_FORWARD_SECONDS}
        same_part = dts + self._part_offsets[track.part] + track.shift
        earliest = video_end - MAX_FORWARD_SECONDS if track.last_dts is None else track.last_dts - MAX_BACKWARD_SECONDS
        if earliest <= same_part <= self._latest_end(same_part) + MAX_FORWARD_SECONDS:
            fitting[track.part] = same_part
        return min(fitting.items(), key=lambda item: abs(item[1] - video_end), default=None)

    def _latest_end(self, default: Fraction) -> Fraction:
        """Return the end of the track that is furthest, or `default` before the first packet."""
        return max((track.end for track in self._tracks.values() if track.end is not None), default=default)

    def _end_of_part(self, default: Fraction) -> Fraction:
        """Return the end of the video, or of the sound where that lasts much longer."""
        latest, end = self._latest_end(default), self._video.end
        return latest if end is None or latest > end + MAX_OVERHANG_SECONDS else end


def _place(packet: Packet[Any], track: Track, time: Fraction, default_duration: Fraction = ZERO) -> Packet[Any]:
    """Shift a packet so that its dts is `time`, in seconds, and record it in its track."""
    assert packet.time_base is not None
    ticks = round((time - _dts_seconds(packet)) / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
    end = _pts_seconds(packet) + (_duration_seconds(packet) or default_duration)
    track.last_dts, track.end = time, end if track.end is None else max(end, track.end)
    return packet


def _dts_seconds(packet: Packet[Any]) -> Fraction:
    """Return the decoding time, or the presentation time where the packet has no dts."""
    return _seconds(packet, packet.pts if packet.dts is None else packet.dts)


def _pts_seconds(packet: Packet[Any]) -> Fraction:
    """Return the presentation time, or the decoding time where the packet has no pts."""
    return _seconds(packet, packet.dts if packet.pts is None else packet.pts)


def _duration_seconds(packet: Packet[Any]) -> Fraction:
    return _seconds(packet, packet.duration)


def _seconds(packet: Packet[Any], ticks: int | None) -> Fraction:
    assert packet.time_base is not None
    return (ticks or 0) * packet.time_base
