"""Decoding and presentation times of the video packets written to a file."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from av.packet import Packet


class FrameTimes:
    """Keep dts ascending and track the end of a video whose frames may be stored out of presentation order.

    Attributes:
        end: end of the frame that is presented last, in seconds.
    """

    def __init__(self) -> None:
        self.end = Fraction(0)
        self._reorder_delay = Fraction(0)  # pts less dts of the first packet, in seconds.
        self._last_dts: Fraction | None = None

    def note_packet(self, packet: Packet[Any]) -> None:
        """Record the next packet; raise its dts where a new encoder begins before the end of an interrupted run."""
        self.note_copied(packet)
        if packet.pts is not None:
            self.end = max(self.end, (packet.pts + (packet.duration or 0)) * packet.time_base)

    def note_copied(self, packet: Packet[Any]) -> None:
        """Record the next packet without its end, which MP4 does not store for each frame.

        Matroska stores no dts, and the first ones of a file are not known when it is read.
        """
        unit = packet.time_base
        if self._last_dts is not None:
            least = math.floor(self._last_dts / unit) + 1
            packet.dts = least if packet.dts is None else max(packet.dts, least)
        elif packet.dts is None or packet.pts is None:
            return
        else:
            self._reorder_delay = (packet.pts - packet.dts) * unit
        self._last_dts = packet.dts * unit

    def extend_last(self, last: Packet[Any]) -> None:
        """Extend the last packet so that the dts span the presented duration: players use the shorter of the two."""
        if last.dts is not None:
            last.duration = max(1, round((self.end - self._reorder_delay) / last.time_base) - last.dts)
