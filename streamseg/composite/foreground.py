"""Foreground colour: remove the old background's colour from soft edges, in cut-outs and before a new background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.errors import MissingExtraError
from streamseg.image import Pixels
from streamseg.workspace import workspace
from streamseg.yuv import YuvImage

Floats = npt.NDArray[np.float32]

WINDOW_SCALE = 1 / 10
"""Width of the window for local mean colours as a fraction of the long side."""

MIN_WINDOW_PX = 5

TRUSTED_WEIGHT = 0.05
"""Mean weight in a window from which on its local mean is used alone; below, the global mean is mixed in."""

SECOND_WINDOW_PX = 3
"""Width of the window of the second fusion, at the reduced size."""

LEAST_WEIGHT = 1e-2
"""Weight in the second fusion's means of pixels that have none, so that none is divided by 0."""

EPSILON = 1e-6

REDUCED_PX = 320
"""Greatest long side at which local mean colours, which are smooth, are found."""

SOFT_LEVELS = (10, 245)
"""Least and greatest alpha, in levels of 255, at which another foreground can be seen in a composite."""

POINTS_PER_BLOCK = 16_384
"""Pixels whose colours are fused at a time: they stay in a core's cache, and OpenCV's remap takes no more than 32,767
in a row."""

Indices = npt.NDArray[np.int32]

Planes = list[Floats]
"""Channels of an image, `(h, w)` each."""


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
    local = _local_colours(_channels(_reduced(rgb)), _reduced(matte))
    everywhere = cv2.resize(_rounded(np.dstack(local.front)), matte.shape[::-1], interpolation=cv2.INTER_LINEAR)
    filled = cv2.copyTo(everywhere, cv2.inRange(matte, 0, 0), rgb.copy()).astype(np.uint8, copy=False)
    for points in _soft_points(matte, (1, 254)):
        alpha = points.values(matte) * np.float32(1 / 255)
        for channel, front, back in zip(_channels(filled), *local, strict=True):
            fused = _fused(points.values(channel), alpha, points.sampled(front), points.sampled(back))
            points.write(channel, fused)
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
    filled = _rounded(np.asarray(estimated, np.float32) * 255)
    return cv2.copyTo(rgb, cv2.inRange(matte, 255, 255), filled).astype(np.uint8, copy=False)


def fuse_rgb(composite: Pixels, rgb: Pixels, back: Pixels, matte: Pixels) -> None:
    """Put the foreground's own colours into a composite's soft edges, in which the old background shows through.

    The colours are those of `foreground_colour`.

    Args:
        composite: the blend of the frame over the new background, `(H, W, 3)` uint8; written to.
        rgb: the frame.
        back: the new background.
        matte: weight of the frame, `(H, W)` uint8.
    """
    if _is_soft(matte):
        local = _local_colours(_channels(_reduced(rgb)), _reduced(matte))
        channels = zip(_channels(composite), _channels(rgb), _channels(back), strict=True)
        _fuse([[_Layer(*each, matte)] for each in channels], matte, local)


def fuse_yuv(composite: YuvImage, image: YuvImage, back: YuvImage, matte: Pixels, chroma_matte: Pixels) -> None:
    """Do what `fuse_rgb` does in Y, Cb and Cr of one matrix, in which it is the same, since it is linear.

    Args:
        composite: the blend of the frame over the new background; written to.
        image: the frame.
        back: the new background.
        matte: weight of the frame, `(H, W)` uint8.
        chroma_matte: mean of its four pixels, the weight in Cb and Cr, `(H / 2, W / 2)` uint8.
    """
    if not _is_soft(chroma_matte):
        return
    small = [_reduced(plane) for plane in (_halved(image.y), image.cb, image.cr)]
    local = _local_colours(small, _reduced(chroma_matte))
    # Four layers of Y, each with every other pixel of every other line, lie on the grid of Cb and Cr.
    quarters = [(slice(top, None, 2), slice(left, None, 2)) for top in (0, 1) for left in (0, 1)]
    luma = [_Layer(composite.y[at], image.y[at], back.y[at], matte[at]) for at in quarters]
    cb = _Layer(composite.cb, image.cb, back.cb, chroma_matte)
    cr = _Layer(composite.cr, image.cr, back.cr, chroma_matte)
    _fuse([luma, [cb], [cr]], chroma_matte, local)


