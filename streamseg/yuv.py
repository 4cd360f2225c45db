"""Images in RGB and in 8-bit 4:2:0 YUV, with the same methods, and the conversion from one to the other.

Most videos are stored in 4:2:0. Images that need not become RGB stay in YUV from decoder to encoder.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamseg.image import Pixels, pad_to_even, samples

LAYOUT, REDUCED_LAYOUT = "yuv420p", "yuv444p"
"""FFmpeg's pixel formats of a `YuvImage`, and of one that is reduced to the network's size."""
BLACK, WHITE = 16, 235
"""Luma (Y) of black and white in limited range; ITU-R BT.709, section 4."""

NEUTRAL_CHROMA = 128
"""Cb and Cr of grey."""
LUMA_LEVELS, CHROMA_LEVELS = 219, 224
"""Width of the limited range of Y, and of Cb and Cr."""

LUMA_WEIGHTS = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, from which all conversions derive; ITU-T H.273, table 4."""

TO_RGB = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
TO_REDUCED = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
TO_YUV = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP

CHANNELS = {1: "gray", 3: "rgb24", 4: "rgba"}
"""Number of channels -> FFmpeg's pixel format."""

THUMBNAIL_POINTS = 96
"""Points of an image along each side that its thumbnail averages, so that noise does not show in it."""

_thread_local = threading.local()


