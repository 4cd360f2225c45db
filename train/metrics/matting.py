"""Errors of one frame's matte, pixel by pixel: gradient (Grad) and connectivity (Conn), and the unknown band.

Source: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009, section on error
measures. Alpha is never stretched to the full range first, as some published scripts do.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from train.data import Pixels
from train.metrics.fmeasure import Alpha, Truth

BAND_SHARE = 0.01
"""The unknown band reaches so far from the soft pixels, as a share of the picture's diagonal: 7 px at 640x360."""

GRADIENT_SIGMA_PX = 1.4
"""Standard deviation of the Gaussian whose derivative the gradient is taken with, as published."""

GRADIENT_CUT = 0.01
"""The filter ends where the Gaussian falls below this."""

CONNECTIVITY_STEP = 0.1
"""Distance between the thresholds of connectivity, as published."""

CONNECTIVITY_TOLERANCE = 0.15
"""Distances from the connected level that are smaller count as none (theta), as published."""


def unknown_band(alpha: Pixels) -> Truth:
    """Return where a trimap would say unknown: the true alpha `(H, W)` uint8 strictly between 0 and 255, dilated.

    The structuring element is a disc of `BAND_SHARE` of the diagonal, rounded.
    """
    radius = round(BAND_SHARE * math.hypot(*alpha.shape))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(cv2.inRange(alpha, 1, 254), disc) > 0, np.bool_)


def gradient_error(alpha: Alpha, truth: Alpha) -> Alpha:
    """Return the squared difference of the gradients' magnitudes `(H, W)`; Grad is its sum / 1000.

    The gradient is alpha convolved with the first derivative of a Gaussian (sigma 1.4 px) along one axis and the
    Gaussian along the other; the filters have a sum of squares of 1, and the picture's edge is repeated outwards.
    """
    difference = gradient_magnitude(alpha) - gradient_magnitude(truth)
    return np.asarray(difference * difference, np.float32)


def gradient_magnitude(alpha: Alpha) -> Alpha:
    """Return the length of alpha's gradient `(H, W)`, see `gradient_error`."""
    smooth, derivative = _filters()
    across = cv2.sepFilter2D(alpha, cv2.CV_32F, derivative, smooth, borderType=cv2.BORDER_REPLICATE)
    down = cv2.sepFilter2D(alpha, cv2.CV_32F, smooth, derivative, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.hypot(across, down), np.float32)


def connectivity_error(alpha: Alpha, truth: Alpha) -> Alpha:
    """Return the difference of the degrees of connectivity `(H, W)`; Conn is its sum / 1000.

    For each threshold t = .1, .2, ... 1 the source region is the largest 4-connected component of the pixels where
    both mattes reach t. A pixel's level l is the last t up to which it belongs to every source region. Its degree is
    1 - d where d = alpha - l is at least .15, else 1.
    """
    level, connected = np.zeros_like(truth), np.ones(truth.shape, np.bool_)
    both = np.minimum(alpha, truth)
    for step in range(1, round(1 / CONNECTIVITY_STEP) + 1):
        threshold = np.float32(step * CONNECTIVITY_STEP)
        connected &= _largest_component(both >= threshold)
        level[connected] = threshold
    return np.asarray(np.abs(_degree(alpha - level) - _degree(truth - level)), np.float32)


def _filters() -> tuple[Alpha, Alpha]:
    """Return a Gaussian and its derivative, each of unit norm: their product filters have a sum of squares of 1."""
    sigma = GRADIENT_SIGMA_PX
    reach = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(math.tau) * sigma * GRADIENT_CUT)))
    x = np.arange(-reach, reach + 1)
    gaussian = np.exp(-(x**2) / (2 * sigma**2))
    derivative = x * gaussian
    norms = np.linalg.norm(gaussian), np.linalg.norm(derivative)
    return (gaussian / norms[0]).astype(np.float32), (derivative / norms[1]).astype(np.float32)


def _largest_component(mask: Truth) -> Truth:
    """Return the largest 4-connected component of a mask; the first of equals, in the order of lines."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    return np.asarray(labels == 1 + int(areas.argmax()), np.bool_) if areas.size else np.zeros_like(mask)


def _degree(distance: Alpha) -> Alpha:
    """Return the degree of connectivity of pixels at a distance above their level."""
    # A ten-millionth of slack: .15 is no float, and alpha's steps of 1 / 255 must not fall on either side by chance.
    return np.asarray(np.where(distance >= CONNECTIVITY_TOLERANCE - 1e-7, 1 - distance, 1), np.float32)
