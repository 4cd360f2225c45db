"""Foreground colour: remove the old background's colour from soft edges, in cut-outs and before a new background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.composite.guided_filter import Plane, box_mean, halved
from streamseg.composite.spans import Spans
from streamseg.errors import MissingExtraError
from streamseg.image import Pixels
from streamseg.yuv import YuvImage

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]

Levels = npt.NDArray[np.int16]
"""Levels of 255 that may lie below 0 or above 255 on the way to a result."""

WINDOW_SCALE = 1 / 10
"""Width of the window for local mean colours as a fraction of the long side."""

MIN_WINDOW_PX = 5

TRUSTED_WEIGHT = 0.05
"""Mean weight in a window from which on its local mean is used alone; below, the global mean is mixed in."""

SECOND_WINDOW_PX = 3
"""Width of the window of the second fusion, at the reduced size."""

LEAST_WEIGHT = 1e-3
"""Weight in the second fusion's means of pixels that have none, so that none is divided by 0."""

EPSILON = 1e-6

REDUCED_PX = 320
"""Greatest long side at which local colours, which are smooth, are found."""

SOFT_LEVELS = (10, 245)
"""Least and greatest alpha, in levels of 255, at which another foreground can be seen in a composite."""

Planes = list[Floats]
"""Channels of an image, `(h, w)` each."""

Values = TypeVar("Values", Floats, "Tensor")


def foreground_colour(rgb: Pixels, matte: Pixels) -> Pixels:
    """Estimate the foreground's own colour where the matte is soft or 0; opaque pixels stay unchanged.

    Source: Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021: blur fusion, equations 4 to 6, twice. Our
    own are the reduced size of its windows, weights towards pure pixels, and one global mean far from the foreground.

    Args:
        rgb: `(H, W, 3)` uint8.
        matte: `(H, W)` uint8.

    Returns:
        RGB `(H, W, 3)` uint8.
    """
    small_matte = _reduced(matte)
    front, back = (_levels(np.dstack(each)) for each in _local_colours(_sampled_rgb(rgb, small_matte), small_matte))
    own, change = _enlarged(front, matte.shape), _enlarged(front - back, matte.shape)
    filled = cv2.copyTo(_rounded(own.copy()), cv2.inRange(matte, 0, 0), rgb.copy()).astype(np.uint8, copy=False)
    for spans in Spans.soft(matte, (1, 254)).blocks():
        alpha = _in_three(spans.read(matte))
        hidden = spans.read(change)
        cv2.multiply(hidden, alpha, hidden, 1 / 255)
        hidden += spans.read(own)
        spans.write(filled, _rounded(_mixed(spans.read(rgb).astype(np.int16), hidden, alpha)))
    return filled


def multilevel_colour(rgb: Pixels, matte: Pixels) -> Pixels:
    """Do what `foreground_colour` does by solving for the colours at many sizes: finer on hair, and slow.

    Source: Germer et al., "Fast Multi-Level Foreground Estimation", ICPR 2020, as pymatting has it.

    Args:
        rgb: `(H, W, 3)` uint8.
        matte: `(H, W)` uint8.

    Returns:
        RGB `(H, W, 3)` uint8.

    Raises:
        MissingExtraError: pymatting is not installed.
    """
    try:
        from pymatting import estimate_foreground_ml
    except ImportError as error:
        raise MissingExtraError("foreground=ml", "pymatting", "quality") from error
    estimated = estimate_foreground_ml(rgb / 255, matte / 255, return_background=False)
    filled = _rounded(_levels(np.asarray(estimated, np.float32) * 255))
    return cv2.copyTo(rgb, cv2.inRange(matte, 255, 255), filled).astype(np.uint8, copy=False)


