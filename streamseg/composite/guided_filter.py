"""Guided filter: upsample the network's alpha to the frame's size, with edges along those of the frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels
from streamseg.workspace import workspace
from streamseg.yuv import AnyImage

if TYPE_CHECKING:
    from torch import Tensor

Alpha = npt.NDArray[np.float32]

SHARPENING = 3.0
"""Weight of unsharp masking, which undoes the softness of a network's edges."""
SHARPENING_WINDOW_PX = 9
"""Width of its window at the matte's size."""
LEAST_CHANGE = 0.03
"""Distance of alpha from the window's mean that is no edge yet, so that even regions stay as they are."""

GUIDE_WINDOW_PX = 9
"""Width of the window that alpha is fitted over the frame's colours in, at the matte's size."""
GUIDE_EPSILON = 1e-4
"""Variance of the guide, in [0, 1] squared, below which it counts as flat: 2.5 levels of 255."""
GUIDE_GAIN = 1.3
"""Factor of the fitted slopes, since a fit to soft edges is softer than the frame's."""

SURE = 5e-4
"""Distance of alpha from 0 or 1 up to which it is sure, and is left alone."""

UNEXPLAINED = 1e-2
"""Variance of alpha, in [0, 1] squared, that the colours are never taken to explain."""

SLOPE_WINDOW_PX = 3
"""Width of the window that the slopes are averaged over."""

Values = TypeVar("Values", Alpha, "Tensor")


def refine(image: AnyImage, alpha: Alpha, out: Pixels | None = None) -> Pixels:
    """Upsample alpha to the frame's size with a guided filter.

    A local linear model of alpha over Y, Cb and Cr is fitted at the matte's size and applied at the frame's. It holds
    as far as the colours explain alpha, and only where that is unsure: 0 and 1 stay what they are, and so does alpha
    that is even in the window around.

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
    height, width = alpha.shape
    contrast = np.float32(image.white - image.black)
    guides = [plane.astype(np.float32) / contrast for plane in image.reduced_planes(width, height)]
    model = linear_model(guides, alpha)
    y, *chroma = image.planes
    if height > len(chroma[0]) or width > chroma[0].shape[1]:
        chroma = [cv2.resize(plane, y.shape[::-1]).astype(np.uint8, copy=False) for plane in chroma]
    # Cb and Cr have half the frame's size: their part of the sum needs no more. Offset and slopes cancel each other, so
    # all of them are enlarged in the same steps.
    half = chroma[0].shape
    total, y_slope, *slopes = (
        _enlarged(f"model {index}", values * np.float32(255 if index == 0 else 255 / contrast), half)
        for index, values in enumerate(model)
    )
    for slope, plane in zip(slopes, chroma, strict=True):
        cv2.multiply(slope, plane, slope, dtype=cv2.CV_32F)
        cv2.add(total, slope, total)
    total, y_slope = _enlarged("whole offset", total, y.shape), _enlarged("whole slope", y_slope, y.shape)
    cv2.multiply(y_slope, y, y_slope, dtype=cv2.CV_32F)
    return cv2.add(y_slope, total, out, dtype=cv2.CV_8U).astype(np.uint8, copy=False)


def linear_model(guides: Sequence[Alpha], alpha: Alpha) -> list[Alpha]:
    """Fit alpha as offset + slopes * guides in the window around each pixel.

    Args:
        guides: Y, Cb and Cr, `(h, w)` each, in units of the luma range.
        alpha: `(h, w)` in [0, 1].

    Returns:
        The offset `(h, w)` and the slope of each guide `(h, w)`; slopes are 0 where alpha is 0 or 1.
    """
    change = alpha - box(alpha, SHARPENING_WINDOW_PX)
    edges = change - np.clip(change, -LEAST_CHANGE, LEAST_CHANGE)
    sharp = np.clip(alpha + np.float32(SHARPENING) * edges, 0, 1).astype(np.float32, copy=False)
    mean, means = _mean(sharp), [_mean(guide) for guide in guides]
    covariances = [_mean(guide * sharp) - each * mean for guide, each in zip(guides, means, strict=True)]
    matrix = [
        _mean(guides[i] * guides[j]) - means[i] * means[j] + np.float32(GUIDE_EPSILON * (i == j))
        for i, j in UPPER_TRIANGLE
    ]
    slopes = solved(matrix, covariances)
    explained = sum_of_products(slopes, covariances) / (_mean(sharp * sharp) - mean * mean + np.float32(UNEXPLAINED))
    weight = np.clip(explained, 0, 1) ** 2 * ((alpha > SURE) & (alpha < 1 - SURE))
    slopes = [slope * np.float32(GUIDE_GAIN) for slope in slopes]
    offset = box(mean - sum_of_products(slopes, means), SLOPE_WINDOW_PX)
    return [sharp + weight * (offset - sharp), *(weight * box(slope, SLOPE_WINDOW_PX) for slope in slopes)]


UPPER_TRIANGLE = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Rows and columns of a symmetric 3x3 matrix's entries, as `solved` takes them."""


def solved(matrix: Sequence[Values], vector: Sequence[Values]) -> list[Values]:
    """Solve a symmetric 3x3 system in each pixel by Cramer's rule, for arrays or tensors.

    Args:
        matrix: the entries of `UPPER_TRIANGLE`.
        vector: the right-hand side, three entries.
    """
    a, b, c, d, e, f = matrix
    u, v, w = vector
    # Entries of the adjugate, which is symmetric as well.
    aa, ab, ac = d * f - e * e, c * e - b * f, b * e - c * d
    bb, bc, cc = a * f - c * c, b * c - a * e, a * d - b * b
    determinant = a * aa + b * ab + c * ac
    rows = (aa, ab, ac), (ab, bb, bc), (ac, bc, cc)
    return [sum_of_products(row, (u, v, w)) / determinant for row in rows]


def sum_of_products(first: Sequence[Values], second: Sequence[Values]) -> Values:
    """Add the products of three pairs of arrays or tensors."""
    total: Values = first[0] * second[0] + first[1] * second[1] + first[2] * second[2]
    return total


def box(values: Alpha, side_px: int) -> Alpha:
    """Return the mean over a square window; the edge is repeated outwards."""
    return cv2.blur(values, (side_px, side_px), borderType=cv2.BORDER_REPLICATE).astype(np.float32, copy=False)


def _mean(values: Alpha) -> Alpha:
    return box(values, GUIDE_WINDOW_PX)


def _enlarged(purpose: str, values: Alpha, shape: tuple[int, ...]) -> Alpha:
    """Interpolate `(h, w)` to another size, in the workspace of a purpose."""
    out = workspace(purpose, shape, np.float32)
    return cv2.resize(values, shape[::-1], out, interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
