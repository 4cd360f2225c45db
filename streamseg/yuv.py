"""Pictures as decoders give them and encoders take them: luma, and two planes of colour at half the size.

Most videos are stored so. What need not become RGB stays so from end to end.
"""

from __future__ import annotations

import threading
from functools import cache, cached_property

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamseg.image import Pixels, samples

LAYOUT, SMALL_LAYOUT = "yuv420p", "yuv444p"
BLACK, WHITE = 16, 235
"""Luma of limited range, ITU-R BT.709 section 4."""

NEUTRAL_CHROMA = 128
LUMA_LEVELS, CHROMA_LEVELS = 219, 224
"""Levels of limited range from one end to the other."""

LUMA_WEIGHTS = {
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.FCC: (0.30, 0.11),
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.SMPTE240M: (0.212, 0.087),
    Colorspace.BT2020: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, from which all conversions derive; ITU-T H.273, table 4."""

TO_RGB = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
SMALLER = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
TO_PLANES = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP

CHANNELS = {1: "gray", 3: "rgb24", 4: "rgba"}
"""Channels of pixels -> FFmpeg's name."""

_own = threading.local()


class YuvImage:
    """A picture in limited-range 4:2:0 of 8 bits and even sides; RGB is made of it when it is asked for.

    Attributes:
        frame: FFmpeg's picture.
        matrix: what its colours mean.
    """

    def __init__(self, frame: av.VideoFrame, matrix: Colorspace = Colorspace.ITU709) -> None:
        self.frame, self.matrix = frame, matrix
        self._kept: av.VideoFrame | None = None

    @classmethod
    def of(cls, rgb: Pixels) -> YuvImage:
        """RGB `(H, W, 3)` -> BT.709."""
        return cls(to_layout(np.ascontiguousarray(rgb), LAYOUT))

    @classmethod
    def empty(cls, shape: tuple[int, ...], matrix: Colorspace = Colorspace.ITU709) -> YuvImage:
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
        return to_rgb(self._shrunk(width, height), self.matrix)

    def reduced_luma(self, width: int, height: int) -> Pixels:
        """Luma `(height, width)`, averaged."""
        return samples(self._shrunk(width, height).planes[0])

    def _shrunk(self, width: int, height: int) -> av.VideoFrame:
        """The picture averaged, all planes of one size; kept, since every stage asks for the matte's size."""
        if self._kept is None or (self._kept.width, self._kept.height) != (width, height):
            scaler = _scaler(self.shape, SMALL_LAYOUT, width, height)
            self._kept = scaler.reformat(self.frame, width, height, format=SMALL_LAYOUT, interpolation=SMALLER)
        return self._kept

    def smaller(self, width: int, height: int) -> YuvImage:
        """The picture averaged to another size, of which the colours have half, rounded up."""
        scaler = _scaler(self.shape, LAYOUT, width, height)
        return YuvImage(scaler.reformat(self.frame, width, height, format=LAYOUT, interpolation=SMALLER), self.matrix)

    def as_bt709(self) -> YuvImage:
        """The same picture under the matrix that we write; itself if it is that already."""
        if self.matrix == Colorspace.ITU709:
            return self
        luma, blue, red = self.values
        same = YuvImage.empty(self.shape)
        change, *colour = _to_bt709(self.matrix)
        for weights, target in zip(colour, same.values[1:], strict=True):
            _weighed(blue, red, weights, target)
        changes = cv2.resize(_weighed(blue, red, change), luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
        cv2.addWeighted(luma, 1, changes, 1, -NEUTRAL_CHROMA, same.values[0])
        return same


def to_rgb(frame: av.VideoFrame, matrix: Colorspace, layout: str = "rgb24") -> Pixels:
    """A decoder's picture -> RGB `(H, W, 3)`, or RGBA `(H, W, 4)`.

    Args:
        frame: the picture.
        matrix: what its colours mean.
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


@cache
def rgb_weights(matrix: Colorspace = Colorspace.ITU709) -> npt.NDArray[np.float64]:
    """What a level of limited-range luma, Cb and Cr adds to red, green and blue in levels of 255.

    ITU-R BT.709-6, items 3.2 to 3.4, from the weights of luma; other matrices differ from it in those alone.

    Args:
        matrix: a key of `LUMA_WEIGHTS`.

    Returns:
        `(3, 3)`: rows luma, Cb, Cr; columns red, green, blue.
    """
    red, blue = LUMA_WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    from_rgb = np.stack([luma, ([0, 0, 1] - luma) / (2 * (1 - blue)), ([1, 0, 0] - luma) / (2 * (1 - red))])
    levels = np.array([LUMA_LEVELS, CHROMA_LEVELS, CHROMA_LEVELS])
    weights: npt.NDArray[np.float64] = np.linalg.inv(from_rgb).T * (255 / levels[:, None])
    return weights


@cache
def _to_bt709(matrix: Colorspace) -> npt.NDArray[np.float64]:
    """Weights of blue and red difference in the change of luma, in the new blue and in the new red one."""
    converted = rgb_weights(matrix) @ np.linalg.inv(rgb_weights(Colorspace.ITU709))
    weights: npt.NDArray[np.float64] = converted.T[:, 1:]
    return weights


def _weighed(
    blue: Pixels, red: Pixels, weights: npt.NDArray[np.float64], out: Pixels | None = None
) -> cv2.typing.MatLike:
    """Both differences weighed, about the level of no colour."""
    return cv2.addWeighted(blue, weights[0], red, weights[1], NEUTRAL_CHROMA * (1 - weights.sum()), out)


def _scaler(*purpose: object) -> VideoReformatter:
    """A scaler that keeps its tables from picture to picture; each thread has its own."""
    scalers: dict[tuple[object, ...], VideoReformatter] = _own.__dict__.setdefault("scalers", {})
    return scalers.setdefault(purpose, VideoReformatter())
