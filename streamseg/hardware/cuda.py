"""The only file that names torch.cuda; everything else asks here.

On a CPU, PyTorch's streams and events do nothing and copies are done at once: the same code runs there, and is tested.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamseg.errors import EngineError

Network = Callable[[Tensor], Tensor]
Given = TypeVar("Given")
Result = TypeVar("Result")

SLOTS = 3
"""Items on their way to a GPU and back: one is uploaded while another is computed and a third downloaded."""

RUNS_BEFORE_CAPTURE = 3
"""Libraries choose their kernels and get their memory in the first runs, which a graph must not record."""


def best_device() -> torch.device:
    """The GPU where there is one that this build of PyTorch can use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def chosen_device(setting: str) -> torch.device:
    """The device that a setting names: `auto`, `cpu` or `cuda`.

    Raises:
        EngineError: there is no GPU that this build of PyTorch can use.
    """
    if setting == "cuda" and best_device().type != "cuda":
        raise EngineError("no GPU that PyTorch can use: leave --device cuda out, or install PyTorch's build for CUDA")
    return best_device() if setting == "auto" else torch.device(setting)


def told(device: torch.device) -> str:
    """The device for people, a GPU with its model's name."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def inference_dtype(device: torch.device) -> torch.dtype:
    """Half precision on a GPU, whose error in the matte is a sixth of bfloat16's; float32 on a CPU."""
    return torch.float16 if device.type == "cuda" else torch.float32


def sent(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """The values on `device`, which may still be busy with earlier work: a plain copy to a GPU would wait for that."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


Buffer = tuple[tuple[int, ...], torch.dtype]
"""Shape and type of what is kept."""


class CudaStreams:
    """Upload, computation and download on streams of their own, so that a GPU does all three at a time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
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

    def synchronize(self) -> None:
        """Waits until the device has done all that it was given."""
        self._streams.synchronize()

    def host_buffer(self, buffer: Buffer) -> Tensor:
        """Memory that a GPU copies from and to while the CPU goes on."""
        shape, dtype = buffer
        return torch.empty(shape, dtype=dtype, pin_memory=self.device.type == "cuda")


class StagingBuffers:
    """What one item needs on its way to a device and back, kept for the items after it.

    Attributes:
        given: on the host, to be filled before `run`; the last result must have been taken.
    """

    def __init__(self, streams: CudaStreams, given: Sequence[Buffer], result: Buffer) -> None:
        self._streams = streams
        self.inputs = [streams.host_buffer(buffer) for buffer in given]
        self._placed = [tensor.to(streams.device, copy=True) for tensor in self.inputs]
        self._result = streams.host_buffer(result)
        self._computed = self._result.to(streams.device, copy=True)
        self._uploaded, self._ready, self._done = (streams.event() for _ in range(3))

    def run(self, work: Callable[..., Tensor], changed: int | None = None) -> None:
        """Queues upload, computation and download; returns at once.

        Args:
            work: from what was given, on the device, to the result.
            changed: how many of `given`, counted from the first, are other than at the last run; all if not said.
        """
        streams = self._streams
        with streams.on(streams.upload, after=None, done=self._uploaded):
            for placed, given in zip(self._placed[:changed], self.inputs[:changed], strict=True):
                placed.copy_(given, non_blocking=True)
        with streams.on(streams.compute, after=self._uploaded, done=self._ready):
            self._computed.copy_(work(*self._placed))
        with streams.on(streams.download, after=self._ready, done=self._done):
            self._result.copy_(self._computed, non_blocking=True)

    def result(self) -> Tensor:
        """Waits for the download; of use until the next `run`."""
        self._done.synchronize()
        return self._result


def in_order(items: Iterable[Given], submit: Callable[[Given], Callable[[], Result]], ahead: int) -> Iterator[Result]:
    """Results one by one, while up to `ahead` more items have been given to `submit` already.

    Args:
        items: what there is to do.
        submit: queues one and returns at once with what waits for its result.
        ahead: how many may be on their way behind the one that is waited for.
    """
    waiting: deque[Callable[[], Result]] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) > ahead:
            yield waiting.popleft()()
    yield from (result() for result in waiting)


def captured(streams: CudaStreams, network: Network, example: Tensor) -> Network:
    """The same network for inputs like `example`, as one CUDA graph: queued at once, not kernel by kernel.

    Its result is overwritten by the next call. On a CPU it is the network as it is. Waits for the device.
    """
    streams.synchronize()
    with streams.on(streams.compute, after=None, done=streams.event()):
        graph = _graph(network, example)
    streams.synchronize()
    return graph


def _graph(network: Network, example: Tensor) -> Network:
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
