"""Guided filter: upsample the network's alpha to the frame's size, with edges along those of the frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, floor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels
from streamseg.yuv import AnyImage

if TYPE_CHECKING:
    from torch import Tensor

Alpha = npt.NDArray[np.float32]

Plane = TypeVar("Plane", Pixels, Alpha)

SHARPENING = 3.0
"""Weight of unsharp masking, which undoes the softness of a network's edges."""
LEAST_CHANGE = 0.03
"""Distance of alpha from the window's mean that is no edge yet, so that even regions stay as they are."""

GROOVE_PX, GROOVE_DEPTH = 5, 0.2
"""Grooves in alpha that are narrower than so many pixels, at half the matte's size, are sharpened less the deeper they
are, and not at all from this depth on."""

WINDOW_PX = 5
"""Width of the windows of the unsharp mask and of the model, at half the matte's size: what they say is smooth, and
costs a quarter there."""
SLOPE_WINDOW_PX = 3
"""Width of the window that the slopes are averaged over, at half the matte's size."""

GUIDE_EPSILON = 7e-5
"""Variance of the guide, in [0, 1] squared, below which it counts as flat: 2.1 levels of 255."""
GUIDE_GAIN = 1.3
"""Factor of the fitted slopes, since a fit to soft edges is softer than the frame's."""

SURE = 0.02
"""Distance of alpha from 0 or 1 up to which it is sure, and is enlarged as it is."""

UNEXPLAINED = 1e-2
"""Variance of alpha, in [0, 1] squared, that the colours are never taken to explain."""

LEAST_EXPLAINED = 0.2
"""Share of alpha's variance up to which the model is not worth its cost."""

BANDS = 16
"""Horizontal bands of a frame, each of which is parted into boxes of its own."""
LEAST_GAP_PX = 16
"""Sure pixels in a row of the matte that part two boxes; fewer cost less than another box."""

Values = TypeVar("Values", Alpha, "Tensor")


class Box(NamedTuple):
    """Rows and columns of a plane, from the first to the one after the last."""

    top: int
    bottom: int
    left: int
    right: int


