"""Haze and holes: alpha where nobody is near, and what is missing where the person surely is.

They look past the edge, whose exact place the other measures ask about, at what people notice first in a matte: ghosts
in the room, and bodies that one can see through. Distances are Euclidean, as shares of the picture's diagonal, so that
a picture scores the same at any size. The picture's own border is no edge of a mask.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from train.metrics.fmeasure import Alpha, Truth

FAR = 0.05
"""Haze counts where the mask is further away than this share of the diagonal."""

DEEP = 0.025
"""Holes count where the background is further away than this share of the diagonal."""


def haze(alpha: Alpha, truth: Truth) -> float:
    """Mean alpha further than `FAR` from the mask, which is everywhere if it is empty; NaN if that is nowhere."""
    return _mean(alpha[_further(truth, FAR)])


def holes(alpha: Alpha, truth: Truth) -> float:
    """Mean of 1 - alpha further than `DEEP` from the background, everywhere in a full mask; NaN if that is nowhere."""
    return _mean(1 - alpha[_further(~truth, DEEP)])


def _further(pixels: Truth, share: float) -> Truth:
    """Where the nearest of `pixels` is further away than a share of the diagonal: everywhere if there are none."""
    if not pixels.any():
        return np.ones(pixels.shape, np.bool_)
    distances = cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distances > share * math.hypot(*pixels.shape), np.bool_)


def _mean(values: Alpha) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan
