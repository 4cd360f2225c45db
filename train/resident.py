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

from streamseg.errors import DataError
from streamseg.hardware.cuda import in_order, to_device
from streamseg.infer.engines.base import IMAGENET_MEAN, IMAGENET_STD
from train.augment import View, crop_shape, phase_at, resize
from train.cache import AT_ONCE, reduced
from train.camera import Change, draw_changes, on_device
from train.composites import HEIGHTS, OVER_BACKGROUND_SHARE, Composites, Placement
from train.config import Config
from train.data import LoadablePair, Pixels
from train.schedule import Key
from train.webcam import WebcamFrames

Item = TypeVar("Item")

RENDERED = 2000
"""Composites over backgrounds, and webcam frames, that are made once, at the start; crops, flips and cameras make them
different each time."""


class ResidentSet:
    """Pictures as uint8 `(4, h, w)`, RGB and alpha, on a device.

    A sample shows the same part of the same picture as it would from `TrainingSet`, with the same cut-out over it; only
    the noise has other numbers, and webcam frames and composites over backgrounds are `RENDERED` ones.
    """

    def __init__(
        self,
        pairs: Sequence[LoadablePair],
        composites: Composites | None,
        webcam: WebcamFrames | None,
        config: Config,
        device: torch.device,
    ) -> None:
        """Decodes and renders everything, on all cores; a pair that is named twice is held once.

        Raises:
            DataError: a picture does not load, or the device has no room for the set.
        """
        self.config, self.device = config, device
        short_side_px = config.data.cache_px
        unique = list(dict.fromkeys(pairs))
        held = dict(zip(unique, self._moved(unique, lambda pair: reduced(*pair.load(), short_side_px)), strict=True))
        self.pictures = [held[pair] for pair in pairs]
        self.composites, self.webcam = self._rendered(composites), self._rendered(webcam)
        self.cutouts = self._cutouts(composites) if composites else []
        mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD))
        self._mean, self._std = mean.to(device), std.to(device)

    @torch.no_grad()
    def batch(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Images `(n, 3, h, w)`, normalised, and alphas `(n, 1, h, w)` in [0, 1]; all keys must be of one step."""
        pictures, views, changes = zip(*(self._drawn(key) for key in keys), strict=True)
        seen = shown(pictures, views, self.config.augment.antialias)
        images = on_device(seen[:, :3], changes, lambda n: self._generator(keys[n]))
        return (images - self._mean) / self._std, seen[:, 3:] / 255

    def _drawn(self, key: Key) -> tuple[Tensor, View, list[Change]]:
        """A picture, what is seen of it, and what the camera does to that; in the order of `TrainingSet`'s draws."""
        augment, seed = self.config.augment, self.config.seed
        rng = np.random.default_rng((seed, key.step, key.pair))
        picture, phase = self._picture(key.pair, rng), phase_at(augment, key.progress)
        shape = crop_shape(augment, phase, seed, key.step)
        view = View.draw(picture.shape[1], picture.shape[2], augment, phase, rng, shape)
        return picture, view, list(draw_changes(augment, phase.crop_px, rng))

    def _generator(self, key: Key) -> torch.Generator:
        """Has a seed of its own, so that the draws from the sample's generator stay those of `TrainingSet`."""
        seed = np.random.SeedSequence((self.config.seed, key.step, key.pair)).generate_state(1, np.uint64)[0] >> 1
        return torch.Generator(self.device).manual_seed(int(seed))

    def _picture(self, index: int, rng: np.random.Generator) -> Tensor:
        """The pair itself, or in its place a webcam's frame or a composite, as `TrainingSet` chooses them."""
        data = self.config.data
        if self.webcam and rng.random() < data.webcam_share:
            return self.webcam[rng.integers(len(self.webcam))]
        picture = self.pictures[index]
        if not self.composites or rng.random() >= data.composite_share:
            return picture
        if rng.random() < OVER_BACKGROUND_SHARE:
            return self.composites[rng.integers(len(self.composites))]
        cutout = self.cutouts[rng.integers(len(self.cutouts))]
        return laid_over(picture, cutout, Placement.draw(_size(cutout), _size(picture), rng))

    def _rendered(self, made: Composites | WebcamFrames | None) -> list[Tensor]:
        if made is None:
            return []
        short_side_px, seed = self.config.data.cache_px, self.config.seed
        return self._moved(range(RENDERED), lambda n: made.frame(short_side_px, np.random.default_rng((seed, n))))

    def _cutouts(self, composites: Composites) -> list[Tensor]:
        """Premultiplied RGBA `(4, h, w)`, no taller than the tallest picture ever shows them."""
        height_px = round(HEIGHTS[1] * max(picture.shape[1] for picture in self.pictures))

        def load(index: int) -> tuple[Pixels, Pixels]:
            rgba = composites.cutout(index)
            if rgba.shape[0] > height_px:
                size = (height_px, max(1, round(rgba.shape[1] * height_px / rgba.shape[0])))
                rgba = resize(rgba, size, antialias=True)
            return rgba[..., :3], rgba[..., 3]

        return self._moved(range(len(composites.cutouts)), load)

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


def laid_over(picture: Tensor, cutout: Tensor, placement: Placement) -> Tensor:
    """What `composites.laid_over` does: premultiplied RGBA over RGB and alpha, uint8 `(4, H, W)` both."""
    whole, mirrored = picture.clone(), cutout.flip(2) if placement.mirrored else cutout
    resized = F.interpolate(
        mirrored[None].float(), placement.size, mode="bilinear", align_corners=False, antialias=True
    )[0].round()
    (rows, own_rows), (columns, own_columns) = map(_overlap, placement.corner, placement.size, _size(whole))
    front, behind = resized[:, own_rows, own_columns], whole[:, rows, columns]
    behind.copy_((front + behind * (1 - front[3:] / 255)).round().clamp_(0, 255))
    return whole


def _overlap(first: int, own: int, length: int) -> tuple[slice, slice]:
    """Of `own` places from `first` on those that lie within `length`: as places there, and as places of their own."""
    start = min(max(0, first), length)
    stop = max(start, min(length, first + own))
    return slice(start, stop), slice(start - first, stop - first)


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[1], picture.shape[2]


def shown(pictures: Sequence[Tensor], views: Sequence[View], antialias: bool) -> Tensor:
    """Views of one shape of uint8 `(C, H, W)` of any: float32 `(n, C, h, w)` of whole levels in 0..255."""
    device = pictures[0].device
    rows, columns = (to_device(np.stack([_places(view, axis) for view in views]), device) for axis in (0, 1))
    crops = []
    for n, (picture, view) in enumerate(zip(pictures, views, strict=True)):
        whole = F.interpolate(
            picture[None].float(), view.size, mode="bilinear", align_corners=False, antialias=antialias
        )
        crops.append(whole[0][:, rows[n][:, None], columns[n]])
    return torch.stack(crops).round().clamp(0, 255)


def _places(view: View, axis: int) -> npt.NDArray[np.int64]:
    """The rows (axis 0) or columns (1) of the resized picture that the view shows, in its order."""
    length, first = view.size[axis], view.corner[axis]
    before, after = view.border[2 * axis : 2 * axis + 2]
    places = np.pad(np.arange(length), (before, after), mode="reflect" if length > 1 else "edge")
    seen = places[first : first + view.shape[axis]]
    return seen[::-1] if (view.upside_down, view.mirrored)[axis] else seen
