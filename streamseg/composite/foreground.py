"""The colour of the foreground where the background shines through it or hides it, so that cut-outs have no fringe."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels

Floats = npt.NDArray[np.float32]

REDUCTION = 4
"""Colours are spread at this fraction of the size: they are smooth, and it costs a sixteenth."""

WINDOW_SHARE = 1 / 40
"""Width of the window for local means as a share of the long side."""

LEAST_WINDOW_PX = 7

PURITY = 3
"""Power of a pixel's share that is its weight in the mean: mixed pixels say little about either side."""

TRUSTED = 0.05
"""Mean weight in the window from which on the local mean is taken as it is, less leans on the whole picture's."""

EPSILON = 1e-6


def foreground_colour(rgb: Pixels, matte: Pixels) -> Pixels:
    """RGB `(H, W, 3)` and its matte `(H, W)` -> RGB whose soft and hidden pixels hold the foreground's colour.

    Pixels of full alpha stay as they are.

    Source: Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021, equations 4 to 6: blur-fusion, with the
    local means taken at a quarter of the size, from pure pixels before mixed ones, and one mean for all that lies far.
    """
    front, back = _spread(rgb, matte)
    filled = cv2.copyTo(front, cv2.inRange(matte, 0, 0), rgb.copy()).astype(np.uint8, copy=False)
    soft = _soft(matte)
    seen, weights, fronts, backs = (np.take(_flat(pixels), soft, axis=0) for pixels in (rgb, matte, front, back))
    _flat(filled)[soft] = _fused(seen, weights, fronts, backs)
    return filled


def _soft(matte: Pixels) -> npt.NDArray[np.int32]:
    """Which pixels are neither hidden nor opaque, counted row by row."""
    between = cv2.inRange(matte, 1, 254)
    x, y = cv2.findNonZero(between).reshape(-1, 2).T if cv2.hasNonZero(between) else np.empty((2, 0))
    places: npt.NDArray[np.int32] = (y * matte.shape[1] + x).astype(np.int32)
    return places


def _flat(pixels: Pixels) -> Pixels:
    """A view `(H * W[, C])`."""
    return pixels.reshape(-1, *pixels.shape[2:])


def _spread(rgb: Pixels, matte: Pixels) -> tuple[Pixels, Pixels]:
    """The local mean colours `(H, W, 3)` of foreground and background."""
    size, small_size = matte.shape[::-1], tuple(max(1, side // REDUCTION) for side in matte.shape[::-1])
    small = cv2.resize(rgb, small_size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = cv2.resize(matte, small_size, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    front, back = (_local_mean(small, weight**PURITY) for weight in (alpha, 1 - alpha))
    return _enlarged(front, size), _enlarged(back, size)


def _fused(seen: Pixels, matte: Pixels, front: Pixels, back: Pixels) -> Pixels:
    """Colours `(N, 3)` of soft pixels: the local mean, moved by what it leaves unexplained."""
    weight = matte[:, None].astype(np.float32) / 255
    unexplained = seen - weight * front - (1 - weight) * back
    return np.clip(np.rint(front + weight * unexplained), 0, 255).astype(np.uint8)


def _local_mean(colours: Floats, weights: Floats) -> Floats:
    """The weighted mean `(h, w, 3)` around each pixel, or the whole picture's where there is no weight near by."""
    side_px = max(LEAST_WINDOW_PX, round(max(weights.shape) * WINDOW_SHARE))
    total = _blurred(weights, side_px)[..., None]
    trusted = _blurred(colours * weights[..., None], side_px) / np.maximum(total, TRUSTED)
    everywhere = np.tensordot(weights, colours, 2) / max(float(weights.sum()), EPSILON)
    mean: Floats = (trusted + (1 - np.minimum(total / TRUSTED, 1)) * everywhere).astype(np.float32)
    return mean


def _blurred(values: Floats, side_px: int) -> Floats:
    return cv2.blur(values, (side_px, side_px), borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)


def _enlarged(colours: Floats, size: tuple[int, int]) -> Pixels:
    rounded = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return cv2.resize(rounded, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
