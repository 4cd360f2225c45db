"""Foreground colour estimation: remove the background's colour from soft edges, so that RGBA outputs have no fringe."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels
from streamseg.yuv import YuvImage

Floats = npt.NDArray[np.float32]

REDUCTION = 4
"""Factor by which images are reduced for local mean colours, which are smooth."""

WINDOW_SCALE = 1 / 40
"""Width of the window for local means as a fraction of the long side."""

MIN_WINDOW_PX = 7

PURITY_EXPONENT = 3
"""Exponent of alpha that gives a pixel's weight in a local mean, so that mixed pixels count little."""

TRUSTED_WEIGHT = 0.05
"""Mean weight in a window from which on its local mean is used alone; below, the global mean is mixed in."""

EPSILON = 1e-6

PLANE_REDUCTION = 8
"""The same factor in composites of video, of which only the edges are looked at."""

SOFT = (6, 249)
"""Least and greatest alpha, in levels of 255, at which the estimate can be seen in a composite."""

MAX_REMAP = 32_000
"""Most rows of an image that OpenCV's remap takes."""

Indices = npt.NDArray[np.int32]


def foreground_colour(rgb: Pixels, matte: Pixels) -> Pixels:
    """Estimate the foreground's own colour where the matte is soft or 0; opaque pixels stay unchanged.

    Source: Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021, equations 4 to 6: blur-fusion, with local
    means at a quarter of the size, weighted towards pure pixels, and one global mean far from the foreground.

    Args:
        rgb: `(H, W, 3)` uint8.
        matte: `(H, W)` uint8.

    Returns:
        RGB `(H, W, 3)` uint8.
    """
    front, back = _local_colours(rgb, matte)
    filled = cv2.copyTo(front, cv2.inRange(matte, 0, 0), rgb.copy()).astype(np.uint8, copy=False)
    soft = _soft_pixels(matte)
    observed, weights, fronts, backs = (
        np.take(_flattened(pixels), soft, axis=0) for pixels in (rgb, matte, front, back)
    )
    _flattened(filled)[soft] = _fuse(observed, weights, fronts, backs)
    return filled


