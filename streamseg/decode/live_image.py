"""Images of live sources: camera frames fitted to one size in YUV, and mirrored."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamseg.decode.pixels import SQUARE, Shape, matrix_of
from streamseg.image import Pixels
from streamseg.yuv import BLACK, LAYOUT, NEUTRAL_CHROMA, YuvImage

ENLARGING = Interpolation.BILINEAR | Interpolation.ACCURATE_RND
REDUCING = Interpolation.AREA | Interpolation.ACCURATE_RND


class ToLiveImage:
    """Convert frames of any format and size to YUV images of one size, between black bars where the shape differs."""

    def __init__(self, width_px: int, height_px: int, pixel_aspect: Fraction = SQUARE) -> None:
        """Fix the size of all images.

        Args:
            width_px: width; an odd one is cut by one pixel.
            height_px: height; the same.
            pixel_aspect: width of a pixel over its height.
        """
        self.width_px, self.height_px = width_px & ~1, height_px & ~1
        self._pixel_aspect, self._scaler = pixel_aspect, VideoReformatter()

    def __call__(self, frame: av.VideoFrame, pixel_aspect: Fraction = SQUARE) -> YuvImage:
        """Convert a frame; one that has the size and layout already is not copied.

        Args:
            frame: as decoded.
            pixel_aspect: width of a pixel over its height.
        """
        wanted = Shape(self.width_px, self.height_px, self._pixel_aspect)
        if (frame.width & ~1, frame.height & ~1) == (self.width_px, self.height_px):
            width, height = self.width_px, self.height_px
        else:
            width, height = (
                max(2, side & ~1) for side in Shape(frame.width, frame.height, pixel_aspect).within(wanted)
            )
        image = self._convert(frame, width, height)
        return image if (width, height) == (self.width_px, self.height_px) else self._centred(image)

    def black(self) -> YuvImage:
        """Return a black image."""
        image = YuvImage.empty((self.height_px, self.width_px))
        image.y[:], image.cb[:], image.cr[:] = BLACK, NEUTRAL_CHROMA, NEUTRAL_CHROMA
        return image

    def _convert(self, frame: av.VideoFrame, width: int, height: int) -> YuvImage:
        """Scale a frame and convert it to limited-range 4:2:0."""
        is_full_range = int(frame.color_range) == int(ColorRange.JPEG)
        if (frame.format.name, frame.width, frame.height) == (LAYOUT, width, height) and not is_full_range:
            return YuvImage(frame, matrix_of(frame))
        matrix = Colorspace.ITU709 if frame.format.is_rgb else matrix_of(frame)
        is_smaller = width * height < frame.width * frame.height
        converted = self._scaler.reformat(
            frame,
            width,
            height,
            format=LAYOUT,
            src_colorspace=None if frame.format.is_rgb else matrix,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG if is_full_range or frame.format.is_rgb else ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=REDUCING if is_smaller else ENLARGING,
        )
        converted.colorspace, converted.color_range = int(matrix), int(ColorRange.MPEG)
        return YuvImage(converted, matrix)

    def _centred(self, image: YuvImage) -> YuvImage:
        """Put a smaller image in the middle of a black one."""
        framed = self.black()
        framed = YuvImage(framed.frame, image.matrix)
        for target, plane in zip(framed.planes, image.planes, strict=True):
            top, left = ((whole - part) // 2 for whole, part in zip(target.shape, plane.shape, strict=True))
            target[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
        return framed


def mirrored(image: Pixels | YuvImage) -> Pixels | YuvImage:
    """Return an image with left and right swapped, RGB, RGBA, grey or YUV."""
    if isinstance(image, np.ndarray):
        return cv2.flip(image, 1).astype(np.uint8, copy=False)
    flipped = YuvImage.empty(image.shape, image.matrix)
    for target, plane in zip(flipped.planes, image.planes, strict=True):
        cv2.flip(plane, 1, target)
    return flipped
