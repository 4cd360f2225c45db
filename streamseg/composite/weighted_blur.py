"""Blur of what stands behind the subject: its pixels have no weight, so that it leaves no halo around itself."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels, reduced

Weights = npt.NDArray[np.float32]

EXPONENT = 2
"""Exponent of 1 - alpha in the weight, so that the subject leaks nothing where the network is nearly sure of it."""

FLOOR = 5e-4
"""Weight that every pixel keeps: amid the subject, where nothing else is near, its own colours are blurred."""


def background_weights(matte: Pixels, width: int, height: int) -> Weights:
    """Return each reduced pixel's weight in the blur, float32 `(height, width)` in [0, 1].

    A pixel next to one of the subject has none either, since reducing has mixed the two.

    Args:
        matte: `(H, W)` uint8.
        width: of the reduced image.
        height: of the reduced image.
    """
    alpha = cv2.dilate(reduced(matte, width, height), np.ones((3, 3), np.uint8)).astype(np.float32) / np.float32(255)
    weights: Weights = ((1 - alpha) ** EXPONENT + np.float32(FLOOR)).astype(np.float32)
    return weights


def weighted_blur(small: Pixels, weights: Weights, deviation_px: float) -> Pixels:
    """Blur a reduced image by the weighted mean of a Gaussian window.

    Args:
        small: `(h, w)` or `(h, w, C)` uint8.
        weights: `(h, w)` float32, above 0.
        deviation_px: standard deviation.

    Returns:
        The blurred image, of the same shape.
    """
    spread = weights if small.ndim == 2 else weights[..., None]
    total = cv2.GaussianBlur(weights, (0, 0), deviation_px)
    summed = cv2.GaussianBlur(small * spread, (0, 0), deviation_px)
    mean = summed / (total if small.ndim == 2 else total[..., None])
    blurred: Pixels = np.clip(np.rint(mean), 0, 255).astype(np.uint8)
    return blurred
