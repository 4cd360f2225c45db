"""When the pictures of a file are stored and shown."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from av.packet import Packet


class PictureTimes:
    """Follows the packets of a file's pictures, which may be stored in another order than they are shown.

    Attributes:
        end: when the last one ends, in seconds.
    """

    def __init__(self) -> None:
        self.end = Fraction(0)
        self._lead = Fraction(0)  # How long before it is shown the first one is stored.
        self._last_stored: Fraction | None = None

    def follow(self, packet: Packet[Any]) -> None:
        """Takes the next one; a new encoder's first ones may be due before the last ones of an interrupted run."""
        if packet.dts is None or packet.pts is None:
            return
        unit = packet.time_base
        if self._last_stored is None:
            self._lead = (packet.pts - packet.dts) * unit
        else:
            packet.dts = max(packet.dts, math.floor(self._last_stored / unit) + 1)
        self._last_stored = packet.dts * unit
        self.end = max(self.end, (packet.pts + (packet.duration or 0)) * unit)

    def fill(self, last: Packet[Any]) -> None:
        """Makes the last one so long that all together are stored as long as they are shown; players take the less."""
        if last.dts is not None:
            last.duration = max(1, round((self.end - self._lead) / last.time_base) - last.dts)
