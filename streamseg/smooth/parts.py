"""Connected parts of a matte, diagonals too."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

Parts = npt.NDArray[np.int32]
"""`(h, w)`: number of the part that a pixel belongs to, from 1; 0 where there is none."""


def parts_of(mask: Mask) -> tuple[Parts, int]:
    """Number the parts of a mask, and count them; what belongs to none counts as one."""
    count, parts = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return np.asarray(parts, np.int32), count


def pixels_by_part(parts: Parts, where: Mask, count: int) -> npt.NDArray[np.intp]:
    """Count each part's pixels in a mask."""
    return np.bincount(parts[where], minlength=count)
