"""The gate: show what the network is sure of for some part of it, and nothing else; open fast, close slowly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamseg.smooth.motion import Alpha
from streamseg.smooth.parts import Mask, Parts, parts_of, pixels_by_part

HAZE = 0.1
"""Alpha from which on pixels belong to a part of the matte; see `parts_of`."""

SURE, STILL_SURE = 0.8, 0.6
"""Alpha by which a part is opened, and by which one that is open stays so."""

LEAST_SHARE = 1e-4
"""Share of the frame that has to be that sure: so small that who is far away counts, so large that noise does not."""

HOLD_SECONDS = 0.4
"""A part stays open for so long after the network has last been sure of it."""

FADE_SECONDS = 0.2
"""Time in which a part that closes fades; one that opens is there at once."""


@dataclass(frozen=True, slots=True, eq=False)
class GateMemory:
    """What a gate knows of the frames before: a part that was once opened may stay so for as long as a scene lasts.

    Attributes:
        held_seconds: `(h, w)`, time for which each pixel's part stays open.
        gain: `(h, w)`, factor of alpha in the frame before.
    """

    held_seconds: Alpha
    gain: Alpha


NOTHING = GateMemory(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))


class PresenceGate:
    """Takes out of the mattes of one stream what the network is sure of nowhere, such as grey ghosts in an empty room.

    No alpha of a part that is open changes, so that hair stays as it is.

    Attributes:
        memory: of the frames so far; it may be replaced by that of another gate.
    """

    def __init__(self) -> None:
        self.memory = NOTHING

    def step(self, alpha: Alpha, elapsed_seconds: float) -> Alpha:
        """Gate the next matte.

        Args:
            alpha: the matte.
            elapsed_seconds: time since the last one; 0 at the start of a scene, which begins closed.
        """
        if elapsed_seconds <= 0 or self.memory.gain.shape != alpha.shape:
            self.memory = GateMemory(np.zeros_like(alpha), np.zeros_like(alpha))
        parts, count = parts_of(alpha >= HAZE)
        held_seconds = _held_by_part(self.memory.held_seconds, parts, count) - elapsed_seconds
        sure = _is_large(parts, alpha >= SURE, count)
        still_sure = _is_large(parts, alpha >= STILL_SURE, count) & (held_seconds > 0)
        held_seconds = np.where(sure | still_sure, HOLD_SECONDS, np.maximum(held_seconds, 0))
        is_open = held_seconds > 0
        is_open[0] = is_open[1:].any()  # What is fainter than haze belongs to whoever is there.
        held_seconds[0] = 0
        faded = self.memory.gain - np.float32(elapsed_seconds / FADE_SECONDS)
        gain: Alpha = np.maximum(np.take(is_open.astype(np.float32), parts), faded)
        self.memory = GateMemory(np.take(held_seconds.astype(np.float32), parts), gain)
        gated: Alpha = alpha * gain
        return gated


def _held_by_part(held_seconds: Alpha, parts: Parts, count: int) -> Alpha:
    """Return for each part the longest time that any of its pixels is held for."""
    longest = np.zeros(count, np.float32)
    where = held_seconds > 0
    np.maximum.at(longest, parts[where], held_seconds[where])
    return longest


def _is_large(parts: Parts, where: Mask, count: int) -> Mask:
    """Return for each part whether enough of its pixels are in a mask."""
    return np.asarray(pixels_by_part(parts, where, count) >= max(1.0, LEAST_SHARE * parts.size), np.bool_)
