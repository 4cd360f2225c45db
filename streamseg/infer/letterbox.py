"""Letterbox: fit a frame into the network's input in its own proportions, with its edges repeated around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from torch import Tensor

from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.infer.engines.base import network_tensor
from streamseg.model.u2net import STRIDE_PX
from streamseg.yuv import AnyImage, RgbImage

MARGIN_PX = 8
"""Least width of the repeated edge around the frame: networks tend to lose what touches their input's border."""

LEAST_SIDE_PX = 2 * STRIDE_PX
"""Least side of the network's input: `nano` halves it first, and OpenVINO does not pool a side of one pixel."""

TALL_WIDTH = Fraction(2, 3)
"""Least width of a tall frame as a fraction of the input size: in phone video the person fills the width, and in a
narrower image networks tend to lose the body."""

TALL_GROWTH = Fraction(13, 10)
"""Limit of a tall frame's height, as a multiple of the input size, when it grows to `TALL_WIDTH`."""


@dataclass(frozen=True, slots=True)
class Letterbox:
    """Position of a frame inside the network's input, in pixels; the frame's repeated edges fill the rest."""

    top: int
    left: int
    height: int
    width: int
    input_height: int
    input_width: int

    @classmethod
    def of(cls, height: int, width: int, input_size: int) -> Letterbox:
        """Fit a frame into the network's input, whose sides are multiples of `STRIDE_PX` from `LEAST_SIDE_PX` on.

        The longer side with its margin is `input_size`; a tall frame grows towards `TALL_WIDTH`, by `TALL_GROWTH` at
        most. The constants were chosen by eye on portrait video with the official weights.

        Args:
            height: of the frame in pixels.
            width: of the frame in pixels.
            input_size: long side of the network's input in pixels.
        """
        scale = Fraction(input_size - 2 * MARGIN_PX, max(height, width))
        if height > width:
            limit = (TALL_GROWTH * input_size - 2 * MARGIN_PX) / height
            scale = min(max(scale, TALL_WIDTH * input_size / width), limit)
        inner_height, inner_width = _round(height * scale), _round(width * scale)
        input_height, input_width = (_round_up_to_stride(side + 2 * MARGIN_PX) for side in (inner_height, inner_width))
        top, left = (input_height - inner_height) // 2, (input_width - inner_width) // 2
        return cls(top, left, inner_height, inner_width, input_height, input_width)

    @property
    def bottom(self) -> int:
        """Rows of repeated edge below the frame."""
        return self.input_height - self.height - self.top

    @property
    def right(self) -> int:
        """Columns of repeated edge to the right of the frame."""
        return self.input_width - self.width - self.left

    def crop(self, alpha: Tensor) -> Tensor:
        """Cut the frame out of `(N, 1, input_height, input_width)`, as a view `(N, 1, height, width)`."""
        return alpha[..., self.top : self.top + self.height, self.left : self.left + self.width]

    def fill(self, image: AnyImage, target: Pixels) -> None:
        """Resize an image into the network's input and repeat its edges; shrinking averages areas.

        Args:
            image: of the letterbox's frame size.
            target: RGB `(input_height, input_width, 3)` uint8, which is overwritten.
        """
        small = image.resized_rgb(self.width, self.height)
        cv2.copyMakeBorder(small, self.top, self.bottom, self.left, self.right, cv2.BORDER_REPLICATE, dst=target)


def letterbox_of(frame: Frame, input_size: int) -> Letterbox:
    """Return the letterbox of a frame; `input_size` is the network's long side in pixels."""
    height, width = frame.image.shape[:2]
    return Letterbox.of(height, width, input_size)


def black_images(info: VideoInfo, input_size: int, batch_size: int = 1) -> Pixels:
    """Return black network inputs for a source's frame size: RGB `(batch_size, input_height, input_width, 3)` uint8."""
    letterbox = Letterbox.of(info.height_px, info.width_px, input_size)
    return np.zeros((batch_size, letterbox.input_height, letterbox.input_width, 3), np.uint8)


def network_input(images: Sequence[Pixels], letterbox: Letterbox) -> Tensor:
    """Turn pixels of the letterbox's frame size into normalised float32 `(N, 3, input_height, input_width)`."""
    return network_tensor(small_images([RgbImage(pixels) for pixels in images], letterbox))


def small_images(images: Sequence[AnyImage], letterbox: Letterbox) -> Pixels:
    """Resize images of the letterbox's frame size to network inputs, RGB `(N, input_height, input_width, 3)` uint8."""
    small = np.empty((len(images), letterbox.input_height, letterbox.input_width, 3), np.uint8)
    for image, target in zip(images, small, strict=True):
        letterbox.fill(image, target)
    return small


def _round(length: Fraction) -> int:
    """Round half up, to 1 at least."""
    return max(1, math.floor(length + Fraction(1, 2)))


def _round_up_to_stride(length: int) -> int:
    """Return the next multiple of the network's stride, of at least `LEAST_SIDE_PX`."""
    return max(LEAST_SIDE_PX, -(-length // STRIDE_PX) * STRIDE_PX)
