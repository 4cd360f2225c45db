"""The only file that names torch.cuda; everything else asks here.

On a CPU, PyTorch's streams and events do nothing and copies are done at once: the same code runs there, and is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

Network = Callable[[Tensor], Tensor]

RUNS_BEFORE_CAPTURE = 3
"""Libraries choose their kernels and get their memory in the first runs, which a graph must not record."""


def best_device() -> torch.device:
    """The GPU where there is one that this build of PyTorch can use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def inference_dtype(device: torch.device) -> torch.dtype:
    """Half precision on a GPU, whose error in the matte is a sixth of bfloat16's; float32 on a CPU."""
    return torch.float16 if device.type == "cuda" else torch.float32


class Lanes:
    """Upload, computation and download on streams of their own, so that a GPU does all three at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._streams: Any = torch.get_device_module(device)
        self.upload, self.compute, self.download = (self._streams.Stream() for _ in range(3))

    def event(self) -> Any:
        """Marks a place in a stream's work."""
        return self._streams.Event()

    @contextmanager
    def on(self, stream: Any, after: Any | None, done: Any) -> Iterator[None]:
        """Queues what is done inside on `stream`, behind the event `after` of another one; `done` marks its end."""
        with self._streams.stream(stream):
            if after is not None:
                after.wait(stream)
            yield
            done.record(stream)

    def settle(self) -> None:
        """Waits until the device has done all that it was given."""
        self._streams.synchronize()

    def host_buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory that a GPU copies from and to while the CPU goes on."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._device.type == "cuda")


def captured(network: Network, example: Tensor) -> Network:
    """The same network for inputs like `example`, as one CUDA graph: queued at once, not kernel by kernel.

    Its result is overwritten by the next call. On a CPU it is the network as it is.
    """
    if example.device.type != "cuda":
        return network
    for _ in range(RUNS_BEFORE_CAPTURE):
        network(example)
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the GPU meanwhile.
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
        result = network(example)

    def replay(frames: Tensor) -> Tensor:
        example.copy_(frames)
        graph.replay()
        return result

    return replay
