"""What every engine does, and how the stages call one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor

from streamseg.hardware import cuda
from streamseg.image import Pixels

if TYPE_CHECKING:
    pass


IMAGENET_MEAN = (0.485, 0.456, 0.406)

IMAGENET_STD = (0.229, 0.224, 0.225)

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


def predict(engine: Engine, batches: Iterable[Pixels]) -> Iterator[Tensor]:
    """What `small_pictures` made -> alpha `(N, 1, h, w)`, batch for batch; ahead of them where the engine can be."""
    if isinstance(engine, StreamedEngine):
        return cuda.in_order(batches, engine.submit, engine.in_flight)
    return (engine.alpha(network_tensor(small)) for small in batches)


def predict_one(engine: Engine, small: Pixels) -> Tensor:
    """The same for one batch."""
    return next(predict(engine, [small]))


def call_seconds(engine: Engine, small: Pixels, clock: Callable[[], float] = time.perf_counter) -> float:
    """The time of a call of the engine alone on what `small_pictures` made: the median of a few, when it is warm.

    Args:
        engine: what `open_engine` returned.
        small: its batch.
        clock: tells the time in seconds.
    """
    predict_one(engine, small)
    calls = []
    for _ in range(TIMED_CALLS):
        started = clock()
        predict_one(engine, small)
        calls.append(clock() - started)
    return median(calls)


def network_tensor(small: Pixels) -> Tensor:
    """What `small_pictures` made -> normalised `(N, 3, input_height, input_width)`."""
    return normalise(torch.from_numpy(small).permute(0, 3, 1, 2))


def normalise(pixels: Tensor) -> Tensor:
    """RGB uint8 `(..., 3, h, w)` -> float32 with ImageNet's mean and deviation taken out."""
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=pixels.device).view(3, 1, 1)
    return pixels.float().div_(255).sub_(mean).div_(std)
