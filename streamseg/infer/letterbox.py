"""The frame in its own proportions inside the network's input, with its edges repeated around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import cv2
import numpy as np
from torch import Tensor

from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels, colours
from streamseg.model.u2net import STRIDE_PX
from streamseg.yuv import YuvImage

if TYPE_CHECKING:
    pass
from streamseg.infer.engines.base import network_tensor

MARGIN_PX = 8
"""Least width of the repeated edge around the frame: what the input's own border cuts off, networks tend to lose."""

TALL_WIDTH = Fraction(2, 3)
"""Least width of a tall frame as a share of the input size: in phone video the person fills the width, and in a
narrower picture networks tend to lose the body."""

TALL_GROWTH = Fraction(13, 10)
"""How many times the input size a tall frame may reach for that width."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Where a frame lies in the network's input; its repeated edges fill the rest. All in pixels."""

    top: int
    left: int
    height: int
    width: int
    input_height: int
    input_width: int

    @classmethod
    def of(cls, height: int, width: int, input_size: int) -> Letterbox:
        """The frame in its own proportions amid sides that the network divides.

        With its margin it is `input_size` long; a tall frame grows towards `TALL_WIDTH`, by `TALL_GROWTH` at most.
        The constants were chosen by eye on portrait video with the official weights.
        """
        scale = Fraction(input_size - 2 * MARGIN_PX, max(height, width))
        if height > width:
            limit = (TALL_GROWTH * input_size - 2 * MARGIN_PX) / height
            scale = min(max(scale, TALL_WIDTH * input_size / width), limit)
        inner_height, inner_width = _rounded(height * scale), _rounded(width * scale)
        input_height, input_width = (_divisible(side + 2 * MARGIN_PX) for side in (inner_height, inner_width))
        top, left = (input_height - inner_height) // 2, (input_width - inner_width) // 2
        return cls(top, left, inner_height, inner_width, input_height, input_width)

    @property
    def bottom(self) -> int:
        """Rows below the frame."""
        return self.input_height - self.height - self.top

    @property
    def right(self) -> int:
        """Columns to the right of the frame."""
        return self.input_width - self.width - self.left

    def crop(self, alpha: Tensor) -> Tensor:
        """The frame's part of `(N, 1, input_height, input_width)`, as a view `(N, 1, height, width)`."""
        return alpha[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def fill(self, picture: Pixels | YuvImage, target: Pixels) -> None:
        """Resizes a picture into `target` in RGB, averaged over the pixels when shrunk, and repeats its edges."""
        small = self._resized(picture)
        cv2.copyMakeBorder(small, self.top, self.bottom, self.left, self.right, cv2.BORDER_REPLICATE, dst=target)

    def _resized(self, picture: Pixels | YuvImage) -> Pixels:
        shrinks = self.height <= picture.shape[0] and self.width <= picture.shape[1]
        if not isinstance(picture, np.ndarray):
            if shrinks:
                return picture.reduced(self.width, self.height)
            picture = picture.rgb
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(colours(picture), (self.width, self.height), interpolation=method)
        return resized.astype(np.uint8, copy=False)


def letterbox_of(frame: Frame, input_size: int) -> Letterbox:
    """Where the frame lies in the network's input."""
    height, width, _ = frame.image.shape
    return Letterbox.of(height, width, input_size)


def black_pictures(info: VideoInfo, input_size: int, batch_size: int = 1) -> Pixels:
    """Black frames at the network's size: `(batch_size, input_height, input_width, 3)`."""
    letterbox = Letterbox.of(info.height_px, info.width_px, input_size)
    return np.zeros((batch_size, letterbox.input_height, letterbox.input_width, 3), np.uint8)


def network_input(pictures: Sequence[Pixels | YuvImage], letterbox: Letterbox) -> Tensor:
    """Pictures of the size that `letterbox` is for -> normalised `(N, 3, input_height, input_width)`."""
    return network_tensor(small_pictures(pictures, letterbox))


def small_pictures(pictures: Sequence[Pixels | YuvImage], letterbox: Letterbox) -> Pixels:
    """Pictures of the size that `letterbox` is for -> RGB `(N, input_height, input_width, 3)`."""
    small = np.empty((len(pictures), letterbox.input_height, letterbox.input_width, 3), np.uint8)
    for picture, target in zip(pictures, small, strict=True):
        letterbox.fill(picture, target)
    return small


def _rounded(length: Fraction) -> int:
    return max(1, math.floor(length + Fraction(1, 2)))


def _divisible(length: int) -> int:
    """The next multiple of what the network divides by."""
    return -(-length // STRIDE_PX) * STRIDE_PX