def fuse_rgb(composite: Pixels, rgb: Pixels, back: Pixels, matte: Pixels) -> None:
    """Put the foreground's own colours into a composite's soft edges, in which the old background shows through.

    The colours are those of `foreground_colour`, but for details of the matte that are smaller than the windows.

    Args:
        composite: the blend of the frame over the new background, `(H, W, 3)` uint8; written to.
        rgb: the frame.
        back: the new background.
        matte: weight of the frame, `(H, W)` uint8.
    """
    soft = Spans.soft(matte, SOFT_LEVELS)
    if not len(soft):
        return
    small_matte = _reduced(matte)
    hidden = _hidden_colours(_sampled_rgb(rgb, small_matte), small_matte)
    hidden_rgb = _enlarged(np.dstack(hidden), matte.shape)
    for spans in soft.blocks():
        _fuse(_Layer(composite, rgb, back), spans, spans.read(hidden_rgb), _in_three(spans.read(matte)))


def fuse_yuv(composite: YuvImage, image: YuvImage, back: YuvImage, matte: Pixels, chroma_matte: Pixels) -> None:
    """Do what `fuse_rgb` does in Y, Cb and Cr of one matrix, in which it is the same, since it is linear.

    Args:
        composite: the blend of the frame over the new background; written to.
        image: the frame.
        back: the new background.
        matte: weight of the frame, `(H, W)` uint8.
        chroma_matte: mean of its four pixels, the weight in Cb and Cr, `(H / 2, W / 2)` uint8.
    """
    soft = Spans.soft(chroma_matte, SOFT_LEVELS)
    if not len(soft):
        return
    small_matte = _reduced(chroma_matte)
    hidden = _hidden_colours([_sampled(plane, small_matte) for plane in image.planes], small_matte)
    hidden_y, *hidden_chroma = (_enlarged(plane, chroma_matte.shape) for plane in hidden)
    y, *chroma = (_Layer(*planes) for planes in zip(composite.planes, image.planes, back.planes, strict=True))
    for spans in soft.blocks():
        alpha = spans.read(chroma_matte).astype(np.int16)
        for layer, values in zip(chroma, hidden_chroma, strict=True):
            _fuse(layer, spans, spans.read(values), alpha)
        # Each pixel of Cb and Cr has four of Y.
        lines = spans.read(hidden_y)
        in_pairs = cv2.merge([lines, lines]).reshape(len(spans), -1)
        luma_spans = spans.doubled()
        _fuse(y, luma_spans, np.concatenate([in_pairs, in_pairs]), luma_spans.read(matte).astype(np.int16))


class _Layer(NamedTuple):
    """Images or planes of one size, `(H, W[, C])` uint8.

    Attributes:
        composite: what is written to.
        observed: what the frame shows.
        back: the new background.
    """

    composite: Pixels
    observed: Pixels
    back: Pixels


def _fuse(layer: _Layer, spans: Spans, hidden: Levels, alpha: Levels) -> None:
    """Write the composite of the foreground's own colours into spans of a layer; all in rows as `Spans.read`."""
    front = _mixed(spans.read(layer.observed).astype(np.int16), hidden, alpha)
    spans.write(layer.composite, _rounded(_mixed(front, spans.read(layer.back).astype(np.int16), alpha)))


def _mixed(front: Levels, back: Levels, alpha: Levels) -> Levels:
    """Lay colours over others with alpha in levels of 255; overwrites the first."""
    front -= back
    cv2.multiply(front, alpha, front, 1 / 255)
    front += back
    return front


