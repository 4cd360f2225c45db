"""Pixel arrays in RGB, RGBA and grey, and array views of FFmpeg's planes."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av.video.plane import VideoPlane

Pixels = npt.NDArray[np.uint8]
"""uint8: RGB `(H, W, 3)`, RGBA `(H, W, 4)` with straight alpha, or a matte `(H, W)` with 255 = foreground."""


LEAST_AVERAGED = 4
"""Pixels along each side that `reduced` averages to one in its last step, at least."""


def even(side_px: int) -> int:
    """Round a side up to an even number of pixels."""
    return side_px + side_px % 2


def pad_to_even(pixels: Pixels) -> Pixels:
    """Repeat the last row or column of an image `(H, W)` or `(H, W, C)` where a side is odd."""
    below, right = (side % 2 for side in pixels.shape[:2])
    if not below and not right:
        return np.ascontiguousarray(pixels)
    return cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)


def reduced(pixels: Pixels, width: int, height: int) -> Pixels:
    """Average areas of an image `(H, W)` or `(H, W, C)` to a much smaller size.

    OpenCV halves the sides many times faster than it averages areas of another size. Each time rounds to whole levels,
    which the last averaging evens out if it has enough to average.
    """
    while (
        all(side % 2 == 0 for side in pixels.shape[:2])
        and pixels.shape[0] >= 2 * LEAST_AVERAGED * height
        and pixels.shape[1] >= 2 * LEAST_AVERAGED * width
    ):
        half = pixels.shape[1] // 2, pixels.shape[0] // 2
        pixels = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def to_square_pixels(pixels: Pixels, pixel_aspect: Fraction) -> Pixels:
    """Resize an image `(H, W)` or `(H, W, C)` to square pixels, at its height.

    Args:
        pixels: the image.
        pixel_aspect: width of its pixels over their height.
    """
    if pixel_aspect == 1:
        return pixels
    size_px = max(1, round(pixels.shape[1] * pixel_aspect)), pixels.shape[0]
    method = cv2.INTER_AREA if pixel_aspect < 1 else cv2.INTER_LINEAR
    return cv2.resize(pixels, size_px, interpolation=method).astype(np.uint8, copy=False)


def samples(plane: VideoPlane) -> Pixels:
    """Return a view `(H, W)` of an 8-bit plane of an FFmpeg frame, without the padding of its lines."""
    rows: Pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def float_samples(plane: VideoPlane) -> npt.NDArray[np.float32]:
    """Return a view `(H, W)` of a 32-bit float plane of an FFmpeg frame, without the padding of its lines."""
    rows = np.frombuffer(plane, np.float32)  # type: ignore[call-overload]
    floats: npt.NDArray[np.float32] = rows.reshape(-1, plane.line_size // rows.itemsize)
    return floats[: plane.height, : plane.width]
