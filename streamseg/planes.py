"""Pictures as decoders give them and encoders take them: luma, and two planes of colour at half the size.

Most videos are stored so. What need not become RGB stays so from end to end.
"""

from __future__ import annotations

import threading
from functools import cached_property

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamseg.frames import Pixels, samples
from streamseg.scratch import scratch

LAYOUT = "yuv420p"
BLACK, WHITE = 16, 235
"""Luma of limited range, ITU-R BT.709 section 4."""

TO_RGB = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
SMALLER = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
TO_PLANES = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP

CHANNELS = {1: "gray", 3: "rgb24", 4: "rgba"}
"""Channels of pixels -> FFmpeg's name."""

_own = threading.local()


class Planes:
    """A picture in limited-range 4:2:0 of 8 bits and even sides; RGB is made of it when it is asked for.

    Attributes:
        frame: FFmpeg's picture.
        matrix: what its colours mean.
    """

    def __init__(self, frame: av.VideoFrame, matrix: Colorspace = Colorspace.ITU709) -> None:
        self.frame, self.matrix = frame, matrix

    @classmethod
    def of(cls, rgb: Pixels) -> Planes:
        """RGB `(H, W, 3)` -> BT.709."""
        return cls(to_layout(np.ascontiguousarray(rgb), LAYOUT))

    @classmethod
    def empty(cls, shape: tuple[int, ...], matrix: Colorspace = Colorspace.ITU709) -> Planes:
        """Of `(H, W, ...)` and any content."""
        frame = av.VideoFrame(shape[1], shape[0], LAYOUT)
        frame.colorspace, frame.color_range = int(matrix), int(ColorRange.MPEG)
        return cls(frame, matrix)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(H, W, 3)`, as that of the RGB pixels."""
        return self.frame.height, self.frame.width, 3

    @property
    def values(self) -> tuple[Pixels, Pixels, Pixels]:
        """Views of luma `(H, W)`, blue and red difference `(H / 2, W / 2)`."""
        luma, blue, red = map(samples, self.frame.planes)
        return luma, blue, red

    @cached_property
    def rgb(self) -> Pixels:
        """RGB `(H, W, 3)`."""
        return to_rgb(self.frame, self.matrix)

    def reduced(self, width: int, height: int) -> Pixels:
        """RGB `(height, width, 3)`, averaged."""
        return to_rgb(self.frame, self.matrix, size_px=(width, height))

    def smaller(self, width: int, height: int) -> Planes:
        """The picture averaged to another size, of which the colours have half, rounded up."""
        # To luma alone, FFmpeg would take its pixels from elsewhere.
        scaler = _scaler(self.shape, LAYOUT, width, height)
        return Planes(scaler.reformat(self.frame, width, height, format=LAYOUT, interpolation=SMALLER), self.matrix)

    def as_bt709(self) -> Planes:
        """The same picture under the matrix that we write; itself if it is that already."""
        if self.matrix == Colorspace.ITU709:
            return self
        same = _scaler(self.shape, LAYOUT).reformat(
            self.frame,
            format=LAYOUT,
            src_colorspace=self.matrix,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.MPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=TO_RGB | Interpolation.FULL_CHR_H_INP,
        )
        return Planes(same)


def to_rgb(
    frame: av.VideoFrame, matrix: Colorspace, layout: str = "rgb24", size_px: tuple[int, int] | None = None
) -> Pixels:
    """A decoder's picture -> RGB `(H, W, 3)`, or RGBA `(H, W, 4)`.

    Args:
        frame: the picture.
        matrix: what its colours mean.
        layout: `rgb24` or `rgba`.
        size_px: width and height to average it to, if they are others.
    """
    width, height = size_px or (frame.width, frame.height)
    converted = _scaler(frame.format.name, frame.width, frame.height, layout, size_px).reformat(
        frame,
        width,
        height,
        format=layout,
        src_colorspace=matrix,
        src_color_range=frame.color_range or ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=SMALLER if size_px else TO_RGB,
    )
    return np.ascontiguousarray(converted.to_ndarray(), np.uint8)


def to_layout(pixels: Pixels, layout: str) -> av.VideoFrame:
    """RGB `(H, W, 3)`, RGBA `(H, W, 4)` or grey `(H, W)` -> a tagged picture; YUV is limited-range BT.709."""
    is_yuv = layout.startswith("yuv")
    given = CHANNELS[pixels.shape[2] if pixels.ndim == 3 else 1]
    colour_range = ColorRange.MPEG if is_yuv else ColorRange.JPEG
    picture = _scaler(given, pixels.shape, layout).reformat(
        av.VideoFrame.from_ndarray(pixels, format=given),
        format=layout,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709 if is_yuv else None,
        dst_color_range=colour_range,
        interpolation=TO_PLANES,
    )
    picture.color_range = int(colour_range)
    if is_yuv:
        picture.colorspace = int(Colorspace.ITU709)
    return picture


def blend(front: Planes, back: Planes, alpha: npt.NDArray[np.float32]) -> Planes:
    """Sets one picture before another.

    Args:
        front: the foreground.
        back: of the same size.
        alpha: `(H, W)` in [0, 1]; colour takes the mean of its four pixels.

    Returns:
        BT.709.
    """
    height, width = (side // 2 for side in alpha.shape)
    half = scratch("half", (height, width))
    cv2.resize(alpha, (width, height), half, interpolation=cv2.INTER_AREA)
    whole, halved = (alpha, _rest(alpha, "rest")), (half, _rest(half, "half's rest"))
    # A mixture of two pictures may be converted as well as each of them.
    before_and_behind = (front, back) if front.matrix == back.matrix else (front.as_bt709(), back.as_bt709())
    blended, weights = Planes.empty(front.shape, before_and_behind[0].matrix), (whole, halved, halved)
    planes = zip(*(picture.values for picture in before_and_behind), blended.values, weights, strict=True)
    for before, behind, target, (share, rest) in planes:
        cv2.blendLinear(before, behind, share, rest, dst=target)
    return blended.as_bt709()


def _rest(share: npt.NDArray[np.float32], purpose: str) -> npt.NDArray[np.float32]:
    return np.subtract(1, share, out=scratch(purpose, share.shape))


def _scaler(*purpose: object) -> VideoReformatter:
    """A scaler that keeps its tables from picture to picture; each thread has its own."""
    scalers: dict[tuple[object, ...], VideoReformatter] = _own.__dict__.setdefault("scalers", {})
    return scalers.setdefault(purpose, VideoReformatter())
