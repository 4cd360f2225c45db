"""Monotonic timestamps: the dts of a track's packets must ascend, or the muxer refuses them."""

from __future__ import annotations

import math
from typing import Any

from av.packet import Packet


class MonotonicTimes:
    """Shift packets of one track whose dts does not ascend."""

    def __init__(self) -> None:
        self._min_dts, self._expected_dts = -math.inf, 0

    def __call__(self, packet: Packet[Any]) -> Packet[Any]:
        """Return the packet, moved to the end of the previous one if it begins before the middle of that."""
        dts = packet.pts if packet.dts is None else packet.dts
        if dts is None:
            return packet
        shift = self._expected_dts - dts if dts < self._min_dts else 0
        packet.dts, packet.pts = dts + shift, (dts if packet.pts is None else packet.pts) + shift
        # Subtitles may overlap in time; audio packets may not.
        step = max(1, packet.duration or 0) if packet.stream.type == "audio" else 0
        self._min_dts, self._expected_dts = packet.dts + (step + 1) // 2, packet.dts + step
        return packet