def refine(image: AnyImage, alpha: Alpha, out: Pixels | None = None) -> Pixels:
    """Upsample alpha to the frame's size with a guided filter.

    A local linear model of alpha over Y, Cb and Cr is fitted at half the matte's size and applied at the frame's. It
    holds as far as the colours explain alpha, and only where that is unsure: near 0 and 1 alpha stays what it is, and
    so does alpha that is even in the window around. There it is enlarged bilinearly, at a fraction of the cost.

    Source: He, Sun and Tang, "Guided Image Filtering", TPAMI 2013, section 3.5 (colour guides), at a reduced size as in
    He and Sun, "Fast Guided Filter", arXiv:1505.00996, algorithm 2. Our own are the unsharp mask before it, the gain,
    and the weight of the model, its coefficient of determination squared. `train/README.md` has the measurements.

    Args:
        image: the frame.
        alpha: float32 `(h, w)` in [0, 1].
        out: array for the result, which may be None.

    Returns:
        Matte `(H, W)` uint8.
    """
    y, *chroma = image.planes
    sharp = sharpened(alpha)
    levels = cv2.convertScaleAbs(sharp, alpha=255)
    matte = cv2.resize(levels, y.shape[::-1], out, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    unsure = (alpha > SURE) & (alpha < 1 - SURE)
    if not unsure.any():
        return matte
    weight, offset, slopes = _model(image, sharp)
    weight *= unsure
    if len(alpha) > len(chroma[0]) or alpha.shape[1] > chroma[0].shape[1]:
        chroma = [cv2.resize(plane, y.shape[::-1]).astype(np.uint8, copy=False) for plane in chroma]
    total, scale = (sharp + weight * (offset - sharp)) * np.float32(255), np.float32(255 / (image.white - image.black))
    model = cv2.merge([total, *(weight * scale * slope for slope in slopes)]).astype(np.float32, copy=False)
    for box in _boxes((weight > 0).view(np.uint8), chroma[0].shape):
        _apply(model, (y, *chroma), matte, box)
    return matte


def sharpened(alpha: Alpha) -> Alpha:
    """Steepen the edges of alpha `(h, w)` with an unsharp mask; narrow grooves are not deepened.

    A network is unsure of what crosses a person, such as a stripe on a shirt. It takes half of it out, and the mask
    would take out the rest.
    """
    small = halved(alpha)
    change = alpha - _as_large_as(alpha, box_mean(small, WINDOW_PX))
    edges = change - np.clip(change, -LEAST_CHANGE, LEAST_CHANGE)
    closed = cv2.morphologyEx(small, cv2.MORPH_CLOSE, np.ones((GROOVE_PX, GROOVE_PX), np.uint8))
    kept = np.minimum(_as_large_as(alpha, closed - small) / np.float32(GROOVE_DEPTH), 1)
    edges -= kept * np.minimum(edges, 0)
    return np.asarray(np.clip(alpha + np.float32(SHARPENING) * edges, 0, 1), np.float32)


def _model(image: AnyImage, sharp: Alpha) -> tuple[Alpha, Alpha, list[Alpha]]:
    """Fit alpha `(h, w)` as offset + slopes * Y, Cb and Cr, in units of the luma range, around each pixel.

    Returns:
        The weight of the model, its offset and its slopes, `(h, w)` each.
    """
    height, width = sharp.shape
    small = halved(sharp)
    planes = [halved(plane) for plane in image.reduced_planes(width, height)]
    guides = np.stack(planes).astype(np.float32) / np.float32(image.white - image.black)
    products = guides[0] * guides, guides[1] * guides[1:], guides[2] * guides[2:]
    moments = np.concatenate([guides, guides * small, *products, [small, small * small]])
    for plane in moments:
        cv2.blur(plane, (WINDOW_PX, WINDOW_PX), plane, borderType=cv2.BORDER_REPLICATE)
    means, (mean, square) = moments[:3], moments[-2:]
    covariances = moments[3:6] - means * mean
    y, cb, cr = means
    matrix = np.concatenate([moments[6:9] - y * means, moments[9:11] - cb * means[1:], moments[11:12] - cr * cr])
    matrix[DIAGONAL] += np.float32(GUIDE_EPSILON)
    slopes = np.stack(solved(list(matrix), list(covariances)))
    explained = (slopes * covariances).sum(0) / (square - mean * mean + np.float32(UNEXPLAINED))
    slopes *= np.float32(GUIDE_GAIN)
    offset = mean - (slopes * means).sum(0)
    explained = cv2.threshold(np.minimum(explained, 1), LEAST_EXPLAINED, 0, cv2.THRESH_TOZERO)[1]
    weight = _as_large_as(sharp, np.square(explained))
    offset, *each = (_as_large_as(sharp, box_mean(part, SLOPE_WINDOW_PX)) for part in (offset, *slopes))
    return weight, offset, each


DIAGONAL = [0, 3, 5]
"""Entries of a symmetric 3x3 matrix's diagonal among those of its upper triangle, row by row."""


def solved(matrix: Sequence[Values], vector: Sequence[Values]) -> list[Values]:
    """Solve a symmetric, positive definite 3x3 system in each pixel by elimination, for arrays or tensors.

    Args:
        matrix: the entries of the upper triangle, row by row.
        vector: the right-hand side, three entries.
    """
    a, b, c, d, e, f = matrix
    u, v, w = vector
    b_share, c_share = b / a, c / a
    d, e, v = d - b_share * b, e - b_share * c, v - b_share * u
    e_share = e / d
    third = (w - c_share * u - e_share * v) / (f - c_share * c - e_share * e)
    second = v / d - e_share * third
    return [u / a - b_share * second - c_share * third, second, third]


def box_mean(values: Alpha, side_px: int) -> Alpha:
    """Return the mean over a square window; the edge is repeated outwards."""
    return cv2.blur(values, (side_px, side_px), borderType=cv2.BORDER_REPLICATE).astype(np.float32, copy=False)


def halved(values: Plane) -> Plane:
    """Interpolate `(h, w)` to half the sides, rounded up: the mean of 2x2 where they are even."""
    size = tuple((side + 1) // 2 for side in reversed(values.shape))
    return cv2.resize(values, size, interpolation=cv2.INTER_LINEAR).astype(values.dtype, copy=False)


def _as_large_as(like: Alpha, values: Alpha) -> Alpha:
    """Interpolate to the size of another array."""
    return cv2.resize(values, like.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def _boxes(holds: Pixels, shape: tuple[int, ...]) -> Iterator[Box]:
    """Yield boxes in a plane of `shape` in which the model holds.

    Args:
        holds: not 0 where it does, at the matte's size.
        shape: height and width of the plane.
    """
    height, width = holds.shape
    scale_y, scale_x = shape[0] / height, shape[1] / width
    band_px = -(-height // BANDS)
    near = cv2.dilate(holds, np.ones((3, 3), np.uint8))  # Enlarging mixes neighbours.
    columns = np.maximum.reduceat(near, range(0, height, band_px))
    runs = cv2.morphologyEx(columns, cv2.MORPH_CLOSE, np.ones((1, LEAST_GAP_PX), np.uint8)) > 0
    bands, ends = np.nonzero(np.diff(runs, axis=1, prepend=False, append=False))
    for band, left, right in zip(bands[::2].tolist(), ends[::2].tolist(), ends[1::2].tolist(), strict=True):
        yield Box(
            max(0, floor(band * band_px * scale_y) - 1),
            min(shape[0], ceil((band + 1) * band_px * scale_y) + 1),
            max(0, floor(left * scale_x) - 1),
            min(shape[1], ceil(right * scale_x) + 1),
        )


def _apply(model: Alpha, planes: Sequence[Pixels], matte: Pixels, box: Box) -> None:
    """Write the model's alpha into a box of the matte.

    Args:
        model: offset and slopes `(h, w, 4)`.
        planes: Y, Cb and Cr, the latter of Y's size or of half of it.
        matte: `(H, W)` uint8.
        box: in pixels of Cb and Cr.
    """
    y, *chroma = planes
    factor = 1 if y.shape == chroma[0].shape else 2
    # One pixel more on each side, since the edge pixels are interpolated with their neighbours. Cb and Cr have half the
    # frame's size: their part of the sum needs no more. Offset and slopes cancel each other, so all of them are
    # enlarged in the same steps.
    top, left = max(0, box.top - 1), max(0, box.left - 1)
    around = slice(top, box.bottom + 1), slice(left, box.right + 1)
    chroma = [plane[around] for plane in chroma]
    total, y_slope, *slopes = cv2.split(_enlarged(model, planes[1].shape, top, left, chroma[0].shape))
    for slope, plane in zip(slopes, chroma, strict=True):
        cv2.multiply(slope, plane, slope, dtype=cv2.CV_32F)
        cv2.add(total, slope, total)
    inside = slice(factor * box.top, factor * box.bottom), slice(factor * box.left, factor * box.right)
    luma = y[inside]
    rows, columns = (
        slice(factor * before, factor * before + side)
        for before, side in zip((box.top - top, box.left - left), luma.shape, strict=True)
    )
    total, y_slope = (cv2.resize(part, None, fx=factor, fy=factor)[rows, columns] for part in (total, y_slope))
    cv2.multiply(y_slope, luma, y_slope, dtype=cv2.CV_32F)
    cv2.add(y_slope, total, matte[inside], dtype=cv2.CV_8U)


def _enlarged(model: Alpha, shape: tuple[int, ...], top: int, left: int, box_shape: tuple[int, ...]) -> Alpha:
    """Interpolate a part of `(h, w, C)` that is enlarged to a shape: what `cv2.resize` would give there."""
    scale_y, scale_x = model.shape[0] / shape[0], model.shape[1] / shape[1]
    origin = np.array([[scale_x, 0, (left + 0.5) * scale_x - 0.5], [0, scale_y, (top + 0.5) * scale_y - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(model, origin, box_shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return part.astype(np.float32, copy=False)
