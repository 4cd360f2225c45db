"""Frames that are prepared for the network and wait for their matte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.flow import Key
from streamseg.infer.letterbox import Letterbox, letterbox_of, small_pictures
from streamseg.smooth.scene_cuts import CutDetector


@dataclass(slots=True)
class PendingFrame:
    """A frame whose alpha is not known yet.

    Attributes:
        frame: the frame.
        letterbox: where it lies in the network's input.
        small: that input in RGB, `(1, input_height, input_width, 3)`.
        grey: the frame's part of it, `(h, w)`.
        is_cut: whether another scene begins with it.
        key: its matte, once the network has run on it.
    """

    frame: Frame
    letterbox: Letterbox
    small: Pixels
    grey: Pixels
    is_cut: bool
    key: Key | None = None

    def key_of(self, alpha: Tensor) -> Key:
        """Build the key from the network's alpha `(1, input_height, input_width)`."""
        return Key(self.grey, self.letterbox.crop(alpha), float(self.frame.pts), self.frame.captured_seconds)


def prepare(frames: Iterable[Frame], input_size: int) -> Iterator[PendingFrame]:
    """Resize each frame to the network's input and look for scene cuts; `input_size` is the long side in pixels."""
    cuts = CutDetector()
    for frame in frames:
        letterbox = letterbox_of(frame, input_size)
        small = small_pictures([frame.image], letterbox)
        inner = small[
            0, letterbox.top : letterbox.top + letterbox.height, letterbox.left : letterbox.left + letterbox.width
        ]
        grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        yield PendingFrame(frame, letterbox, small, grey, cuts.is_cut(inner))
