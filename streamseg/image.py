"""Arrays of pixels, and views of FFmpeg's planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av.video.plane import VideoPlane

Pixels = npt.NDArray[np.uint8]
"""`(H, W, 3)` RGB; a cut-out or a source with alpha is `(H, W, 4)`, RGB with straight alpha; a matte is `(H, W)`, 255 =
foreground."""


def colours(pixels: Pixels) -> Pixels:
    """RGB `(H, W, 3)` of a source's pixels with or without alpha; the same array where there is none."""
    return pixels if pixels.shape[2] == 3 else np.ascontiguousarray(pixels[..., :3])


def samples(plane: VideoPlane) -> Pixels:
    """A view `(H, W)` of a decoder's or encoder's plane of 8 bits, without the padding of its lines."""
    rows: Pixels = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return rows[: plane.height, : plane.width]


def float_samples(plane: VideoPlane) -> npt.NDArray[np.float32]:
    """The same of a plane of 32-bit floats."""
    rows = np.frombuffer(plane, np.float32)  # type: ignore[call-overload]
    floats: npt.NDArray[np.float32] = rows.reshape(-1, plane.line_size // rows.itemsize)
    return floats[: plane.height, : plane.width]
