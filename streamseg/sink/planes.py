"""Conversion of images to the pixel format of an encoder or virtual camera."""

from __future__ import annotations

import av
import cv2
import numpy as np

from streamseg.image import Pixels
from streamseg.yuv import LAYOUT, YuvImage, to_layout


class ToPlanes:
    """Convert any image to one of FFmpeg's pixel formats; YUV is limited-range BT.709."""

    def __init__(self, layout: str) -> None:
        self._layout = layout

    def __call__(self, image: Pixels | YuvImage) -> av.VideoFrame:
        """Convert YUV, RGB `(H, W, 3)`, RGBA `(H, W, 4)` or grey `(H, W)` to a tagged frame, padded to even sides.

        A YUV image in BT.709 passes without conversion to `yuv420p`.
        """
        if not isinstance(image, np.ndarray):
            if self._layout == LAYOUT:
                return image.as_bt709().frame
            image = image.rgb
        padded = pad_to_even(image) if needs_even(self._layout) else np.ascontiguousarray(image)
        return to_layout(padded, self._layout)


def needs_even(layout: str) -> bool:
    """Whether chroma is subsampled 4:2:0, so that encoders refuse odd sides."""
    return "420" in layout


def even(side_px: int) -> int:
    """Round a side up to an even number of pixels."""
    return side_px + side_px % 2


def pad_to_even(pixels: Pixels) -> Pixels:
    """Repeat the last row or column of an image `(H, W)` or `(H, W, C)` where a side is odd."""
    below, right = (side % 2 for side in pixels.shape[:2])
    if not below and not right:
        return np.ascontiguousarray(pixels)
    return cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
