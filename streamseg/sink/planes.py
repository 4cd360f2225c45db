"""Pixels to the planes that encoders and cameras take."""

from __future__ import annotations

import av
import cv2
import numpy as np

from streamseg.image import Pixels
from streamseg.yuv import LAYOUT, YuvImage, to_layout


class ToPlanes:
    """Any kind of picture to a layout of FFmpeg's; YUV is limited-range BT.709."""

    def __init__(self, layout: str) -> None:
        self._layout = layout

    def __call__(self, picture: Pixels | YuvImage) -> av.VideoFrame:
        """RGB `(H, W, 3)`, RGBA `(H, W, 4)` or grey `(H, W)`, padded where the layout needs it -> a tagged frame.

        A picture in planes passes as it is where it can.
        """
        if not isinstance(picture, np.ndarray):
            if self._layout == LAYOUT:
                return picture.as_bt709().frame
            picture = picture.rgb
        padded = pad_to_even(picture) if needs_even(self._layout) else np.ascontiguousarray(picture)
        return to_layout(padded, self._layout)


def needs_even(layout: str) -> bool:
    """Whether one sample of colour stands for two pixels each way, so that encoders refuse odd sides."""
    return "420" in layout


def even(side_px: int) -> int:
    """The side rounded up to an even number."""
    return side_px + side_px % 2


def pad_to_even(pixels: Pixels) -> Pixels:
    """Repeats the last row and column where a side is odd."""
    below, right = (side % 2 for side in pixels.shape[:2])
    if not below and not right:
        return np.ascontiguousarray(pixels)
    return cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
