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
from streamseg.infer.letterbox import Inset, inset_of, small_pictures
from streamseg.smooth.scene_cuts import CutDetector


@dataclass(slots=True)
class _Shot:
    """A frame before its matte.

    Attributes:
        frame: the picture.
        inset: where it lies in the network's input.
        small: that input in RGB, `(1, input_height, input_width, 3)`.
        grey: the frame's part of it, `(h, w)`.
        is_cut: whether another scene begins with it.
        key: its matte, once the network has run on it.
    """

    frame: Frame
    inset: Inset
    small: Pixels
    grey: Pixels
    is_cut: bool
    key: Key | None = None

    def key_of(self, alpha: Tensor) -> Key:
        """From the network's `(1, input_height, input_width)`."""
        return Key(self.grey, self.inset.crop(alpha), float(self.frame.time), self.frame.captured_seconds)


def _shots(frames: Iterable[Frame], input_size: int) -> Iterator[_Shot]:
    cuts = CutDetector()
    for frame in frames:
        inset = inset_of(frame, input_size)
        small = small_pictures([frame.picture], inset)
        inner = small[0, inset.top : inset.top + inset.height, inset.left : inset.left + inset.width]
        grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        yield _Shot(frame, inset, small, grey, cuts.is_cut(inner))
