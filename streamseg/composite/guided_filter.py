"""The matte is brought to the frame's size, its edges along the frame's own."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels, colours
from streamseg.workspace import workspace
from streamseg.yuv import BLACK, WHITE, YuvImage

Alpha = npt.NDArray[np.float32]

GUIDE_EPSILON = 1e-2
"""Variance of the guide, in [0, 1] squared, below which it is taken as flat."""


def refine(picture: Pixels | YuvImage, alpha: Alpha, out: Pixels | None = None) -> Pixels:
    """Enlarges a matte `(h, w)` in [0, 1] to the frame's, `(H, W)` in levels of 255, its edges along the frame's own.

    A local linear model of alpha over the frame's luma is fitted at the matte's size and applied at the frame's.

    Args:
        picture: the frame.
        alpha: its matte in [0, 1].
        out: where the result goes; a new array if none is given.

    Source: He and Sun, "Fast Guided Filter", arXiv:1505.00996, algorithm 2, with one change: the model passes through
    each matte pixel's own value, not through the window's mean, which would blur the matte by the window.
    """
    guide, black, white = guide_of(picture)
    size = guide.shape[::-1]
    reduced = _reduced(picture, guide, alpha.shape[::-1])
    small_guide = (reduced.astype(np.float32) - np.float32(black)) / np.float32(white - black)
    small_slope = _slope(small_guide, alpha)
    # What black stands for is taken off at the matte's size, not from every pixel of the frame.
    small_offset = alpha - small_slope * (small_guide + np.float32(black / (white - black)))
    slope, offset = (
        cv2.resize(small, size, workspace(purpose, guide.shape, np.float32), interpolation=cv2.INTER_CUBIC)
        for purpose, small in (("slope", small_slope * (255 / (white - black))), ("offset", small_offset * 255))
    )
    cv2.multiply(slope, guide, slope, dtype=cv2.CV_32F)
    return cv2.add(slope, offset, out, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def guide_of(picture: Pixels | YuvImage) -> tuple[Pixels, int, int]:
    """The frame's luma `(H, W)`, and its levels of black and white."""
    if isinstance(picture, YuvImage):
        return picture.values[0], BLACK, WHITE
    return cv2.cvtColor(colours(picture), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False), 0, 255


def _reduced(picture: Pixels | YuvImage, guide: Pixels, size: tuple[int, ...]) -> Pixels:
    """The guide averaged to width and height."""
    if isinstance(picture, YuvImage):
        return picture.reduced_luma(*size)
    return cv2.resize(guide, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _slope(guide: Alpha, alpha: Alpha) -> Alpha:
    """Slope `(h, w)` of alpha over the guide in the 3x3 window around each pixel, averaged."""
    mean_guide, mean_alpha = _box(guide), _box(alpha)
    covariance = _box(guide * alpha) - mean_guide * mean_alpha
    variance = _box(guide * guide) - mean_guide * mean_guide
    return _box((covariance / (variance + GUIDE_EPSILON)).astype(np.float32, copy=False))


def _box(values: Alpha) -> Alpha:
    return cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)
