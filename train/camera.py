"""What lenses, sensors, rooms and codecs do to pictures: changes of an image that leave its alpha as it is.

`draw_changes` decides; `on_host` applies a change with OpenCV, `on_device` the same changes to a batch with PyTorch and
kornia: those of a kind at once, since a GPU takes as long to be told of one as of twenty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from streamseg.hardware.cuda import to_device
from train.config import Augment
from train.data import Pixels

BLUR_SHARE = 0.012
"""The strongest blur, as a share of the crop's side: 3 px at 256 px, a webcam out of focus."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Every level through a curve: uint8 `(256, 3)`, a column a channel."""

    table: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Blur:
    """A filter whose sum is 1: `(k, k)`, k odd."""

    kernel: Floats


@dataclass(frozen=True, slots=True)
class Noise:
    """Sensor noise of this deviation in levels of 255; grains of two pixels as after a camera's own scaling."""

    deviation: float
    grain_px: int


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG of this quality in 1..100, which is also what a webcam's MJPEG looks like."""

    quality: int


Change = Curves | Blur | Noise | Jpeg


def draw_changes(config: Augment, side_px: int, rng: np.random.Generator) -> Iterator[Change]:
    """The changes of one sample, in the order in which a room, a lens, a sensor and a codec make them."""
    if config.photometric:
        yield Curves(photometric(config.photometric, rng))
    # No number is drawn for what is off, so that other recipes' samples stay what they were.
    if config.low_light and rng.random() < config.low_light:
        yield Curves(low_light(rng))
        yield _noise(rng)
    if config.blur and rng.random() < config.blur:
        yield Blur(blur_kernel(max(1.0, BLUR_SHARE * side_px), rng))
    if config.noise and rng.random() < config.noise:
        yield _noise(rng)
    if config.jpeg and rng.random() < config.jpeg:
        yield Jpeg(int(rng.integers(20, 81)))


