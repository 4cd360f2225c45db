"""Display orientation: the rotation and mirroring that a container asks for before a frame is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import av
import numpy as np

from streamseg.image import Pixels

DEGREES = {
    (False, False, False): 0,
    (True, True, False): 90,
    (False, True, True): 180,
    (True, False, True): 270,
}
"""Clockwise degrees of the orientations without mirroring."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """The steps from a stored to an upright image, in this order.

    Attributes:
        is_transposed: swap rows and columns.
        is_mirrored: swap left and right.
        is_flipped: swap top and bottom.
    """

    is_transposed: bool = False
    is_mirrored: bool = False
    is_flipped: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """Read a frame's display matrix, rounded to the nearest quarter turn.

        The matrix takes a pixel at (x, y) to (a x + c y, b x + d y), with y downwards (ISO/IEC 14496-12:2022, 6.2.2).
        """
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        a, b, _, c, d = memoryview(matrix).cast("i")[:5]  # type: ignore[arg-type]
        return cls(True, c < 0, b < 0) if abs(b) > abs(a) else cls(False, a < 0, d < 0)

    @property
    def text(self) -> str:
        """Describe the orientation for messages; empty if the image is stored upright."""
        turned = DEGREES.get((self.is_transposed, self.is_mirrored, self.is_flipped))
        unmirrored = DEGREES.get((self.is_transposed, not self.is_mirrored, self.is_flipped))
        degrees = turned or unmirrored
        parts = [f"turned by {degrees} degrees"] if degrees else []
        return " and ".join(parts + ["mirrored"] * (turned is None))

    def __call__(self, pixels: Pixels) -> Pixels:
        """Return an image `(H, W, ...)` upright, as `(H, W, ...)` or `(W, H, ...)`."""
        turned = pixels.swapaxes(0, 1) if self.is_transposed else pixels
        return np.ascontiguousarray(turned[:: -1 if self.is_flipped else 1, :: -1 if self.is_mirrored else 1])
