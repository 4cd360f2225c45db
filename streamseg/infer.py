"""Station 2: frames become batches with a matte."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg import cpu, cuda
from streamseg.config import InferSettings
from streamseg.errors import EngineError
from streamseg.foreign import ForeignNet
from streamseg.frames import Batch, Frame, Pixels, VideoInfo, colours
from streamseg.planes import Planes
from streamseg.precision import chosen_model
from streamseg.quantised import QuantisedNet
from streamseg.u2net import STRIDE_PX
from streamseg.weights import load_model

if TYPE_CHECKING:
    from streamseg.engines.onnx_engine import OnnxEngine
    from streamseg.engines.openvino_engine import OpenVinoEngine
    from streamseg.engines.torch_engine import TorchEngine
    from streamseg.weights import Model

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MARGIN_PX = 8
"""Least width of the repeated edge around the frame: what the input's own border cuts off, networks tend to lose."""

TALL_WIDTH = Fraction(2, 3)
"""Least width of a tall frame as a share of the input size: in phone video the person fills the width, and in a
narrower picture networks tend to lose the body."""

TALL_GROWTH = Fraction(13, 10)
"""How many times the input size a tall frame may reach for that width."""

TIMED_CALLS = 5
"""Calls of an engine that its time is the median of."""


class Engine(Protocol):
    """Runs the network on whatever it runs best."""

    name: str
    device: str

    def alpha(self, frames: Tensor) -> Tensor:
        """Normalised RGB `(N, 3, h, w)` -> alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU."""
        ...


@runtime_checkable
class StreamedEngine(Protocol):
    """An engine that takes batches before the mattes of earlier ones are there.

    Attributes:
        in_flight: how many more batches may be given before a matte is asked for.
    """

    in_flight: int

    def submit(self, small: Pixels) -> Callable[[], Tensor]:
        """RGB `(N, h, w, 3)` -> what waits for their alpha `(N, 1, h, w)`, as that of `Engine`."""
        ...


@runtime_checkable
class SizedEngine(Protocol):
    """An engine whose network may take one size only.

    Attributes:
        long_side_px: of that size; None where it takes any.
    """

    long_side_px: int | None


def long_side(engine: Engine, input_size: int) -> int:
    """The long side of the network's input: its own where it takes one size only, else what the settings say."""
    return (engine.long_side_px if isinstance(engine, SizedEngine) else None) or input_size


def mattes_of(engine: Engine, batches: Iterable[Pixels]) -> Iterator[Tensor]:
    """What `small_pictures` made -> alpha `(N, 1, h, w)`, batch for batch; ahead of them where the engine can be."""
    if isinstance(engine, StreamedEngine):
        return cuda.in_order(batches, engine.submit, engine.in_flight)
    return (engine.alpha(network_tensor(small)) for small in batches)


def matte_of(engine: Engine, small: Pixels) -> Tensor:
    """The same for one batch."""
    return next(mattes_of(engine, [small]))


def open_engine(name: str, net: Model, threads: int | None = None) -> Engine:
    """Opens an engine by name; `auto` takes CUDA where there is one, else the first of `UNASKED` that opens.

    PyTorch does not run int8 networks, nor those from elsewhere.

    Args:
        name: of `ENGINES`, or `auto`.
        net: the network.
        threads: of the engine on a CPU, where not all cores are for it.

    Raises:
        EngineError: the engine does not open, with the reason; for `auto`, none does, with each one's reason.
    """
    names = list(UNASKED) if name == "auto" else [name]
    if name == "auto" and cuda.best_device().type == "cuda" and not isinstance(net, QuantisedNet | ForeignNet):
        names = ["torch"]
    reasons: list[str] = []
    for candidate in names:
        if candidate not in ENGINES:
            raise EngineError(f"unknown engine {name!r}; known are auto, {', '.join(ENGINES)}")
        try:
            return ENGINES[candidate](net, threads)
        except (ImportError, RuntimeError) as error:
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            reasons.append(f"{candidate}: {first_line}")
    raise EngineError("no inference engine opens: " + "; ".join(reasons))


def engine_of(settings: InferSettings, live: bool = False) -> Engine:
    """Opens the engine that the settings name, with their weights; raises as `open_engine` and `load_model`.

    The model `auto` is that of files and photos; `select.engine_for` chooses one for a live source.

    For a live source it leaves a core to the other stations, which have to keep the camera's pace. On two cores that
    are busy anyway it is hardly slower for it.
    """
    return open_engine(settings.engine, load_model(chosen_model(settings)), max(1, cpu.cores() - 1) if live else None)


@dataclass(frozen=True, slots=True)
class Inset:
    """Where a frame lies in the network's input; its repeated edges fill the rest. All in pixels."""

    top: int
    left: int
    height: int
    width: int
    input_height: int
    input_width: int

    @classmethod
    def of(cls, height: int, width: int, input_size: int) -> Inset:
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

    def fill(self, picture: Pixels | Planes, target: Pixels) -> None:
        """Resizes a picture into `target` in RGB, averaged over the pixels when shrunk, and repeats its edges."""
        small = self._resized(picture)
        cv2.copyMakeBorder(small, self.top, self.bottom, self.left, self.right, cv2.BORDER_REPLICATE, dst=target)

    def _resized(self, picture: Pixels | Planes) -> Pixels:
        shrinks = self.height <= picture.shape[0] and self.width <= picture.shape[1]
        if not isinstance(picture, np.ndarray):
            if shrinks:
                return picture.reduced(self.width, self.height)
            picture = picture.rgb
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(colours(picture), (self.width, self.height), interpolation=method)
        return resized.astype(np.uint8, copy=False)


