"""Guided filter: upsample the network's alpha to the frame's size, with edges along those of the frame."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels
from streamseg.workspace import workspace
from streamseg.yuv import AnyImage

Alpha = npt.NDArray[np.float32]

GUIDE_EPSILON = 1e-2
"""Variance of the guide, in [0, 1] squared, below which it counts as flat."""


def refine(image: AnyImage, alpha: Alpha, out: Pixels | None = None) -> Pixels:
    """Upsample alpha to the frame's size with a guided filter.

    A local linear model of alpha over the frame's luma is fitted at the matte's size and applied at the frame's.

    Source: He and Sun, "Fast Guided Filter", arXiv:1505.00996, algorithm 2, with one change: the model passes through
    each matte pixel's own value, not through the window's mean, which would blur the matte by the window.

    Args:
        image: the frame.
        alpha: float32 `(h, w)` in [0, 1].
        out: array for the result, which may be None.

    Returns:
        Matte `(H, W)` uint8.
    """
    guide, black, contrast = image.y, image.black, image.white - image.black
    height, width = alpha.shape
    small_guide = (image.reduced_y(width, height).astype(np.float32) - np.float32(black)) / np.float32(contrast)
    small_slope = _slope(small_guide, alpha)
    # Subtract the black level here, at the matte's size, and not from every pixel of the frame.
    small_offset = alpha - small_slope * (small_guide + np.float32(black / contrast))
    slope, offset = (
        cv2.resize(small, guide.shape[::-1], workspace(purpose, guide.shape, np.float32), interpolation=cv2.INTER_CUBIC)
        for purpose, small in (("slope", small_slope * (255 / contrast)), ("offset", small_offset * 255))
    )
    cv2.multiply(slope, guide, slope, dtype=cv2.CV_32F)
    return cv2.add(slope, offset, out, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def _slope(guide: Alpha, alpha: Alpha) -> Alpha:
    """Return the slope `(h, w)` of alpha over the guide in each pixel's 3x3 window, averaged over 3x3 pixels."""
    mean_guide, mean_alpha = _box(guide), _box(alpha)
    covariance = _box(guide * alpha) - mean_guide * mean_alpha
    variance = _box(guide * guide) - mean_guide * mean_guide
    return _box((covariance / (variance + GUIDE_EPSILON)).astype(np.float32, copy=False))


def _box(values: Alpha) -> Alpha:
    """Return the mean over 3x3 pixels."""
    return cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)
