"""Frame, Batch and VideoInfo: the only types that pass from one stage to the next."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from streamseg.image import Pixels

if TYPE_CHECKING:
    from torch import Tensor

    from streamseg.yuv import YuvImage

Kind = Literal["composite", "foreground", "matte"]
"""What finished pixels are."""


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a source knows of itself before its first frame is used.

    Attributes:
        width_px: width as seen on screen, rotation applied.
        height_px: height as seen on screen.
        rate: average frames per second; what a container without timestamps is written with.
        time_base: the unit of the source's timestamps in seconds.
        frame_count: number of frames, where the container says.
        path: the file that holds the other tracks, if there is one.
        live: frames arrive at their own pace and cannot wait.
        pixel_aspect: width of a pixel over its height; 1 for square ones.
        start_time: what the file's clock shows, in seconds, at pts 0.
        end: the file's time at which the frames end, where that is not the end of the file.
    """

    width_px: int
    height_px: int
    rate: Fraction = Fraction(25)
    time_base: Fraction = Fraction(1, 90_000)
    frame_count: int | None = None
    path: Path | None = None
    live: bool = False
    pixel_aspect: Fraction = Fraction(1)
    start_time: Fraction = Fraction(0)
    end: Fraction | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture on the host.

    Attributes:
        index: 0, 1, 2, ... in the order of the source; live sources skip numbers when frames are dropped.
        pts: exact presentation time in seconds, as the source states it, less the source's `start_time`.
        image: upright, as RGB pixels or in YUV planes.
        captured_seconds: monotonic clock when the frame reached us; what latency is measured from.
        duration: exact seconds that it is shown, where the source states it; what the last frame needs.
        matte_age_seconds: live, how long before this one the picture was captured that the matte was computed on; 0 if
            it is this one's own.
    """

    index: int
    pts: Fraction
    image: Pixels | YuvImage
    captured_seconds: float = 0.0
    duration: Fraction | None = None
    matte_age_seconds: float = 0.0

    @property
    def pixels(self) -> Pixels:
        """See `Pixels` for the shapes; made of planes once, when first asked for."""
        return self.image if isinstance(self.image, np.ndarray) else self.image.rgb

    @property
    def kind(self) -> Kind:
        """What its pixels are."""
        shape = self.image.shape
        return "matte" if len(shape) == 2 else "foreground" if shape[2] == 4 else "composite"

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, time={float(self.pts):.3f} s, pixels={self.image.shape})"


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Consecutive frames and their mattes.

    Attributes:
        frames: the pictures, at full size on the host.
        alpha: `(N, 1, h, w)` float in [0, 1] at the network's size, one matte a frame.
    """

    frames: tuple[Frame, ...]
    alpha: Tensor

    def __repr__(self) -> str:
        return f"Batch(frames={len(self.frames)}, alpha={tuple(self.alpha.shape)})"
