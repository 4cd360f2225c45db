"""A training set that lies on the GPU as bytes and is augmented there, so that no CPU core is waited for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamseg.errors import DataError
from streamseg.infer import normalise
from train.augment import View, phase_at
from train.cache import reduced
from train.camera import draw_changes, on_device
from train.composites import Composites
from train.config import Config
from train.data import LoadablePair, Pixels
from train.schedule import Key

RENDERED = 2000
"""Composites that are made once, at the start; crops, flips and cameras make them different each time."""


class ResidentSet:
    """Pictures as uint8 `(4, h, w)`, RGB and alpha, on a device.

    A sample shows the same part of the same picture as it would from `TrainingSet`; only the noise has other numbers.
    """

    def __init__(
        self, pairs: Sequence[LoadablePair], composites: Composites | None, config: Config, device: torch.device
    ) -> None:
        """Decodes everything.

        Raises:
            DataError: a pair does not load, or the device has no room for the set.
        """
        self.config, self.device = config, device
        short_side_px = config.data.cache_px
        self.pictures = self._moved(reduced(*pair.load(), short_side_px) for pair in pairs)
        rng = np.random.default_rng(config.seed)
        frames = (composites.frame(short_side_px, rng) for _ in range(RENDERED)) if composites else ()
        self.composites = self._moved(frames)

    def batch(self, keys: Sequence[Key], total_steps: int) -> tuple[Tensor, Tensor]:
        """Images `(n, 3, c, c)`, normalised, and alphas `(n, 1, c, c)` in [0, 1] of the keys (step, index)."""
        samples = [self._sample(step, index, total_steps) for step, index in keys]
        pictures = torch.stack(samples)
        return normalise(pictures[:, :3]), pictures[:, 3:] / 255

    def _sample(self, step: int, index: int, total_steps: int) -> Tensor:
        """One augmented picture `(4, c, c)`, float32 in 0..255."""
        rng = np.random.default_rng((self.config.seed, step, index))
        generator = torch.Generator(self.device).manual_seed(self._noise_seed(step, index))
        phase = phase_at(self.config.augment, step / total_steps)
        picture = self._picture(index, rng)
        view = View.draw(picture.shape[1], picture.shape[2], self.config.augment, phase, rng)
        seen = shown(picture, view, self.config.augment.antialias)
        image = seen[:3]
        for change in draw_changes(self.config.augment, phase.crop_px, rng):
            image = on_device(image, change, generator)
        return torch.cat((image, seen[3:]))

    def _noise_seed(self, step: int, index: int) -> int:
        """A seed of its own, so that the draws from the sample's generator stay those of `TrainingSet`."""
        return int(np.random.SeedSequence((self.config.seed, step, index)).generate_state(1, np.uint64)[0] >> 1)

    def _picture(self, index: int, rng: np.random.Generator) -> Tensor:
        if self.composites and rng.random() < self.config.data.composite_share:
            return self.composites[rng.integers(len(self.composites))]
        return self.pictures[index]

    def _moved(self, pictures: Iterable[tuple[Pixels, Pixels]]) -> list[Tensor]:
        moved = []
        try:
            for image, mask in pictures:
                planes = np.concatenate((image, mask[..., None]), axis=2).transpose(2, 0, 1)
                moved.append(torch.from_numpy(np.ascontiguousarray(planes)).to(self.device))
        except torch.OutOfMemoryError as error:
            raise DataError(
                f"the training set does not fit {self.device}, which is full after {len(moved)} pictures: "
                "lower data.cache_px or set data.on_gpu=false"
            ) from error
        return moved


def shown(picture: Tensor, view: View, antialias: bool) -> Tensor:
    """A view of uint8 `(C, H, W)`: float32 `(C, c, c)` of whole levels in 0..255."""
    resized = F.interpolate(picture[None].float(), view.size, mode="bilinear", align_corners=False, antialias=antialias)
    top, bottom, left, right = view.border
    if any(view.border):
        resized = _mirrored(resized, 2, top, bottom)
        resized = _mirrored(resized, 3, left, right)
    y, x = view.corner
    crop = resized[0, :, y : y + view.shape[0], x : x + view.shape[1]]
    flips = [axis for axis, flipped in ((1, view.upside_down), (2, view.mirrored)) if flipped]
    return crop.flip(flips).round().clamp(0, 255)


def _mirrored(pictures: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Rows or columns mirrored at the edges, as often as it takes; `F.pad` mirrors at most once."""
    length = pictures.shape[axis]
    places = np.pad(np.arange(length), (before, after), mode="reflect" if length > 1 else "edge")
    return pictures.index_select(axis, torch.from_numpy(places).to(pictures.device))
