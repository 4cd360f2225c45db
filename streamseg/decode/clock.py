"""One clock for all tracks of a file whose own clock jumps, as it does in broadcasts and joined recordings."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from av.packet import Packet

BACK = Fraction(1, 10)
"""Seconds that a packet may be earlier than the one before it; more is another clock."""

AHEAD = Fraction(10)
"""Seconds that a packet may be later than all before it; more is another clock."""

WAIT = Fraction(2)
"""Seconds that another track's clock may jump before the pictures' does; what is seen together is stored together."""

WAITING = 1000
"""Packets without a duration that may wait."""

OVERHANG = Fraction(1, 2)
"""Seconds of sound after a recording's last picture that give way to the next recording."""

ZERO = Fraction(0)


@dataclass(slots=True)
class Track:
    """How far one track is, in seconds of the one clock.

    Attributes:
        part: which of the recordings that follow one another it is in.
        shift: how far its own clock is from that of the others.
        last: when its last packet is due.
        end: when the last of its packets ends.
        resumes: before this, the part that it is in overlaps with the one before.
        waiting: packets that are on a clock of which the pictures do not know yet.
    """

    part: int = 0
    shift: Fraction = ZERO
    last: Fraction | None = None
    end: Fraction | None = None
    resumes: Fraction | None = None
    waiting: deque[Packet[Any]] = field(default_factory=deque)


class Clock:
    """Puts packets on one clock.

    Where the file's clock jumps, its pictures go on where they ended, and the other tracks keep their distance to them.
    The result depends on the packets alone, so that all who read a file come to the same.
    """

    def __init__(self, pictures: int, picture_seconds: Fraction) -> None:
        """For one file.

        Args:
            pictures: index of the stream that the others follow.
            picture_seconds: how long a picture lasts where its packet does not say.
        """
        self._pictures, self._picture_seconds = Track(), picture_seconds
        self._tracks = {pictures: self._pictures}
        self._offsets = [ZERO]  # Of each part.

    def timed(self, packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
        """The same packets with their times on the one clock; those of a track stay in order."""
        for packet in packets:
            track = self._tracks.setdefault(packet.stream_index, Track())
            if packet.dts is None and packet.pts is None:
                yield packet
            elif track is self._pictures:
                yield self._placed_picture(packet)
                for other in self._tracks.values():
                    yield from self._ready(other)
            else:
                track.waiting.append(packet)
                yield from self._ready(track)
        for track in self._tracks.values():
            yield from self._ready(track, patience=ZERO)

    def _placed_picture(self, packet: Packet[Any]) -> Packet[Any]:
        track, due = self._pictures, _due(packet)
        moment = due + self._offsets[-1]
        if track.last is not None and (moment < track.last - BACK or moment > self._head(due) + AHEAD):
            self._offsets.append(self._end_of_part(due) - _seen(packet))
        return _placed(packet, track, due + self._offsets[-1], self._picture_seconds)

    def _ready(self, track: Track, patience: Fraction = WAIT) -> Iterator[Packet[Any]]:
        """The packets of a track other than the pictures that can be placed by now."""
        while track.waiting:
            packet = track.waiting[0]
            part, moment = self._fitting(packet, track) or (track.part, None)
            if moment is None:
                if len(track.waiting) > 1 and self._fitting(track.waiting[1], track):
                    track.waiting.popleft()  # The time of this one means nothing.
                    continue
                if sum(map(_length, track.waiting), ZERO) < patience and len(track.waiting) < WAITING:
                    return
                moment = self._head(_due(packet)) if track.end is None else track.end
                track.shift = moment - _due(packet) - self._offsets[part]
            track.waiting.popleft()
            if part > track.part:
                track.part, track.shift = part, ZERO
                track.resumes = track.end if packet.stream.type == "audio" else None
            if track.resumes is None or moment >= track.resumes - _length(packet) / 2:
                track.resumes = None
                yield _placed(packet, track, moment)

    def _fitting(self, packet: Packet[Any], track: Track) -> tuple[int, Fraction] | None:
        """The part in which a packet is due nearest to the pictures, and when; None if it fits into none."""
        due = _due(packet)
        pictures = self._head(due) if self._pictures.end is None else self._pictures.end
        moments = {part: due + self._offsets[part] for part in range(track.part + 1, len(self._offsets))}
        fitting = {part: moment for part, moment in moments.items() if abs(moment - pictures) <= AHEAD}
        going_on = due + self._offsets[track.part] + track.shift
        earliest = pictures - AHEAD if track.last is None else track.last - BACK
        if earliest <= going_on <= self._head(going_on) + AHEAD:
            fitting[track.part] = going_on
        return min(fitting.items(), key=lambda item: abs(item[1] - pictures), default=None)

    def _head(self, otherwise: Fraction) -> Fraction:
        """Where the track is that is furthest."""
        return max((track.end for track in self._tracks.values() if track.end is not None), default=otherwise)

    def _end_of_part(self, otherwise: Fraction) -> Fraction:
        """Where the pictures end, or the sound if that is much later."""
        head, end = self._head(otherwise), self._pictures.end
        return head if end is None or head > end + OVERHANG else end


def _placed(packet: Packet[Any], track: Track, moment: Fraction, usual: Fraction = ZERO) -> Packet[Any]:
    """The packet, due at `moment`."""
    assert packet.time_base is not None
    ticks = round((moment - _due(packet)) / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
    end = _seen(packet) + (_length(packet) or usual)
    track.last, track.end = moment, end if track.end is None else max(end, track.end)
    return packet


def _due(packet: Packet[Any]) -> Fraction:
    """When the decoder wants it, in seconds."""
    return _seconds(packet, packet.pts if packet.dts is None else packet.dts)


def _seen(packet: Packet[Any]) -> Fraction:
    """When it is presented, in seconds."""
    return _seconds(packet, packet.dts if packet.pts is None else packet.pts)


def _length(packet: Packet[Any]) -> Fraction:
    return _seconds(packet, packet.duration)


def _seconds(packet: Packet[Any], ticks: int | None) -> Fraction:
    assert packet.time_base is not None
    return (ticks or 0) * packet.time_base