def window_px(long_side_px: int) -> int:
    """Return the odd width of the window for local mean colours in an image of half the reduced size."""
    return max(MIN_WINDOW_PX, round(long_side_px * WINDOW_SCALE) // 2 * 2 + 1)


def purities(alpha: Values) -> tuple[Values, Values]:
    """Return weights of pixels in the means of the foreground and of the background: mixed ones say little of either.

    They are the third powers of alpha and of 1 - alpha, for arrays or tensors.
    """
    back = 1 - alpha
    return alpha * alpha * alpha, back * back * back  # a power takes twenty times as long


class LocalColours(NamedTuple):
    """Reduced channels of the colours around each pixel.

    Attributes:
        front: of the foreground.
        back: of the old background.
    """

    front: Planes
    back: Planes


def _hidden_colours(channels: Sequence[Pixels], matte: Pixels) -> list[Levels]:
    """Estimate the colours of what a foreground that is not opaque hides of itself, for a reduced image and its matte.

    The fused colour of a pixel with alpha a is front + a (colour - a front - (1 - a) back): a parts of the colour and
    1 - a parts of front + a (front - back), which is smooth.
    """
    alpha = matte * np.float32(1 / 255)
    pairs = zip(*_local_colours(channels, matte), strict=True)
    return [_levels(front + alpha * (front - back)) for front, back in pairs]


def _local_colours(channels: Sequence[Pixels], matte: Pixels) -> LocalColours:
    """Estimate colours of foreground and background around each pixel of a reduced image and its matte `(h, w)`."""
    colours, alpha = [channel.astype(np.float32) for channel in channels], matte * np.float32(1 / 255)
    small, shares = [halved(colour) for colour in colours], (alpha, 1 - alpha)
    first = [
        [_as_large_as(alpha, mean) for mean in _local_means(small, weights)] for weights in purities(halved(alpha))
    ]
    unexplained = [c - shares[0] * f - shares[1] * b for c, f, b in zip(colours, *first, strict=True)]
    return LocalColours(
        *(
            _near_means([mean + share * rest for mean, rest in zip(means, unexplained, strict=True)], weights)
            for means, share, weights in zip(first, shares, purities(alpha), strict=True)
        )
    )


def _local_means(colours: Planes, weights: Floats) -> Planes:
    """Return the weighted means `(h, w)` around each pixel, or the global means where the weights vanish."""
    side_px = window_px(max(weights.shape))
    total = box_mean(weights, side_px)
    scale, global_share = 1 / np.maximum(total, TRUSTED_WEIGHT), 1 - np.minimum(total / TRUSTED_WEIGHT, 1)
    sum_of_weights = max(weights.sum(), np.float32(EPSILON))
    means = []
    for plane in colours:
        weighted = plane * weights
        global_mean = np.float32(weighted.sum() / sum_of_weights)
        means.append(box_mean(weighted, side_px) * scale + global_share * global_mean)
    return means


def _near_means(colours: Planes, weights: Floats) -> Planes:
    """Return the weighted means `(h, w)` of fused colours in the second window."""
    weights = weights + np.float32(LEAST_WEIGHT)
    scale = np.float32(1) / box_mean(weights, SECOND_WINDOW_PX)
    return [box_mean(colour * weights, SECOND_WINDOW_PX) * scale for colour in colours]


def _sampled(image: Pixels, like: Pixels) -> Pixels:
    """Average pixels of an image `(H, W[, C])`, a quarter of them if it is large, to the size of a reduced one."""
    height, width = like.shape
    twice = cv2.resize(image, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR)
    return cv2.resize(twice, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _as_large_as(like: npt.NDArray[Any], values: Plane) -> Plane:
    """Interpolate to the size of another array."""
    return cv2.resize(values, like.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(values.dtype, copy=False)


def _enlarged(colours: Levels, shape: tuple[int, ...]) -> Levels:
    """Interpolate reduced colours to the size of an image."""
    return cv2.resize(colours, shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.int16, copy=False)


def _sampled_rgb(rgb: Pixels, like: Pixels) -> list[Pixels]:
    """Do so for red, green and blue `(H, W, 3)`."""
    return [channel.astype(np.uint8, copy=False) for channel in cv2.split(_sampled(rgb, like))]


def _in_three(alpha: Pixels) -> Levels:
    """Repeat each value of rows `(N, length)` for red, green and blue."""
    levels = alpha.astype(np.int16)
    return cv2.merge([levels] * 3).astype(np.int16, copy=False).reshape(len(alpha), -1)


def _reduced(matte: Pixels) -> Pixels:
    """Halve a matte `(H, W)`, averaged over areas, until its long side is at most `REDUCED_PX`."""
    # Other factors would cost OpenCV twenty times as much.
    while max(matte.shape) > REDUCED_PX:
        size = max(1, matte.shape[1] // 2), max(1, matte.shape[0] // 2)
        matte = cv2.resize(matte, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return matte


def _levels(values: Floats) -> Levels:
    """Round to levels of 255."""
    return np.rint(values).astype(np.int16)


def _rounded(levels: Levels) -> Pixels:
    """Limit levels to [0, 255]."""
    return cv2.convertScaleAbs(np.maximum(levels, 0, out=levels)).astype(np.uint8, copy=False)
