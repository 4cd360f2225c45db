"""A training set that lies on the GPU as bytes and is augmented there, so that no CPU core is waited for.

Pictures are resized and cropped one by one, in three operations each; all else is done to a whole batch. Nothing waits
for the device, so that a GPU gets its next step while it still works on the last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from streamseg.cuda import in_order, sent
from streamseg.errors import DataError
from streamseg.infer import IMAGENET_MEAN, IMAGENET_STD
from train.augment import View, phase_at
from train.cache import AT_ONCE, reduced
from train.camera import Change, draw_changes, on_device
from train.composites import Composites
from train.config import Config
from train.data import LoadablePair, Pixels
from train.schedule import Key

Item = TypeVar("Item")

RENDERED = 2000
"""Composites that are made once, at the start; crops, flips and cameras make them different each time."""


class ResidentSet:
    """Pictures as uint8 `(4, h, w)`, RGB and alpha, on a device.

    A sample shows the same part of the same picture as it would from `TrainingSet`; only the noise has other numbers.
    """

    def __init__(
        self, pairs: Sequence[LoadablePair], composites: Composites | None, config: Config, device: torch.device
    ) -> None:
        """Decodes everything, on all cores; a pair that is named twice is held once.

        Raises:
            DataError: a pair does not load, or the device has no room for the set.
        """
        self.config, self.device = config, device
        short_side_px = config.data.cache_px
        unique = list(dict.fromkeys(pairs))
        held = dict(zip(unique, self._moved(unique, lambda pair: reduced(*pair.load(), short_side_px)), strict=True))
        self.pictures = [held[pair] for pair in pairs]

        def composed(number: int) -> tuple[Pixels, Pixels]:
            assert composites
            return composites.frame(short_side_px, np.random.default_rng((config.seed, number)))

        self.composites = self._moved(range(RENDERED) if composites else (), composed)
        mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
        self._mean, self._std = mean.to(device), std.to(device)

    @torch.no_grad()
    def batch(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Images `(n, 3, c, c)`, normalised, and alphas `(n, 1, c, c)` in [0, 1]; all keys must be of one step."""
        pictures, views, changes = zip(*(self._drawn(key) for key in keys), strict=True)
        seen = shown(pictures, views, self.config.augment.antialias)
        images = on_device(seen[:, :3], changes, lambda n: self._generator(keys[n]))
        return (images - self._mean) / self._std, seen[:, 3:] / 255

    def _drawn(self, key: Key) -> tuple[Tensor, View, list[Change]]:
        """A picture, what is seen of it, and what the camera does to that; in the order of `TrainingSet`'s draws."""
        augment = self.config.augment
        rng = np.random.default_rng((self.config.seed, key.step, key.pair))
        picture, phase = self._picture(key.pair, rng), phase_at(augment, key.progress)
        view = View.draw(picture.shape[1], picture.shape[2], augment, phase, rng)
        return picture, view, list(draw_changes(augment, phase.crop_px, rng))

    def _generator(self, key: Key) -> torch.Generator:
        """Has a seed of its own, so that the draws from the sample's generator stay those of `TrainingSet`."""
        seed = np.random.SeedSequence((self.config.seed, key.step, key.pair)).generate_state(1, np.uint64)[0] >> 1
        return torch.Generator(self.device).manual_seed(int(seed))

    def _picture(self, index: int, rng: np.random.Generator) -> Tensor:
        if self.composites and rng.random() < self.config.data.composite_share:
            return self.composites[rng.integers(len(self.composites))]
        return self.pictures[index]

    def _moved(self, items: Iterable[Item], load: Callable[[Item], tuple[Pixels, Pixels]]) -> list[Tensor]:
        moved: list[Tensor] = []
        try:
            for image, mask in _loaded(items, load):
                planes = np.concatenate((image, mask[..., None]), axis=2).transpose(2, 0, 1)
                moved.append(torch.from_numpy(np.ascontiguousarray(planes)).to(self.device))
        except torch.OutOfMemoryError as error:
            raise DataError(
                f"the training set does not fit {self.device}, which is full after {len(moved)} pictures: "
                "lower data.cache_px or set data.on_gpu=false"
            ) from error
        return moved


def _loaded(items: Iterable[Item], load: Callable[[Item], tuple[Pixels, Pixels]]) -> Iterator[tuple[Pixels, Pixels]]:
    with ThreadPoolExecutor() as pool:  # OpenCV decodes outside Python's lock
        yield from in_order(items, lambda item: pool.submit(load, item).result, AT_ONCE)


def shown(pictures: Sequence[Tensor], views: Sequence[View], antialias: bool) -> Tensor:
    """Views of uint8 `(C, H, W)` of any sizes: float32 `(n, C, c, c)` of whole levels in 0..255."""
    places = sent(np.stack([[_places(view, axis) for axis in (0, 1)] for view in views]), pictures[0].device)
    crops = []
    for picture, view, (rows, columns) in zip(pictures, views, places, strict=True):
        whole = F.interpolate(
            picture[None].float(), view.size, mode="bilinear", align_corners=False, antialias=antialias
        )
        crops.append(whole[0][:, rows[:, None], columns])
    return torch.stack(crops).round().clamp(0, 255)


def _places(view: View, axis: int) -> npt.NDArray[np.int64]:
    """The rows (axis 0) or columns (1) of the resized picture that the view shows, in its order: `(c,)`."""
    length, first = view.size[axis], view.corner[axis]
    before, after = view.border[2 * axis : 2 * axis + 2]
    places = np.pad(np.arange(length), (before, after), mode="reflect" if length > 1 else "edge")
    seen = places[first : first + view.side]
    return seen[::-1] if (view.upside_down, view.mirrored)[axis] else seen
