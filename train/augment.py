"""Image and mask to a training pair: resize, crop, flip, what a camera does to pictures, normalise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.infer.engines.base import normalise
from train.camera import draw_changes, on_host
from train.config import Augment, Phase
from train.data import Pixels


def phase_at(config: Augment, progress: float) -> Phase:
    """The phase for `progress`, the share of the run's steps in [0, 1] that are done."""
    return next((phase for phase in config.phases if progress < phase.until), config.phases[-1])


def crop_shape(config: Augment, phase: Phase, seed: int, step: int) -> tuple[int, int]:
    """Height and width of a step's crops, px: square, or about 16:9 with the same area in multiples of 32."""
    side = phase.crop_px
    if config.wide_share and np.random.default_rng((seed, step)).random() < config.wide_share:
        height, width = (int(side * factor / 32 + 0.5) * 32 for factor in (3 / 4, 4 / 3))
        return max(32, height), width
    return side, side


def augment(
    image: Pixels,
    mask: Pixels,
    config: Augment,
    phase: Phase,
    rng: np.random.Generator,
    shape: tuple[int, int] | None = None,
) -> tuple[Tensor, Tensor]:
    """RGB `(H, W, 3)` and mask `(H, W)` in uint8 -> normalised `(3, h, w)` and `(1, h, w)` in [0, 1].

    `shape` is that of the crop, px; by default the phase's square.
    """
    view = View.draw(mask.shape[0], mask.shape[1], config, phase, rng, shape)
    image, mask = (view.of(resize(pixels, view.size, config.antialias)) for pixels in (image, mask))
    for change in draw_changes(config, phase.crop_px, rng):
        image = on_host(image, change, rng)
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    alpha = torch.from_numpy(np.ascontiguousarray(mask[None]))
    return normalise(pixels), alpha.float() / 255


def resize(pixels: Pixels, size: tuple[int, int], antialias: bool) -> Pixels:
    """Resizes uint8 `(H, W[, C])` to `size` (height, width): plain bilinear, or area averages when shrinking."""
    shrinks = antialias and size[0] < pixels.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(pixels, size[::-1], interpolation=method).astype(np.uint8, copy=False)


@dataclass(frozen=True, slots=True)
class View:
    """Which part of a picture a sample shows.

    Attributes:
        size: height and width that the picture is resized to.
        border: rows above and below, columns left and right, that are mirrored onto a picture smaller than the crop.
        corner: top left of the crop in the picture with its border.
        shape: height and width of the crop, px.
        mirrored: whether left and right change places.
        upside_down: whether top and bottom do.
    """

    size: tuple[int, int]
    border: tuple[int, int, int, int]
    corner: tuple[int, int]
    shape: tuple[int, int]
    mirrored: bool
    upside_down: bool

    @classmethod
    def draw(
        cls,
        height: int,
        width: int,
        config: Augment,
        phase: Phase,
        rng: np.random.Generator,
        shape: tuple[int, int] | None = None,
    ) -> Self:
        """A random view of a `height` x `width` picture; `shape` as for `augment`."""
        size, shape = _target_size(height, width, config, phase, rng), shape or (phase.crop_px, phase.crop_px)
        border = (0, 0, 0, 0)
        short_y, short_x = (max(0, side - length) for side, length in zip(shape, size, strict=True))
        if short_y or short_x:
            top, left = int(rng.integers(short_y + 1)), int(rng.integers(short_x + 1))
            border = (top, short_y - top, left, short_x - left)
        y, x = (int(rng.integers(max(length, side) - side + 1)) for side, length in zip(shape, size, strict=True))
        mirrored = bool(rng.random() < config.horizontal_flip)
        # No number is drawn for what is off, so that other recipes' samples stay what they were.
        upside_down = bool(config.vertical_flip and rng.random() < config.vertical_flip)
        return cls(size, border, (y, x), shape, mirrored, upside_down)

    def of(self, pixels: Pixels) -> Pixels:
        """The view of uint8 `(H, W[, C])`, which has `size` already."""
        if any(self.border):
            pixels = cv2.copyMakeBorder(pixels, *self.border, cv2.BORDER_REFLECT_101).astype(np.uint8, copy=False)
        y, x = self.corner
        rows = slice(None, None, -1 if self.upside_down else 1)
        columns = slice(None, None, -1 if self.mirrored else 1)
        return pixels[y : y + self.shape[0], x : x + self.shape[1]][rows, columns]


def _target_size(height: int, width: int, config: Augment, phase: Phase, rng: np.random.Generator) -> tuple[int, int]:
    resize_px = phase.resize_px * rng.uniform(*config.scale)
    factor_y, factor_x = (
        resize_px / side for side in ((height, width) if config.squash else (min(height, width),) * 2)
    )
    if config.stretch:
        stretch = (1 + config.stretch) ** rng.uniform(-0.5, 0.5)
        factor_y, factor_x = factor_y / stretch, factor_x * stretch
    return max(1, round(height * factor_y)), max(1, round(width * factor_x))