def infer(frames: Iterable[Frame], engine: Engine, input_size: int, batch_size: int = 1) -> Iterator[Batch]:
    """Runs `engine` on `batch_size` frames at a time; the last batch may be shorter.

    Args:
        frames: pictures of one size.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Inset.of`.
        batch_size: frames in one call of the engine.
    """
    input_size = long_side(engine, input_size)
    waiting: deque[tuple[tuple[Frame, ...], Inset]] = deque()

    def batches() -> Iterator[Pixels]:
        for taken in in_batches(frames, batch_size):
            waiting.append((taken, inset_of(taken[0], input_size)))
            yield small_pictures([frame.picture for frame in taken], waiting[-1][1])

    for alpha in mattes_of(engine, batches()):
        taken, inset = waiting.popleft()
        yield Batch(taken, inset.crop(alpha))


def inset_of(frame: Frame, input_size: int) -> Inset:
    """Where the frame lies in the network's input."""
    height, width, _ = frame.picture.shape
    return Inset.of(height, width, input_size)


def in_batches(frames: Iterable[Frame], batch_size: int) -> Iterator[tuple[Frame, ...]]:
    """So many at a time; the last may be fewer."""
    rest = iter(frames)
    return iter(lambda: tuple(islice(rest, batch_size)), ())


def warm_up(engine: Engine, info: VideoInfo, input_size: int) -> None:
    """Runs `engine` once on a black frame, so that a live source need not wait while it compiles."""
    matte_of(engine, black_pictures(info, long_side(engine, input_size)))


def call_seconds(engine: Engine, small: Pixels, clock: Callable[[], float] = time.perf_counter) -> float:
    """The time of a call of the engine alone on what `small_pictures` made: the median of a few, when it is warm.

    Args:
        engine: what `open_engine` returned.
        small: its batch.
        clock: tells the time in seconds.
    """
    matte_of(engine, small)
    calls = []
    for _ in range(TIMED_CALLS):
        started = clock()
        matte_of(engine, small)
        calls.append(clock() - started)
    return median(calls)


def black_pictures(info: VideoInfo, input_size: int, batch_size: int = 1) -> Pixels:
    """Black frames at the network's size: `(batch_size, input_height, input_width, 3)`."""
    inset = Inset.of(info.height_px, info.width_px, input_size)
    return np.zeros((batch_size, inset.input_height, inset.input_width, 3), np.uint8)


def network_input(pictures: Sequence[Pixels | Planes], inset: Inset) -> Tensor:
    """Pictures of the size that `inset` is for -> normalised `(N, 3, input_height, input_width)`."""
    return network_tensor(small_pictures(pictures, inset))


def small_pictures(pictures: Sequence[Pixels | Planes], inset: Inset) -> Pixels:
    """Pictures of the size that `inset` is for -> RGB `(N, input_height, input_width, 3)`."""
    small = np.empty((len(pictures), inset.input_height, inset.input_width, 3), np.uint8)
    for picture, target in zip(pictures, small, strict=True):
        inset.fill(picture, target)
    return small


def network_tensor(small: Pixels) -> Tensor:
    """What `small_pictures` made -> normalised `(N, 3, input_height, input_width)`."""
    return normalise(torch.from_numpy(small).permute(0, 3, 1, 2))


def normalise(pixels: Tensor) -> Tensor:
    """RGB uint8 `(..., 3, h, w)` -> float32 with ImageNet's mean and deviation taken out."""
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=pixels.device).view(3, 1, 1)
    return pixels.float().div_(255).sub_(mean).div_(std)


def _rounded(length: Fraction) -> int:
    return max(1, math.floor(length + Fraction(1, 2)))


def _divisible(length: int) -> int:
    """The next multiple of what the network divides by."""
    return -(-length // STRIDE_PX) * STRIDE_PX


def _openvino(net: Model, threads: int | None) -> Engine:
    from streamseg.engines.openvino_engine import OpenVinoEngine

    return _fitted(OpenVinoEngine, net, threads)


def _onnx(net: Model, threads: int | None) -> Engine:
    try:
        from streamseg.engines.onnx_engine import OnnxEngine

        return _fitted(OnnxEngine, net, threads)
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'streamseg[onnx]'") from error


def _fitted(engine: type[OpenVinoEngine] | type[OnnxEngine], net: Model, threads: int | None) -> Engine:
    """The engine itself, or what lies between it and a network from elsewhere."""
    from streamseg.engines.foreign_engine import ForeignEngine

    return ForeignEngine(engine, net, threads) if isinstance(net, ForeignNet) else engine(net, threads)


def _torch(net: Model, threads: int | None) -> TorchEngine:
    from streamseg.engines.torch_engine import StreamedEngine, TorchEngine

    on_gpu = cuda.best_device().type == "cuda"
    return StreamedEngine(net) if on_gpu else TorchEngine(net, threads=threads)


def _torch_compile(net: Model, threads: int | None) -> Engine:
    engine = _torch(net, threads)
    engine.compile()
    return engine


UNASKED = ("openvino", "onnx", "torch")
"""What `auto` tries on a CPU, in this order."""

ENGINES: dict[str, Callable[[Model, int | None], Engine]] = {
    "openvino": _openvino,
    "onnx": _onnx,
    "torch": _torch,
    "torch-compile": _torch_compile,
}