class LocalColours(NamedTuple):
    """Reduced channels of the colours around each pixel.

    Attributes:
        front: of the foreground.
        back: of the old background.
    """

    front: Planes
    back: Planes


def window_px(long_side_px: int) -> int:
    """Return the odd width of the window for local mean colours in a reduced image."""
    return max(MIN_WINDOW_PX, round(long_side_px * WINDOW_SCALE) // 2 * 2 + 1)


def _local_colours(channels: Sequence[Pixels], matte: Pixels) -> LocalColours:
    """Estimate colours of foreground and background around each pixel of a reduced image and its matte `(h, w)`."""
    colours, alpha = [channel.astype(np.float32) for channel in channels], matte * np.float32(1 / 255)
    shares = alpha, 1 - alpha
    weights = [share * share * share for share in shares]  # a power takes twenty times as long
    first = [_local_means(colours, weight) for weight in weights]
    unexplained = [c - shares[0] * f - shares[1] * b for c, f, b in zip(colours, *first, strict=True)]
    return LocalColours(
        *(
            _near_means(means, [share * rest for rest in unexplained], weight)
            for means, share, weight in zip(first, shares, weights, strict=True)
        )
    )


def _local_means(colours: Planes, weights: Floats) -> Planes:
    """Return the weighted means `(h, w)` around each pixel, or the global means where the weights vanish."""
    side_px = window_px(max(weights.shape))
    total = _box_mean(weights, side_px)
    scale, global_share = 1 / np.maximum(total, TRUSTED_WEIGHT), 1 - np.minimum(total / TRUSTED_WEIGHT, 1)
    sum_of_weights = max(weights.sum(), np.float32(EPSILON))
    means = []
    for plane in colours:
        weighted = plane * weights
        global_mean = np.float32(weighted.sum() / sum_of_weights)
        means.append(_box_mean(weighted, side_px) * scale + global_share * global_mean)
    return means


def _near_means(means: Planes, residuals: Planes, weights: Floats) -> Planes:
    """Return the weighted means `(h, w)` of the fused colours, means plus residuals, in the second window."""
    weights = weights + np.float32(LEAST_WEIGHT)
    scale = np.float32(1) / _box_mean(weights, SECOND_WINDOW_PX)
    fused = (np.clip(mean + residual, 0, 255) for mean, residual in zip(means, residuals, strict=True))
    return [_box_mean(colours * weights, SECOND_WINDOW_PX) * scale for colours in fused]


def _box_mean(values: Floats, side_px: int) -> Floats:
    """Return the mean `(h, w)` over a square window; the edge is repeated outwards."""
    return cv2.blur(values, (side_px, side_px), borderType=cv2.BORDER_REPLICATE).astype(np.float32, copy=False)


class _Layer(NamedTuple):
    """Planes `(H, W)` of one colour channel.

    Attributes:
        composite: what is written to.
        observed: what the frame shows.
        back: the new background.
        matte: weight of the frame.
    """

    composite: Pixels
    observed: Pixels
    back: Pixels
    matte: Pixels


def _fuse(channels: Sequence[Sequence[_Layer]], matte: Pixels, local: LocalColours) -> None:
    """Write composites of the foreground's own colours where a matte is soft.

    Args:
        channels: the layers of each colour channel, all of the matte's size.
        matte: says where, `(H, W)` uint8.
        local: reduced colours around each pixel, of each channel.
    """
    for points in _soft_points(matte, SOFT_LEVELS):
        for layers, *colours in zip(channels, *local, strict=True):
            own, other = map(points.sampled, colours)
            for layer in layers:
                alpha = points.values(layer.matte) * np.float32(1 / 255)
                behind = points.values(layer.back).astype(np.float32)
                fused = _fused(points.values(layer.observed), alpha, own, other)
                points.write(layer.composite, behind + alpha * (fused - behind))


def _fused(observed: Pixels, alpha: Floats, own: Floats, other: Floats) -> Floats:
    """Return the foreground's colours `(N,)`: the local ones, `own`, plus the weighted compositing residual."""
    fused = own + alpha * (observed - other - alpha * (own - other))
    return np.clip(fused, 0, 255).astype(np.float32, copy=False)


class _Points:
    """Some pixels of an image."""

    def __init__(self, places: Indices, shape: tuple[int, ...]) -> None:
        """Take row-major indices of the pixels and the image's shape."""
        self._shape = shape
        self._places: dict[tuple[int, ...], Indices] = {}
        self._rows = places // shape[1]
        self._columns = places - self._rows * shape[1]
        self._centres = [places.astype(np.float32) + np.float32(0.5) for places in (self._rows, self._columns)]

    def values(self, channel: Pixels) -> Pixels:
        """Return the pixels' values in a channel `(H, W)`."""
        memory, places = self._in_bytes(channel)
        return memory[places]

    def write(self, channel: Pixels, values: Floats) -> None:
        """Round values `(N,)` and write them to a channel."""
        memory, places = self._in_bytes(channel)
        memory[places] = _rounded(values)

    def sampled(self, colours: Floats) -> Floats:
        """Interpolate reduced colours `(h, w)` at the pixels' centres -> `(N,)`."""
        y, x = (
            centres * np.float32(small / full) - np.float32(0.5)
            for centres, small, full in zip(self._centres, colours.shape, self._shape, strict=True)
        )
        found = cv2.remap(colours, x[None], y[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found.astype(np.float32, copy=False).reshape(-1)

    def _in_bytes(self, channel: Pixels) -> tuple[Pixels, Indices]:
        """Return the memory of a channel and the pixels' places in it: one index into whole memory is the fastest."""
        (height, width), (line_bytes, pixel_bytes) = channel.shape, channel.strides
        length = (height - 1) * line_bytes + (width - 1) * pixel_bytes + 1
        memory = np.lib.stride_tricks.as_strided(channel, (length,), (1,))
        if channel.strides not in self._places:
            self._places[channel.strides] = self._rows * line_bytes + self._columns * pixel_bytes
        return memory, self._places[channel.strides]


def _soft_points(matte: Pixels, levels: tuple[int, int]) -> Iterator[_Points]:
    """Yield the pixels whose alpha is in `levels`, a block at a time."""
    # Ones as booleans: NumPy finds those ten times as fast as bytes.
    mask = cv2.inRange(matte, *levels, workspace("soft", matte.shape, np.uint8))
    is_soft = cv2.threshold(mask, 0, 1, cv2.THRESH_BINARY, mask)[1].view(np.bool_)
    places = np.flatnonzero(is_soft).astype(np.int32)
    for start in range(0, len(places), POINTS_PER_BLOCK):
        yield _Points(places[start : start + POINTS_PER_BLOCK], matte.shape)


def _channels(rgb: Pixels) -> list[Pixels]:
    """Return views `(H, W)` of red, green and blue; of a copy if the array is not contiguous."""
    rgb = np.ascontiguousarray(rgb)
    return [rgb[..., channel] for channel in range(3)]


def _reduced(pixels: Pixels) -> Pixels:
    """Halve an image `(H, W[, C])` until its long side is at most `REDUCED_PX`."""
    # Other factors would cost OpenCV twenty times as much.
    while max(pixels.shape[:2]) > REDUCED_PX:
        pixels = _halved(pixels)
    return pixels


def _halved(pixels: Pixels) -> Pixels:
    """Average areas of an image to half the sides, rounded down."""
    size = max(1, pixels.shape[1] // 2), max(1, pixels.shape[0] // 2)
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _is_soft(matte: Pixels) -> bool:
    """Whether any pixel's alpha is in `SOFT_LEVELS`."""
    return cv2.hasNonZero(cv2.inRange(matte, *SOFT_LEVELS, workspace("soft", matte.shape, np.uint8)))


def _rounded(values: Floats) -> Pixels:
    """Return levels of 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
