"""Image and mask to a training pair: resize, crop, flip, photometric change, normalise."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.infer import normalise
from train.config import Augment, Phase
from train.data import Pixels


def phase_at(config: Augment, progress: float) -> Phase:
    """The phase for `progress`, the share of the run's steps in [0, 1] that are done."""
    return next((phase for phase in config.phases if progress < phase.until), config.phases[-1])


def augment(
    image: Pixels, mask: Pixels, config: Augment, phase: Phase, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """RGB `(H, W, 3)` and mask `(H, W)` in uint8 -> normalised `(3, c, c)` and `(1, c, c)` in [0, 1]."""
    size = _target_size(image.shape[0], image.shape[1], config, phase, rng)
    image, mask = (resize(pixels, size, config.antialias) for pixels in (image, mask))
    image, mask = random_crop(image, mask, phase.crop_px, rng)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if config.photometric:
        image = photometric(image, config.photometric, rng)
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    alpha = torch.from_numpy(np.ascontiguousarray(mask[None]))
    return normalise(pixels), alpha.float() / 255


def resize(pixels: Pixels, size: tuple[int, int], antialias: bool) -> Pixels:
    """Resizes uint8 `(H, W[, 3])` to `size` (height, width): plain bilinear, or area averages when shrinking."""
    shrinks = antialias and size[0] < pixels.shape[0]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(pixels, size[::-1], interpolation=method).astype(np.uint8, copy=False)


def random_crop(image: Pixels, mask: Pixels, side: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """The same `side` x `side` window of both; pictures that are too small are mirrored at their edges first."""
    short_y, short_x = (max(0, side - length) for length in mask.shape)
    if short_y or short_x:
        top, left = int(rng.integers(short_y + 1)), int(rng.integers(short_x + 1))
        border = (top, short_y - top, left, short_x - left)
        image, mask = (cv2.copyMakeBorder(p, *border, cv2.BORDER_REFLECT_101).astype(np.uint8) for p in (image, mask))
    y, x = (int(rng.integers(length - side + 1)) for length in mask.shape)
    return image[y : y + side, x : x + side], mask[y : y + side, x : x + side]


def photometric(image: Pixels, strength: float, rng: np.random.Generator) -> Pixels:
    """Random gain per channel, contrast and gamma on RGB uint8, each up to about half of `strength`."""
    gain = 1 + strength * rng.uniform(-0.15, 0.15, 3) + strength * rng.uniform(-0.3, 0.3)
    contrast = 1 + strength * rng.uniform(-0.4, 0.4)
    gamma = float(np.exp(strength * rng.uniform(-0.5, 0.5)))
    levels = (np.arange(256) / 255) ** gamma
    curve = np.clip((levels - 0.5) * contrast + 0.5, 0, 1)
    table = np.clip(curve[:, None] * gain * 255, 0, 255).astype(np.uint8)
    return np.stack([table[image[..., channel], channel] for channel in range(3)], axis=-1)


def _target_size(height: int, width: int, config: Augment, phase: Phase, rng: np.random.Generator) -> tuple[int, int]:
    resize_px = phase.resize_px * rng.uniform(*config.scale)
    factor_y, factor_x = (
        resize_px / side for side in ((height, width) if config.squash else (min(height, width),) * 2)
    )
    if config.stretch:
        stretch = (1 + config.stretch) ** rng.uniform(-0.5, 0.5)
        factor_y, factor_x = factor_y / stretch, factor_x * stretch
    return max(1, round(height * factor_y)), max(1, round(width * factor_x))
