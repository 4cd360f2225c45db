"""The engine protocol, ImageNet normalisation, and batched or pipelined calls of an engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from streamseg.hardware import cuda
from streamseg.image import Pixels

IMAGENET_MEAN = (0.485, 0.456, 0.406)

IMAGENET_STD = (0.229, 0.224, 0.225)

TIMED_CALLS = 5
"""Calls whose median is the time of an engine."""


class Engine(Protocol):
    """Runs the network.

    Attributes:
        name: of the engine, such as `openvino`.
        device: for people, such as `cpu` or `cuda (NVIDIA H100)`.
    """

    name: str
    device: str

    def alpha(self, frames: Tensor) -> Tensor:
        """Compute alpha.

        Args:
            frames: RGB `(N, 3, h, w)` float32 on the CPU, normalised with ImageNet's mean and standard deviation.

        Returns:
            Alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU.
        """
        ...


@runtime_checkable
class StreamedEngine(Protocol):
    """An engine that takes more batches before it has finished earlier ones.

    Attributes:
        in_flight: batches that may be submitted behind the one whose matte is waited for.
    """

    in_flight: int

    def submit(self, small: Pixels) -> Callable[[], Tensor]:
        """Queue RGB `(N, h, w, 3)` uint8 and return at once.

        Returns:
            A function that waits for the alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU.
        """
        ...


@runtime_checkable
class SizedEngine(Protocol):
    """An engine whose network may take only one size.

    Attributes:
        long_side_px: long side of that size; None if the network takes any.
    """

    long_side_px: int | None


def long_side(engine: Engine, input_size: int) -> int:
    """Return the long side of the network's input in pixels: `input_size`, unless the network has its own size."""
    return (engine.long_side_px if isinstance(engine, SizedEngine) else None) or input_size


def predict(engine: Engine, batches: Iterable[Pixels]) -> Iterator[Tensor]:
    """Compute alpha for batches of network inputs; a streamed engine runs ahead of the consumer.

    Args:
        engine: what `open_engine` returned.
        batches: RGB `(N, h, w, 3)` uint8, as `small_images` makes them.

    Returns:
        Alpha `(N, 1, h, w)` in [0, 1] of each batch, in order.
    """
    if isinstance(engine, StreamedEngine):
        return cuda.in_order(batches, engine.submit, engine.in_flight)
    return (engine.alpha(network_tensor(small)) for small in batches)


def predict_one(engine: Engine, small: Pixels) -> Tensor:
    """Compute alpha `(N, 1, h, w)` for one batch of network inputs `(N, h, w, 3)` uint8."""
    return next(predict(engine, [small]))


def call_seconds(engine: Engine, small: Pixels, clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure a call of a warm engine: the median of `TIMED_CALLS`, in seconds.

    Args:
        engine: what `open_engine` returned.
        small: network inputs, RGB `(N, h, w, 3)` uint8.
        clock: returns the time in seconds.
    """
    predict_one(engine, small)
    calls = []
    for _ in range(TIMED_CALLS):
        started = clock()
        predict_one(engine, small)
        calls.append(clock() - started)
    return median(calls)


def network_tensor(small: Pixels) -> Tensor:
    """Normalise network inputs: RGB `(N, h, w, 3)` uint8 -> float32 `(N, 3, h, w)`."""
    return normalise(torch.from_numpy(small).permute(0, 3, 1, 2))


def normalise(pixels: Tensor) -> Tensor:
    """Normalise RGB `(..., 3, h, w)` uint8 with ImageNet's mean and standard deviation -> float32 of the same shape."""
    mean = torch.tensor(IMAGENET_MEAN, device=pixels.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=pixels.device).view(3, 1, 1)
    return pixels.float().div_(255).sub_(mean).div_(std)
