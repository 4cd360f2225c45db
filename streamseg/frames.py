"""Frame, Batch and VideoInfo: the data that passes from stage to stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np

from streamseg.image import Pixels
from streamseg.media.storage import AnyPath
from streamseg.yuv import AnyImage, RgbImage

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["composite", "foreground", "matte"]
"""What the pixels of a finished frame are: a composite (RGB), the foreground (RGBA) or the matte (grey)."""


@dataclass(frozen=True, slots=True)
class BackgroundSound:
    """The sound of a background video, which is heard beside the source's.

    Attributes:
        path: the video.
        level: gain of its sound, in (0, 1].
    """

    path: AnyPath
    level: float


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Properties of a source that are known before its first frame is used.

    Attributes:
        width_px: width as displayed, after rotation.
        height_px: height as displayed.
        rate: average frames per second, which outputs without timestamps get.
        time_base: unit of the source's timestamps in seconds.
        frame_count: number of frames, if the container states it.
        path: the file that sound, subtitles and metadata are copied from, if there is one.
        live: frames arrive at the source's pace and cannot wait.
        pixel_aspect: width of a pixel over its height; 1 for square pixels.
        start_time: time on the file's clock, in seconds, at pts 0.
        end: time on the file's clock, in seconds, at which the frames end, if that is before the end of the file.
        background_sound: what is mixed with the file's sound, if anything.
    """

    width_px: int
    height_px: int
    rate: Fraction = Fraction(25)
    time_base: Fraction = Fraction(1, 90_000)
    frame_count: int | None = None
    path: AnyPath | None = None
    live: bool = False
    pixel_aspect: Fraction = Fraction(1)
    start_time: Fraction = Fraction(0)
    end: Fraction | None = None
    background_sound: BackgroundSound | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a video with its timestamps.

    Attributes:
        index: 0, 1, 2, ... in the order of the source; live sources skip the numbers of dropped frames.
        pts: exact presentation time in seconds, less the source's `start_time`.
        image: upright; a bare array of `Pixels` is taken for an `RgbImage`.
        captured_seconds: monotonic clock when the frame arrived; latency is measured from it.
        duration: exact display time in seconds, if the source states it; the last frame needs it.
        matte_age_seconds: capture time of this frame less that of the frame whose matte it got; 0 if the matte is its
            own.
        card: live, words to show instead of the camera's image, which is absent and stands here only for its size.
        mirrored: live, the image is the camera's mirrored.
        cutout: live, makes the foreground with alpha, RGBA `(H, W, 4)`, whatever background the image has by now.
        pixel_aspect: width of a pixel over its height, by which backgrounds are fitted; the pipeline gives each frame
            that of its source's `VideoInfo`.
    """

    index: int
    pts: Fraction
    image: AnyImage
    captured_seconds: float = 0.0
    duration: Fraction | None = None
    matte_age_seconds: float = 0.0
    card: str | None = None
    mirrored: bool = False
    cutout: Callable[[], Pixels] | None = None
    pixel_aspect: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if isinstance(self.image, np.ndarray):
            object.__setattr__(self, "image", RgbImage(self.image))

    @property
    def pixels(self) -> Pixels:
        """The image as `Pixels`; YUV is converted once, when first asked for."""
        return self.image.pixels

    @property
    def kind(self) -> Kind:
        """What the pixels are, by their number of channels."""
        shape = self.image.shape
        return "matte" if len(shape) == 2 else "foreground" if shape[2] == 4 else "composite"

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, time={float(self.pts):.3f} s, pixels={self.image.shape})"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Consecutive frames and their mattes.

    Attributes:
        frames: at full size, on the host.
        alpha: `(N, 1, h, w)` float in [0, 1] at the network's size, one matte a frame.
    """

    frames: tuple[Frame, ...]
    alpha: Tensor

    def __repr__(self) -> str:
        return f"Batch(frames={len(self.frames)}, alpha={tuple(self.alpha.shape)})"


def counted(count: int, noun: str) -> str:
    """Format a number of things: `1 frame`, `2 frames`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
