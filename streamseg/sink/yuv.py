"""RGB to the 4:2:0 planes that encoders and cameras take."""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamseg.frames import Pixels


class ToYuv420:
    """RGB or grey pixels to limited-range BT.709 4:2:0, through one scaler context."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, pixels: Pixels) -> av.VideoFrame:
        """RGB `(H, W, 3)` or grey `(H, W)` with even sides -> a tagged frame."""
        layout = "gray" if pixels.ndim == 2 else "rgb24"
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(pixels, format=layout),
            format="yuv420p",
            src_color_range=ColorRange.JPEG,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        )
        picture.colorspace, picture.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
        return picture


def even(side_px: int) -> int:
    """The side rounded up to an even number: 4:2:0 has one colour for two pixels."""
    return side_px + side_px % 2


def pad_to_even(pixels: Pixels) -> Pixels:
    """Repeats the last row and column where a side is odd."""
    below, right = (side % 2 for side in pixels.shape[:2])
    if not below and not right:
        return np.ascontiguousarray(pixels)
    return cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
