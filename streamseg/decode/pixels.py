"""Decoded frames to the pixels that the line works on: upright, of one size, RGB or RGBA."""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from streamseg.frames import Pixels
from streamseg.planes import LAYOUT, Planes, to_rgb
from streamseg.stacked import unstack

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

HD_HEIGHT_PX = 720
"""Untagged video from this height on is BT.709, below it BT.601, as players assume."""


class ToPixels:
    """Decoded frames to upright RGB `(H, W, 3)`, or RGBA `(H, W, 4)` if they carry alpha, all of the first one's size.

    Attributes:
        lies_on_its_side: the last frame was stored a quarter turn away from how it is seen.
    """

    def __init__(self, stacked: bool = False) -> None:
        """`stacked`: the lower half of each picture is the alpha of the upper half."""
        self._stacked = stacked
        self._size_px: tuple[int, int] | None = None
        self.lies_on_its_side = False

    def __call__(self, frame: av.VideoFrame) -> Pixels | Planes:
        """One frame, in its planes if they can stay; those of another size than the first are scaled to it."""
        if frame.format.name == GPU_LAYOUT:
            frame = frame.reformat(format=LAYOUT)
        if self._can_stay(frame):
            return Planes(frame, matrix_of(frame))
        pixels = to_rgb(frame, matrix_of(frame), "rgba" if has_alpha(frame) else "rgb24")
        if self._stacked:
            pixels = unstack(pixels)
        # Rotation is counter-clockwise in degrees, as numpy's quarter turns are.
        quarters = round(frame.rotation / 90) % 4
        self.lies_on_its_side = quarters % 2 == 1
        turned = np.rot90(pixels, quarters) if quarters else pixels
        return self._at_first_size(np.ascontiguousarray(turned))

    def _can_stay(self, frame: av.VideoFrame) -> bool:
        size_px = frame.width, frame.height
        if frame.format.name != LAYOUT or self._stacked or any(side % 2 for side in size_px):
            return False
        if frame.rotation or int(frame.color_range) == int(ColorRange.JPEG):
            return False
        self._size_px = self._size_px or size_px
        return size_px == self._size_px

    def _at_first_size(self, pixels: Pixels) -> Pixels:
        size_px = pixels.shape[1], pixels.shape[0]
        self._size_px = self._size_px or size_px
        if size_px == self._size_px:
            return pixels
        return cv2.resize(pixels, self._size_px, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def has_alpha(frame: av.VideoFrame) -> bool:
    """Whether the pixel format has an alpha component."""
    return any(component.is_alpha for component in frame.format.components)


def matrix_of(frame: av.VideoFrame) -> Colorspace:
    """The matrix that the frame is tagged with, or the one that players assume."""
    guess = Colorspace.ITU709 if frame.height >= HD_HEIGHT_PX else Colorspace.ITU601
    return MATRICES.get(int(frame.colorspace), guess)