def fuse_planes(composite: YuvImage, front: YuvImage, back: YuvImage, matte: Pixels) -> None:
    """Put the foreground's own colours into the soft edges of a composite, in which the old background shows through.

    The same estimate as that of `foreground_colour`, in Y, Cb and Cr of one matrix.

    Args:
        composite: the blend of `front` over `back` with the matte; written to.
        front: the frame.
        back: the new background.
        matte: weight of the frame, `(H, W)` uint8.
    """
    small, small_alpha = _reduced_planes(front, matte)
    fronts, backs = (_local_mean(small, weight**PURITY_EXPONENT) for weight in (small_alpha, 1 - small_alpha))
    chroma_matte = cv2.resize(matte, front.cb.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    mattes = (matte, chroma_matte, chroma_matte)
    places = {matte.shape: _soft_points(matte), chroma_matte.shape: _soft_points(chroma_matte)}
    for channel, weights in enumerate(mattes):
        rows, columns = places[weights.shape]
        if not len(rows):
            continue
        at = (rows, columns)
        alpha = weights[at].astype(np.float32) * np.float32(1 / 255)
        own, other = (_sampled(means[..., channel], rows, columns, weights.shape) for means in (fronts, backs))
        observed = front.planes[channel][at].astype(np.float32)
        fused = own + alpha * (observed - alpha * own - (1 - alpha) * other)
        np.clip(fused, 0, 255, out=fused)
        behind = back.planes[channel][at]
        composite.planes[channel][at] = np.rint(behind + alpha * (fused - behind)).astype(np.uint8)


def _reduced_planes(image: YuvImage, matte: Pixels) -> tuple[Floats, Floats]:
    """Return Y, Cb and Cr `(h, w, 3)` and alpha `(h, w)` in [0, 1], reduced by `REDUCTION`."""
    size = tuple(max(1, side // PLANE_REDUCTION) for side in matte.shape[::-1])
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in image.planes]
    alpha = cv2.resize(matte, size, interpolation=cv2.INTER_AREA).astype(np.float32) * np.float32(1 / 255)
    return np.dstack(planes).astype(np.float32), alpha


def _soft_points(matte: Pixels) -> tuple[Indices, Indices]:
    """Return rows and columns of pixels whose alpha is in `SOFT`."""
    between = cv2.inRange(matte, *SOFT)
    if not cv2.hasNonZero(between):
        return np.empty(0, np.int32), np.empty(0, np.int32)
    x, y = cv2.findNonZero(between).reshape(-1, 2).T
    return y.astype(np.int32), x.astype(np.int32)


def _sampled(means: Floats, rows: Indices, columns: Indices, shape: tuple[int, ...]) -> Floats:
    """Interpolate a reduced plane `(h, w)` at pixels of the full plane -> `(N,)`."""
    y, x = (
        ((places + 0.5) * (small / full) - 0.5).astype(np.float32)
        for places, small, full in zip((rows, columns), means.shape, shape, strict=True)
    )
    values = []
    for start in range(0, len(rows), MAX_REMAP):  # OpenCV takes no longer images.
        part = slice(start, start + MAX_REMAP)
        values.append(cv2.remap(means, x[part, None], y[part, None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return np.concatenate(values)[:, 0]


def _soft_pixels(matte: Pixels) -> npt.NDArray[np.int32]:
    """Return the row-major indices of pixels with alpha in [1, 254]."""
    between = cv2.inRange(matte, 1, 254)
    x, y = cv2.findNonZero(between).reshape(-1, 2).T if cv2.hasNonZero(between) else np.empty((2, 0))
    indices: npt.NDArray[np.int32] = (y * matte.shape[1] + x).astype(np.int32)
    return indices


def _flattened(pixels: Pixels) -> Pixels:
    """Return a view `(H * W[, C])`."""
    return pixels.reshape(-1, *pixels.shape[2:])


def _local_colours(rgb: Pixels, matte: Pixels) -> tuple[Pixels, Pixels]:
    """Return the local mean colours `(H, W, 3)` of foreground and background."""
    size, small_size = matte.shape[::-1], tuple(max(1, side // REDUCTION) for side in matte.shape[::-1])
    small = cv2.resize(rgb, small_size, interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = cv2.resize(matte, small_size, interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    front, back = (_local_mean(small, weight**PURITY_EXPONENT) for weight in (alpha, 1 - alpha))
    return _enlarge(front, size), _enlarge(back, size)


def _fuse(observed: Pixels, matte: Pixels, front: Pixels, back: Pixels) -> Pixels:
    """Return foreground colours `(N, 3)` of soft pixels: local means plus the weighted compositing residual."""
    weight = matte[:, None].astype(np.float32) / 255
    unexplained = observed - weight * front - (1 - weight) * back
    return np.clip(np.rint(front + weight * unexplained), 0, 255).astype(np.uint8)


def _local_mean(colours: Floats, weights: Floats) -> Floats:
    """Return the weighted mean `(h, w, 3)` around each pixel, or the global mean where the weights vanish."""
    side_px = max(MIN_WINDOW_PX, round(max(weights.shape) * WINDOW_SCALE))
    total = _box_mean(weights, side_px)[..., None]
    local_mean = _box_mean(colours * weights[..., None], side_px) / np.maximum(total, TRUSTED_WEIGHT)
    global_mean = np.tensordot(weights, colours, 2) / max(float(weights.sum()), EPSILON)
    mean: Floats = (local_mean + (1 - np.minimum(total / TRUSTED_WEIGHT, 1)) * global_mean).astype(np.float32)
    return mean


def _box_mean(values: Floats, side_px: int) -> Floats:
    """Return the mean over a square window."""
    return cv2.blur(values, (side_px, side_px), borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)


def _enlarge(colours: Floats, size: tuple[int, int]) -> Pixels:
    """Resize colours to width and height, as uint8."""
    rounded = np.clip(np.rint(colours), 0, 255).astype(np.uint8)
    return cv2.resize(rounded, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
