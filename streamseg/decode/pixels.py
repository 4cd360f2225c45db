"""Decoded frames to the pixels that the pipeline works on: upright, of one size, RGB or RGBA."""

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
from streamseg.yuv import LAYOUT, YuvImage, to_rgb

MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""Matrix coefficients as ISO/IEC 23091-2 numbers them (what frames are tagged with), to the scaler's names."""

GPU_LAYOUT = "nv12"
"""What a GPU's decoder gives: the same samples, those of both colours in one plane."""

SQUARE = Fraction(1)
HD_HEIGHT_PX = 720
"""Untagged video from this height on is BT.709, below it BT.601, as players assume."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of an upright picture in pixels, and the width of a pixel over its height."""

    width_px: int
    height_px: int
    pixel_aspect: Fraction

    def within(self, other: Shape) -> tuple[int, int]:
        """Width and height, in the other's pixels, at which a picture of this shape fills it with its proportions."""
        aspect = self.pixel_aspect / other.pixel_aspect
        scale = min(other.width_px / (self.width_px * aspect), Fraction(other.height_px, self.height_px))
        return max(1, round(self.width_px * aspect * scale)), max(1, round(self.height_px * scale))


class ToPixels:
    """Decoded frames to upright RGB `(H, W, 3)`, or RGBA `(H, W, 4)` if they carry alpha, all of the first one's shape.

    Attributes:
        shape: that of the first frame, and of all that come out.
    """

    shape: Shape

    def __init__(self, stacked: bool = False) -> None:
        """`stacked`: the lower half of each picture is the alpha of the upper half."""
        self._stacked = stacked
        self._is_first = True

    def __call__(self, frame: av.VideoFrame, pixel_aspect: Fraction = SQUARE) -> Pixels | YuvImage:
        """One frame, in its planes if they can stay; one of another shape than the first is set between bars.

        Args:
            frame: as it was decoded.
            pixel_aspect: width over height of a pixel, as it is stored.
        """
        if frame.format.name == GPU_LAYOUT:
            frame = frame.reformat(format=LAYOUT)
        orientation = Orientation.of(frame)
        if self._can_stay(frame, orientation, pixel_aspect):
            return YuvImage(frame, matrix_of(frame))
        pixels = to_rgb(frame, matrix_of(frame), "rgba" if has_alpha(frame) else "rgb24")
        if self._stacked:
            pixels = unstack(pixels)
        upright = orientation(pixels)
        shape = Shape(
            upright.shape[1], upright.shape[0], 1 / pixel_aspect if orientation.is_transposed else pixel_aspect
        )
        return upright if self._is_like_first(shape) else between_bars(upright, shape, self.shape)

    def _can_stay(self, frame: av.VideoFrame, orientation: Orientation, pixel_aspect: Fraction) -> bool:
        if frame.format.name != LAYOUT or self._stacked or frame.width % 2 or frame.height % 2:
            return False
        if orientation != Orientation() or int(frame.color_range) == int(ColorRange.JPEG):
            return False
        return self._is_like_first(Shape(frame.width, frame.height, pixel_aspect))

    def _is_like_first(self, shape: Shape) -> bool:
        if self._is_first:
            self.shape, self._is_first = shape, False
        return shape == self.shape


def between_bars(pixels: Pixels, shape: Shape, wanted: Shape) -> Pixels:
    """A picture of one shape in the middle of another, with its proportions; the bars are black, or transparent."""
    width, height = shape.within(wanted)
    method = cv2.INTER_AREA if height < shape.height_px else cv2.INTER_LINEAR
    framed = np.zeros((wanted.height_px, wanted.width_px, pixels.shape[2]), np.uint8)
    left, top = (wanted.width_px - width) // 2, (wanted.height_px - height) // 2
    framed[top : top + height, left : left + width] = cv2.resize(pixels, (width, height), interpolation=method)
    return framed


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether the pixel format has an alpha component."""
    return any(component.is_alpha for component in frame.format.components)


def matrix_of(frame: av.VideoFrame) -> Colorspace:
    """The matrix that the frame is tagged with, or the one that players assume."""
    guess = Colorspace.ITU709 if frame.height >= HD_HEIGHT_PX else Colorspace.ITU601
    return MATRICES.get(int(frame.colorspace), guess)
