"""Pixels to the planes that encoders and cameras take."""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamseg.frames import Pixels
from streamseg.planes import LAYOUT, Planes

LAYOUTS = {2: "gray", 3: "rgb24", 4: "rgba"}
"""Channels of `Pixels` (2 stands for the two dimensions of a matte) -> FFmpeg's name."""


class ToPlanes:
    """RGB, RGBA or grey pixels to a layout of FFmpeg's, through one scaler context; YUV is limited-range BT.709."""

    def __init__(self, layout: str) -> None:
        self._layout, self._is_yuv = layout, layout.startswith("yuv")
        self._reformatter = VideoReformatter()

    def __call__(self, picture: Pixels | Planes) -> av.VideoFrame:
        """RGB `(H, W, 3)`, RGBA `(H, W, 4)` or grey `(H, W)`, padded where the layout needs it -> a tagged frame.

        A picture in planes passes as it is where it can.
        """
        if isinstance(picture, np.ndarray):
            return self._converted(picture)
        return picture.as_bt709().frame if self._layout == LAYOUT else self._converted(picture.rgb)

    def _converted(self, pixels: Pixels) -> av.VideoFrame:
        padded = pad_to_even(pixels) if needs_even(self._layout) else np.ascontiguousarray(pixels)
        colour_range = ColorRange.MPEG if self._is_yuv else ColorRange.JPEG
        picture = self._reformatter.reformat(
            av.VideoFrame.from_ndarray(padded, format=LAYOUTS[padded.shape[2] if padded.ndim == 3 else 2]),
            format=self._layout,
            src_color_range=ColorRange.JPEG,
            dst_colorspace=Colorspace.ITU709 if self._is_yuv else None,
            dst_color_range=colour_range,
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP,
        )
        picture.color_range = int(colour_range)
        if self._is_yuv:
            picture.colorspace = int(Colorspace.ITU709)
        return picture


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
