"""Frames resized for the network that wait for their matte, and scene cut detection on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.flow import Keyframe
from streamseg.infer.letterbox import Letterbox, letterbox_of, small_images
from streamseg.smooth.scene_cuts import CutDetector
from streamseg.yuv import RgbImage


@dataclass(slots=True)
class PendingFrame:
    """A frame whose alpha is not known yet.

    Attributes:
        frame: the frame.
        letterbox: its position in the network's input.
        small: the network's input, RGB `(1, input_height, input_width, 3)` uint8.
        grey: the frame's part of `small` in grey, `(h, w)` uint8.
        is_cut: whether a scene begins with this frame.
        keyframe: the frame with its matte, once the network has run on it.
    """

    frame: Frame
    letterbox: Letterbox
    small: Pixels
    grey: Pixels
    is_cut: bool
    keyframe: Keyframe | None = None

    def as_keyframe(self, alpha: Tensor) -> Keyframe:
        """Build the keyframe from the network's alpha `(1, input_height, input_width)`."""
        return Keyframe(self.grey, self.letterbox.crop(alpha), float(self.frame.pts), self.frame.captured_seconds)


class FrameReducer:
    """Resizes frames to the network's input and detects scene cuts."""

    def __init__(self) -> None:
        self._cuts = CutDetector()

    def __call__(self, frame: Frame, input_size: int) -> PendingFrame:
        """Resize the next frame; `input_size` is the long side of the network's input in pixels."""
        letterbox = letterbox_of(frame, input_size)
        small = small_images([frame.image], letterbox)
        inner = small[
            0, letterbox.top : letterbox.top + letterbox.height, letterbox.left : letterbox.left + letterbox.width
        ]
        grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        return PendingFrame(frame, letterbox, small, grey, self._cuts.is_cut(RgbImage(inner)))


def prepare(frames: Iterable[Frame], input_size: int) -> Iterator[PendingFrame]:
    """Resize each frame to the network's input and detect scene cuts; `input_size` is the long side in pixels."""
    reduce = FrameReducer()
    for frame in frames:
        yield reduce(frame, input_size)