@dataclass(frozen=True, eq=False)
class RgbImage:
    """An image of `Pixels`: RGB `(H, W, 3)`, RGBA `(H, W, 4)` with straight alpha, or grey `(H, W)`.

    Attributes:
        pixels: the array, which is not copied.
        black: level of black in `y`.
        white: level of white in `y`.
    """

    pixels: Pixels
    black: ClassVar[int] = 0
    white: ClassVar[int] = 255

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels."""
        return self.pixels.shape

    @cached_property
    def rgb(self) -> Pixels:
        """RGB `(H, W, 3)` without alpha; the same array if it is RGB."""
        if self.pixels.ndim == 2:
            return np.dstack([self.pixels] * 3)
        return self.pixels if self.pixels.shape[2] == 3 else np.ascontiguousarray(self.pixels[..., :3])

    @cached_property
    def y(self) -> Pixels:
        """Luma `(H, W)`, uint8 in [0, 255]."""
        return cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)

    @cached_property
    def planes(self) -> tuple[Pixels, Pixels, Pixels]:
        """Y `(H, W)`, Cb and Cr of half its sides, rounded up: full-range BT.601, uint8."""
        height, width = self.shape[:2]
        half = cv2.resize(self.rgb, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        return self.y, *_ycc(half)[1:]

    def reduced_planes(self, width: int, height: int) -> tuple[Pixels, Pixels, Pixels]:
        """Average areas to Y, Cb and Cr `(height, width)`: full-range BT.601, uint8."""
        return _ycc(cv2.resize(self.rgb, (width, height), interpolation=cv2.INTER_AREA))

    def resized_rgb(self, width: int, height: int) -> Pixels:
        """Average areas to RGB `(height, width, 3)` uint8; interpolate if a side grows."""
        method = cv2.INTER_AREA if _shrinks(self.shape, width, height) else cv2.INTER_LINEAR
        return cv2.resize(self.rgb, (width, height), interpolation=method).astype(np.uint8, copy=False)

    def thumbnail(self, side_px: int) -> npt.NDArray[np.float32]:
        """Average a grid of points to RGB `(side_px, side_px, 3)` in [0, 255], whatever the channels are."""
        return _thumbnail(self.rgb, side_px)

    def mirrored(self) -> RgbImage:
        """Swap left and right."""
        return RgbImage(cv2.flip(self.pixels, 1).astype(np.uint8, copy=False))

    def as_yuv(self) -> YuvImage:
        """Convert to BT.709, without alpha; the sides have to be even."""
        return YuvImage.of(self.pixels)

    def as_frame(self, layout: str, matrix: Colorspace = Colorspace.ITU709) -> av.VideoFrame:
        """Convert to a tagged frame of an FFmpeg pixel format; YUV gets limited range, 4:2:0 even sides."""
        return to_layout(pad_to_even(self.pixels) if needs_even(layout) else self.pixels, layout, matrix)


class YuvImage:
    """An image in limited-range 8-bit 4:2:0 YUV with even sides; RGB is made when it is first asked for.

    Attributes:
        frame: FFmpeg's frame, which holds the planes.
        matrix: colour matrix of the planes.
        black: level of black in `y`.
        white: level of white in `y`.
    """

    black: ClassVar[int] = BLACK
    white: ClassVar[int] = WHITE

    def __init__(self, frame: av.VideoFrame, matrix: Colorspace = Colorspace.ITU709) -> None:
        self.frame, self.matrix = frame, matrix
        self._last_reduced: av.VideoFrame | None = None

    @classmethod
    def of(cls, rgb: Pixels) -> YuvImage:
        """Convert RGB `(H, W, 3)` uint8 with even sides to BT.709."""
        return cls(to_layout(rgb, LAYOUT))

    @classmethod
    def empty(cls, shape: tuple[int, ...], matrix: Colorspace = Colorspace.ITU709) -> YuvImage:
        """Allocate an image of `(H, W, ...)` with undefined content."""
        frame = av.VideoFrame(shape[1], shape[0], LAYOUT)
        frame.colorspace, frame.color_range = int(matrix), int(ColorRange.MPEG)
        return cls(frame, matrix)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape `(H, W, 3)`, as that of the image's RGB pixels."""
        return self.frame.height, self.frame.width, 3

    @property
    def planes(self) -> tuple[Pixels, Pixels, Pixels]:
        """Writable views of Y `(H, W)`, Cb `(H / 2, W / 2)` and Cr `(H / 2, W / 2)`, uint8."""
        y, cb, cr = map(samples, self.frame.planes)
        return y, cb, cr

    @property
    def y(self) -> Pixels:
        """Writable view of the luma plane `(H, W)`, uint8 in [16, 235]."""
        return samples(self.frame.planes[0])

    @property
    def cb(self) -> Pixels:
        """Writable view of the blue-difference plane `(H / 2, W / 2)`, uint8 in [16, 240]."""
        return samples(self.frame.planes[1])

    @property
    def cr(self) -> Pixels:
        """Writable view of the red-difference plane `(H / 2, W / 2)`, uint8 in [16, 240]."""
        return samples(self.frame.planes[2])

    @cached_property
    def rgb(self) -> Pixels:
        """RGB `(H, W, 3)` uint8."""
        return to_rgb(self.frame, self.matrix)

    @property
    def pixels(self) -> Pixels:
        """The same as `rgb`: YUV images have no alpha."""
        return self.rgb

    def resized_rgb(self, width: int, height: int) -> Pixels:
        """Average areas to RGB `(height, width, 3)` uint8; interpolate if a side grows."""
        if not _shrinks(self.shape, width, height):
            return RgbImage(self.rgb).resized_rgb(width, height)
        return to_rgb(self._reduced_444(width, height), self.matrix)

    def reduced_planes(self, width: int, height: int) -> tuple[Pixels, Pixels, Pixels]:
        """Average areas to Y, Cb and Cr `(height, width)` uint8."""
        y, cb, cr = map(samples, self._reduced_444(width, height).planes)
        return y, cb, cr

    def _reduced_444(self, width: int, height: int) -> av.VideoFrame:
        """Average areas to 4:4:4; keep the last result, since every stage asks for the matte's size."""
        if self._last_reduced is None or (self._last_reduced.width, self._last_reduced.height) != (width, height):
            scaler = _scaler(self.shape, REDUCED_LAYOUT, width, height)
            self._last_reduced = scaler.reformat(
                self.frame, width, height, format=REDUCED_LAYOUT, interpolation=TO_REDUCED
            )
        return self._last_reduced

    def resized(self, width: int, height: int) -> YuvImage:
        """Average areas to another size; the sides of Cb and Cr are half of it, rounded up."""
        scaler = _scaler(self.shape, LAYOUT, width, height)
        return YuvImage(
            scaler.reformat(self.frame, width, height, format=LAYOUT, interpolation=TO_REDUCED), self.matrix
        )

    def thumbnail(self, side_px: int) -> npt.NDArray[np.float32]:
        """Average a grid of points to RGB `(side_px, side_px, 3)` in levels of 255, up to a constant offset.

        Where a stage has asked for reduced planes, the points are theirs: each is an average, and quicker to read.
        """
        planes = map(samples, self._last_reduced.planes) if self._last_reduced else self.planes
        sampled = np.dstack([_thumbnail(plane, side_px) for plane in planes])
        rgb: npt.NDArray[np.float32] = sampled @ rgb_weights().astype(np.float32)
        return rgb

    def as_yuv(self) -> YuvImage:
        """Return the image itself."""
        return self

    def as_frame(self, layout: str, matrix: Colorspace = Colorspace.ITU709) -> av.VideoFrame:
        """Convert to a tagged frame of an FFmpeg pixel format; the same matrix passes to `yuv420p` unchanged."""
        return self.in_matrix(matrix).frame if layout == LAYOUT else RgbImage(self.rgb).as_frame(layout, matrix)

    def mirrored(self) -> YuvImage:
        """Swap left and right."""
        flipped = YuvImage.empty(self.shape, self.matrix)
        for target, plane in zip(flipped.planes, self.planes, strict=True):
            cv2.flip(plane, 1, target)
        return flipped

    def as_bt709(self) -> YuvImage:
        """Convert to the BT.709 matrix; return the image itself if it is BT.709 already."""
        return self.in_matrix(Colorspace.ITU709)

    def in_matrix(self, matrix: Colorspace) -> YuvImage:
        """Convert to a colour matrix; return the image itself if it has that one already."""
        if self.matrix == matrix:
            return self
        y, cb, cr = self.planes
        converted = YuvImage.empty(self.shape, matrix)
        y_weights, cb_weights, cr_weights = _between(self.matrix, matrix)
        _weighted_chroma(cb, cr, cb_weights, converted.cb)
        _weighted_chroma(cb, cr, cr_weights, converted.cr)
        y_change = cv2.resize(_weighted_chroma(cb, cr, y_weights), y.shape[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.addWeighted(y, 1, y_change, 1, -NEUTRAL_CHROMA, converted.y)
        return converted


AnyImage = RgbImage | YuvImage
"""What passes from stage to stage; the stages call the methods that both kinds have."""


def needs_even(layout: str) -> bool:
    """Whether chroma is subsampled 4:2:0, so that encoders refuse odd sides."""
    return "420" in layout


def to_rgb(frame: av.VideoFrame, matrix: Colorspace, layout: str = "rgb24") -> Pixels:
    """Convert a decoded frame to RGB `(H, W, 3)` or RGBA `(H, W, 4)` uint8.

    Args:
        frame: of any pixel format.
        matrix: colour matrix of the frame.
        layout: `rgb24` or `rgba`.
    """
    converted = _scaler(frame.format.name, frame.width, frame.height, layout).reformat(
        frame,
        format=layout,
        src_colorspace=matrix,
        src_color_range=frame.color_range or ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=TO_RGB,
    )
    return np.ascontiguousarray(converted.to_ndarray(), np.uint8)


def to_layout(pixels: Pixels, layout: str, matrix: Colorspace = Colorspace.ITU709) -> av.VideoFrame:
    """Convert pixels to a tagged frame of an FFmpeg pixel format; YUV has limited range.

    Args:
        pixels: RGB `(H, W, 3)`, RGBA `(H, W, 4)` or grey `(H, W)`, uint8.
        layout: the pixel format.
        matrix: colour matrix of YUV.
    """
    is_yuv = layout.startswith("yuv")
    source_layout = CHANNELS[pixels.shape[2] if pixels.ndim == 3 else 1]
    colour_range = ColorRange.MPEG if is_yuv else ColorRange.JPEG
    frame = _scaler(source_layout, pixels.shape, layout).reformat(
        av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=source_layout),
        format=layout,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=matrix if is_yuv else None,
        dst_color_range=colour_range,
        interpolation=TO_YUV,
    )
    frame.color_range = int(colour_range)
    if is_yuv:
        frame.colorspace = int(matrix)
    return frame


@cache
def rgb_weights(matrix: Colorspace = Colorspace.ITU709) -> npt.NDArray[np.float64]:
    """Return what a level of limited-range Y, Cb and Cr adds to red, green and blue in [0, 255].

    ITU-R BT.709-6, items 3.2 to 3.4, from the weights of luma; other matrices differ from it in those alone.

    Args:
        matrix: a key of `LUMA_WEIGHTS`.

    Returns:
        `(3, 3)`: rows Y, Cb, Cr; columns red, green, blue.
    """
    red, blue = LUMA_WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    from_rgb = np.stack([luma, ([0, 0, 1] - luma) / (2 * (1 - blue)), ([1, 0, 0] - luma) / (2 * (1 - red))])
    levels = np.array([LUMA_LEVELS, CHROMA_LEVELS, CHROMA_LEVELS])
    weights: npt.NDArray[np.float64] = np.linalg.inv(from_rgb).T * (255 / levels[:, None])
    return weights


@cache
def _between(source: Colorspace, target: Colorspace) -> npt.NDArray[np.float64]:
    """Return weights `(3, 2)` of the source's Cb and Cr in the change of Y, in the new Cb and in the new Cr."""
    converted = rgb_weights(source) @ np.linalg.inv(rgb_weights(target))
    weights: npt.NDArray[np.float64] = converted.T[:, 1:]
    return weights


def _weighted_chroma(
    cb: Pixels, cr: Pixels, weights: npt.NDArray[np.float64], out: Pixels | None = None
) -> cv2.typing.MatLike:
    """Return the weighted sum of Cb and Cr about `NEUTRAL_CHROMA`, uint8."""
    return cv2.addWeighted(cb, weights[0], cr, weights[1], NEUTRAL_CHROMA * (1 - weights.sum()), out)


def _ycc(rgb: cv2.typing.MatLike) -> tuple[Pixels, Pixels, Pixels]:
    """Convert RGB `(H, W, 3)` to Y, Cb and Cr `(H, W)` in full-range BT.601."""
    y, cr, cb = (plane.astype(np.uint8, copy=False) for plane in cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)))
    return y, cb, cr


def _shrinks(shape: tuple[int, ...], width: int, height: int) -> bool:
    """Whether an image of `shape` grows along neither side when it is resized to width and height."""
    return height <= shape[0] and width <= shape[1]


def _thumbnail(values: Pixels, side_px: int) -> npt.NDArray[np.float32]:
    """Average a grid of points of `(H, W[, C])` to a square."""
    points = cv2.resize(values, (THUMBNAIL_POINTS, THUMBNAIL_POINTS), interpolation=cv2.INTER_NEAREST)
    return cv2.resize(points.astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.float32)


def _scaler(*purpose: object) -> VideoReformatter:
    """Return this thread's scaler for a purpose; it keeps its tables from frame to frame."""
    scalers: dict[tuple[object, ...], VideoReformatter] = _thread_local.__dict__.setdefault("scalers", {})
    return scalers.setdefault(purpose, VideoReformatter())
