"""Station 2: frames become batches with a matte."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg import cuda
from streamseg.errors import EngineError
from streamseg.frames import Batch, Frame, Pixels, VideoInfo
from streamseg.u2net import STRIDE_PX

if TYPE_CHECKING:
    from streamseg.u2net import U2Net

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Engine(Protocol):
    """Runs the network on whatever it runs best."""

    name: str
    device: str

    def alpha(self, frames: Tensor) -> Tensor:
        """Normalised RGB `(N, 3, h, w)` -> alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU."""
        ...


def open_engine(name: str, net: U2Net) -> Engine:
    """Opens an engine by name; `auto` takes CUDA where there is one, else OpenVINO, else PyTorch on the CPU.

    Raises:
        EngineError: the engine does not open, with the reason; for `auto`, none does, with each one's reason.
    """
    names = list(ENGINES) if name == "auto" else [name]
    if name == "auto" and cuda.best_device().type == "cuda":
        names = ["torch"]
    reasons: list[str] = []
    for candidate in names:
        if candidate not in ENGINES:
            raise EngineError(f"unknown engine {name!r}; known are auto, {', '.join(ENGINES)}")
        try:
            return ENGINES[candidate](net)
        except (ImportError, RuntimeError) as error:
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            reasons.append(f"{candidate}: {first_line}")
    raise EngineError("no inference engine opens: " + "; ".join(reasons))


def infer(frames: Iterable[Frame], engine: Engine, input_size: int, batch_size: int = 1) -> Iterator[Batch]:
    """Runs `engine` on `batch_size` frames at a time; the last batch may be shorter.

    Args:
        frames: pictures of one size.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels.
        batch_size: frames in one call of the engine.
    """
    rest = iter(frames)
    for first in rest:
        taken = tuple(chain((first,), islice(rest, batch_size - 1)))
        yield Batch(taken, engine.alpha(network_input([frame.pixels for frame in taken], input_size)))


def warm_up(engine: Engine, info: VideoInfo, input_size: int) -> None:
    """Runs `engine` once on a black frame, so that a live source need not wait while it compiles."""
    black = np.zeros((info.height_px, info.width_px, 3), np.uint8)
    engine.alpha(network_input([black], input_size))


def network_input(pictures: list[Pixels], input_size: int) -> Tensor:
    """RGB pictures `(H, W, 3)` of one size -> normalised `(N, 3, h, w)`, averaged over the pixels when shrunk."""
    height, width = pictures[0].shape[:2]
    small_height, small_width = network_size(height, width, input_size)
    method = cv2.INTER_AREA if small_height <= height and small_width <= width else cv2.INTER_LINEAR
    small = np.empty((len(pictures), small_height, small_width, 3), np.uint8)
    for picture, target in zip(pictures, small, strict=True):
        cv2.resize(picture, (small_width, small_height), dst=target, interpolation=method)
    return normalise(torch.from_numpy(small).permute(0, 3, 1, 2))


def network_size(height: int, width: int, input_size: int) -> tuple[int, int]:
    """Height and width of the network's input in pixels for a frame of `height` x `width`.

    The long side becomes `input_size` and the short side keeps the proportions, both rounded to multiples of 32,
    halves up.
    """
    scale = Fraction(input_size, max(height, width))
    return _nearest_multiple(height * scale), _nearest_multiple(width * scale)


def normalise(pixels: Tensor) -> Tensor:
    """RGB uint8 `(..., 3, h, w)` -> float32 with ImageNet's mean and deviation taken out."""
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=pixels.device).view(3, 1, 1)
    return pixels.float().div_(255).sub_(mean).div_(std)


def _nearest_multiple(length: Fraction) -> int:
    return max(STRIDE_PX, math.floor(length / STRIDE_PX + Fraction(1, 2)) * STRIDE_PX)


def _openvino(net: U2Net) -> Engine:
    from streamseg.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(net)


def _torch(net: U2Net) -> Engine:
    from streamseg.engines.torch_engine import TorchEngine

    return TorchEngine(net)


ENGINES: dict[str, Callable[[U2Net], Engine]] = {"openvino": _openvino, "torch": _torch}
"""In the order that `auto` tries them on a CPU."""
