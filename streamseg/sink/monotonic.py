"""Times of packets that go on and never back."""

from __future__ import annotations

import math
from typing import Any

from av.packet import Packet


class Onward:
    """Sees to it that each packet of a track is due after the one before, without which no container takes it."""

    def __init__(self) -> None:
        self._least, self._next = -math.inf, 0

    def __call__(self, packet: Packet[Any]) -> Packet[Any]:
        """The same packet, right after the last one if it would be due before that was half over."""
        due = packet.pts if packet.dts is None else packet.dts
        if due is None:
            return packet
        late = self._next - due if due < self._least else 0
        packet.dts, packet.pts = due + late, (due if packet.pts is None else packet.pts) + late
        # Lines of subtitles may overlap, sound follows itself.
        step = max(1, packet.duration or 0) if packet.stream.type == "audio" else 0
        self._least, self._next = packet.dts + (step + 1) // 2, packet.dts + step
        return packet
