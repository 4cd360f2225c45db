"""Guided filter: upsample the network's alpha to the frame's size, with edges along those of the frame."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels, colours
from streamseg.workspace import workspace
from streamseg.yuv import BLACK, WHITE, YuvImage

Alpha = npt.NDArray[np.float32]

GUIDE_EPSILON = 1e-2
"""Variance of the guide, in [0, 1] squared, below which it counts as flat."""


def refine(image: Pixels | YuvImage, alpha: Alpha, out: Pixels | None = None) -> Pixels:
    """Upsample alpha to the frame's size with a guided filter.

    A local linear model of alpha over the frame's luma is fitted at the matte's size and applied at the frame's.

    Source: He and Sun, "Fast Guided Filter", arXiv:1505.00996, algorithm 2, with one change: the model passes through
    each matte pixel's own value, not through the window's mean, which would blur the matte by the window.

    Args:
        image: the frame, RGB(A) `(H, W, C)` uint8 or YUV.
        alpha: float32 `(h, w)` in [0, 1].
        out: array for the result, which may be None.

    Returns:
        Matte `(H, W)` uint8.
    """
    guide, black, white = guide_of(image)
    size = guide.shape[::-1]
    small_guide_levels = _reduced(image, guide, alpha.shape[::-1])
    small_guide = (small_guide_levels.astype(np.float32) - np.float32(black)) / np.float32(white - black)
    small_slope = _slope(small_guide, alpha)
    # Subtract the black level here, at the matte's size, and not from every pixel of the frame.
    small_offset = alpha - small_slope * (small_guide + np.float32(black / (white - black)))
    slope, offset = (
        cv2.resize(small, size, workspace(purpose, guide.shape, np.float32), interpolation=cv2.INTER_CUBIC)
        for purpose, small in (("slope", small_slope * (255 / (white - black))), ("offset", small_offset * 255))
    )
    cv2.multiply(slope, guide, slope, dtype=cv2.CV_32F)
    return cv2.add(slope, offset, out, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def guide_of(image: Pixels | YuvImage) -> tuple[Pixels, int, int]:
    """Return the frame's luma `(H, W)` uint8 and its levels of black and white."""
    if isinstance(image, YuvImage):
        return image.y, BLACK, WHITE
    return cv2.cvtColor(colours(image), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False), 0, 255


def _reduced(image: Pixels | YuvImage, guide: Pixels, size: tuple[int, ...]) -> Pixels:
    """Average the guide to width and height `size`."""
    if isinstance(image, YuvImage):
        return image.reduced_y(*size)
    return cv2.resize(guide, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _slope(guide: Alpha, alpha: Alpha) -> Alpha:
    """Return the slope `(h, w)` of alpha over the guide in each pixel's 3x3 window, averaged over 3x3 pixels."""
    mean_guide, mean_alpha = _box(guide), _box(alpha)
    covariance = _box(guide * alpha) - mean_guide * mean_alpha
    variance = _box(guide * guide) - mean_guide * mean_guide
    return _box((covariance / (variance + GUIDE_EPSILON)).astype(np.float32, copy=False))


def _box(values: Alpha) -> Alpha:
    """Return the mean over 3x3 pixels."""
    return cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)
