"""Conversion of decoded frames to upright RGB, RGBA or YUV images of one size."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from streamseg.decode.orientation import Orientation
from streamseg.image import Pixels
from streamseg.media.stacked import unstack
from streamseg.yuv import LAYOUT, AnyImage, RgbImage, YuvImage, to_rgb

MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""Matrix coefficients as frames are tagged (ISO/IEC 23091-2) -> names of FFmpeg's scaler."""

GPU_LAYOUT = "nv12"
"""Pixel format of NVDEC: 4:2:0 with Cb and Cr interleaved in one plane."""

SQUARE = Fraction(1)
HD_HEIGHT_PX = 720
"""Untagged video from this height on is BT.709, below it BT.601, as players assume."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of an upright image.

    Attributes:
        width_px: stored width.
        height_px: stored height.
        pixel_aspect: width of a pixel over its height.
    """

    width_px: int
    height_px: int
    pixel_aspect: Fraction

    def within(self, other: Shape) -> tuple[int, int]:
        """Return width and height, in pixels of `other`, at which an image of this shape fits it undistorted."""
        aspect = self.pixel_aspect / other.pixel_aspect
        scale = min(other.width_px / (self.width_px * aspect), Fraction(other.height_px, self.height_px))
        return max(1, round(self.width_px * aspect * scale)), max(1, round(self.height_px * scale))


class ToPixels:
    """Convert decoded frames to upright YUV, RGB `(H, W, 3)` or RGBA `(H, W, 4)`, all of the first frame's shape.

    Attributes:
        shape: the shape of the first frame, and of all images returned.
    """

    shape: Shape

    def __init__(self, stacked: bool = False) -> None:
        """Begin a stream; `stacked` says that the lower half of each frame is the alpha of the upper half."""
        self._stacked = stacked
        self._is_first = True

    def __call__(self, frame: av.VideoFrame, pixel_aspect: Fraction = SQUARE) -> AnyImage:
        """Convert a frame; it stays in YUV planes where it can, and gets bars where its shape is not the first frame's.

        Args:
            frame: the frame as decoded.
            pixel_aspect: width of a stored pixel over its height.
        """
        if frame.format.name == GPU_LAYOUT:
            frame = frame.reformat(format=LAYOUT)
        orientation = Orientation.of(frame)
        if self._can_stay_yuv(frame, orientation, pixel_aspect):
            return YuvImage(frame, matrix_of(frame))
        pixels = to_rgb(frame, matrix_of(frame), "rgba" if has_alpha(frame) else "rgb24")
        if self._stacked:
            pixels = unstack(pixels)
        upright = orientation(pixels)
        shape = Shape(
            upright.shape[1], upright.shape[0], 1 / pixel_aspect if orientation.is_transposed else pixel_aspect
        )
        return RgbImage(upright if self._is_like_first(shape) else pad_to_shape(upright, shape, self.shape))

    def _can_stay_yuv(self, frame: av.VideoFrame, orientation: Orientation, pixel_aspect: Fraction) -> bool:
        """Whether a frame needs no conversion: upright limited-range 4:2:0 of the first frame's shape."""
        if frame.format.name != LAYOUT or self._stacked or frame.width % 2 or frame.height % 2:
            return False
        if orientation != Orientation() or int(frame.color_range) == int(ColorRange.JPEG):
            return False
        return self._is_like_first(Shape(frame.width, frame.height, pixel_aspect))

    def _is_like_first(self, shape: Shape) -> bool:
        if self._is_first:
            self.shape, self._is_first = shape, False
        return shape == self.shape


def pad_to_shape(pixels: Pixels, shape: Shape, wanted: Shape) -> Pixels:
    """Centre an image `(H, W, C)` of `shape` undistorted in one of `wanted`, with black or transparent bars."""
    width, height = shape.within(wanted)
    method = cv2.INTER_AREA if height < shape.height_px else cv2.INTER_LINEAR
    padded = np.zeros((wanted.height_px, wanted.width_px, pixels.shape[2]), np.uint8)
    left, top = (wanted.width_px - width) // 2, (wanted.height_px - height) // 2
    padded[top : top + height, left : left + width] = cv2.resize(pixels, (width, height), interpolation=method)
    return padded


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether the pixel format has an alpha component."""
    return any(component.is_alpha for component in frame.format.components)


def matrix_of(frame: av.VideoFrame) -> Colorspace:
    """Return the YUV matrix that the frame is tagged with, or the one that players assume."""
    guess = Colorspace.ITU709 if frame.height >= HD_HEIGHT_PX else Colorspace.ITU601
    return MATRICES.get(int(frame.colorspace), guess)