def on_host(image: Pixels, change: Change, rng: np.random.Generator) -> Pixels:
    """One change of RGB uint8 `(H, W, 3)`; `rng` makes the noise."""
    image = np.ascontiguousarray(image)
    match change:
        case Curves(table):
            return _bytes(cv2.LUT(image, table[None]))
        case Blur(kernel):
            return _bytes(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))
        case Noise(deviation, grain):
            size = (-(-image.shape[0] // grain), -(-image.shape[1] // grain), 3)
            values = rng.standard_normal(size, np.float32) * np.float32(deviation)
            values = values.repeat(grain, 0).repeat(grain, 1)[: image.shape[0], : image.shape[1]]
            return np.clip(np.rint(image + values), 0, 255).astype(np.uint8)
        case Jpeg(quality):
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
            return _bytes(cv2.cvtColor(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB))


def on_device(
    images: Tensor, changes: Sequence[Sequence[Change]], generator: Callable[[int], torch.Generator]
) -> Tensor:
    """All changes of a batch of RGB `(n, 3, H, W)`, float32 in 0..255, wherever it is.

    Args:
        images: the batch.
        changes: of each image, in their order.
        generator: makes the noise of an image.
    """
    generators = {n: generator(n) for n, own in enumerate(changes) if any(isinstance(each, Noise) for each in own)}
    for places, kind in of_a_kind(changes):
        chosen = to_device(np.array(places), images.device)
        changed = _changed(images[chosen], kind, [generators.get(n) for n in places])
        images = images.index_copy(0, chosen, changed)
    return images


def of_a_kind(changes: Sequence[Sequence[Change]]) -> Iterator[tuple[list[int], list[Change]]]:
    """Rounds of changes of one kind, of as many images as have it next: their places and changes.

    Every image meets its changes in its own order. The kind is that which the image with most to come has next, so
    that others can wait to join it.
    """
    left = [list(own) for own in changes]
    while longest := max(left, key=len, default=[]):
        kind = type(longest[0])
        places = [n for n, own in enumerate(left) if own and type(own[0]) is kind]
        yield places, [left[n].pop(0) for n in places]


def _changed(images: Tensor, changes: list[Change], generators: list[torch.Generator | None]) -> Tensor:
    """A change of one kind for each image."""
    match changes[0]:
        case Curves():
            return _through_curves(images, [each for each in changes if isinstance(each, Curves)])
        case Blur():
            return _blurred(images, [each for each in changes if isinstance(each, Blur)])
        case Noise():
            drawn = zip(changes, generators, strict=True)
            values = [_noise_values(images, each, made) for each, made in drawn if isinstance(each, Noise)]
            return (images + torch.stack(values)).round().clamp(0, 255)
        case Jpeg():
            return _compressed(images, [each for each in changes if isinstance(each, Jpeg)])


def _through_curves(images: Tensor, curves: list[Curves]) -> Tensor:
    tables = to_device(np.stack([each.table.T for each in curves]), images.device)
    return tables.gather(2, images.round().long().flatten(2)).view_as(images).float()


def _blurred(images: Tensor, blurs: list[Blur]) -> Tensor:
    """Every image by its own kernel, which a border of zeros brings to the size of the largest."""
    count, channels, height, width = images.shape
    reach = max(len(blur.kernel) for blur in blurs) // 2
    kernels = np.stack([np.pad(blur.kernel, reach - len(blur.kernel) // 2) for blur in blurs])
    weights = to_device(kernels, images.device)[:, None].expand(-1, channels, -1, -1)
    bordered = F.pad(images, (reach,) * 4, mode="reflect").flatten(0, 1)[None]
    blurred = F.conv2d(bordered, weights.flatten(0, 1)[:, None], groups=count * channels)
    return blurred.view(count, channels, height, width)


def _noise_values(images: Tensor, noise: Noise, generator: torch.Generator | None) -> Tensor:
    """For one of the images: `(3, H, W)`."""
    (height, width), grain = images.shape[2:], noise.grain_px
    rows, columns = -(-height // grain), -(-width // grain)
    values = torch.randn((3, rows, 1, columns, 1), generator=generator, device=images.device) * noise.deviation
    grains = values.expand(-1, -1, grain, -1, grain).reshape(3, rows * grain, columns * grain)
    return grains[:, :height, :width]


def _compressed(images: Tensor, jpegs: list[Jpeg]) -> Tensor:
    from kornia.enhance import jpeg_codec_differentiable

    # On the host: kornia looks whether they are in range, and would wait for a GPU to tell.
    qualities = torch.tensor([float(each.quality) for each in jpegs])
    return jpeg_codec_differentiable(images / 255, qualities).mul(255).round().clamp(0, 255)


def photometric(strength: float, rng: np.random.Generator) -> Pixels:
    """Random gain a channel, contrast and gamma, each up to about half of `strength`: curves `(256, 3)`."""
    gain = 1 + strength * rng.uniform(-0.15, 0.15, 3) + strength * rng.uniform(-0.3, 0.3)
    contrast = 1 + strength * rng.uniform(-0.4, 0.4)
    gamma = float(np.exp(strength * rng.uniform(-0.5, 0.5)))
    levels = (np.arange(256) / 255) ** gamma
    curve = np.clip((levels - 0.5) * contrast + 0.5, 0, 1)
    return np.clip(curve[:, None] * gain * 255, 0, 255).astype(np.uint8)


def low_light(rng: np.random.Generator) -> Pixels:
    """A dim room, tinted by warm lamps or a blue screen: curves `(256, 3)`."""
    tint = 1 + rng.uniform(-0.2, 0.2) * np.array([1.0, 0.0, -1.0])
    levels = (np.arange(256) / 255) ** rng.uniform(1.0, 1.6) * rng.uniform(0.2, 0.6)
    return np.clip(levels[:, None] * tint * 255, 0, 255).astype(np.uint8)


def blur_kernel(longest_px: float, rng: np.random.Generator) -> Floats:
    """Out of focus (a Gaussian) or moved (a line), half of the time each; up to about `longest_px`."""
    if rng.random() < 0.5:
        sigma = rng.uniform(0.3, longest_px)
        side = 2 * int(np.ceil(3 * sigma)) + 1
        line = cv2.getGaussianKernel(side, sigma, cv2.CV_32F)
        return (line @ line.T).astype(np.float32)
    return _motion_kernel(2 * rng.uniform(0.5, longest_px), rng.uniform(0, np.pi))


def _motion_kernel(length_px: float, angle: float) -> Floats:
    """A line of the given length through the middle of an odd square."""
    side = 2 * int(np.ceil(length_px / 2)) + 1
    steps = np.linspace(-length_px / 2, length_px / 2, 8 * side)
    x, y = (np.round(steps * part + side // 2).astype(int) for part in (np.cos(angle), np.sin(angle)))
    kernel = np.zeros((side, side), np.float32)
    np.add.at(kernel, (y, x), 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)


def _noise(rng: np.random.Generator) -> Noise:
    return Noise(deviation=rng.uniform(2, 12), grain_px=1 + int(rng.integers(2)))


def _bytes(image: npt.NDArray[np.generic]) -> Pixels:
    return image.astype(np.uint8, copy=False)
