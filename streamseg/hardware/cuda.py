"""CUDA: device choice, streams, staging buffers and CUDA graphs; the only file that uses torch.cuda.

On a CPU, PyTorch's streams and events do nothing and copies are synchronous: the same code runs there, and is tested.
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
Item = TypeVar("Item")
Result = TypeVar("Result")

SLOTS = 3
"""Items on a GPU at a time: one is uploaded, one computed and one downloaded."""

RUNS_BEFORE_CAPTURE = 3
"""Runs before a CUDA graph is recorded: libraries choose kernels and allocate memory in the first ones."""


def best_device() -> torch.device:
    """Return the GPU if this build of PyTorch can use one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def chosen_device(setting: str) -> torch.device:
    """Return the device for the setting `auto`, `cpu` or `cuda`.

    Raises:
        EngineError: `cuda`, and this build of PyTorch can use no GPU.
    """
    if setting == "cuda" and best_device().type != "cuda":
        raise EngineError(
            "no GPU that PyTorch can use: leave the setting device at auto, or install PyTorch's build for CUDA"
        )
    return best_device() if setting == "auto" else torch.device(setting)


def device_name(device: torch.device) -> str:
    """Return the device's name for people, with the model of a GPU."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def inference_dtype(device: torch.device) -> torch.dtype:
    """Return float16 for a GPU, with a sixth of bfloat16's error in the matte, and float32 for a CPU."""
    return torch.float16 if device.type == "cuda" else torch.float32


def to_device(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to `device` through pinned memory, without waiting for earlier work on a GPU."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


Buffer = tuple[tuple[int, ...], torch.dtype]
"""Shape and dtype of a buffer."""


class CudaStreams:
    """Streams for upload, computation and download, which a GPU runs at the same time.

    Attributes:
        device: of the streams.
        upload: stream for copies to the device.
        compute: stream for kernels.
        download: stream for copies to the host.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._streams: Any = torch.get_device_module(device)
        self.upload, self.compute, self.download = (self._streams.Stream() for _ in range(3))

    def event(self) -> Any:
        """Create an event, which marks a position in a stream."""
        return self._streams.Event()

    @contextmanager
    def on(self, stream: Any, after: Any | None, done: Any) -> Iterator[None]:
        """Queue the work of the `with` block on a stream.

        Args:
            stream: one of the three streams.
            after: event of another stream that the work waits for; None for none.
            done: event recorded at the end of the work.
        """
        with self._streams.stream(stream):
            if after is not None:
                after.wait(stream)
            yield
            done.record(stream)

    def synchronize(self) -> None:
        """Wait until the device has finished all queued work."""
        self._streams.synchronize()

    def host_buffer(self, buffer: Buffer) -> Tensor:
        """Allocate a host tensor, in pinned memory for a GPU, so that copies do not block the CPU."""
        shape, dtype = buffer
        return torch.empty(shape, dtype=dtype, pin_memory=self.device.type == "cuda")


class StagingBuffers:
    """Buffers of one item on its way to a device and back, reused for later items.

    Attributes:
        inputs: on the host; fill them before `run`, after the last result has been read.
    """

    def __init__(self, streams: CudaStreams, inputs: Sequence[Buffer], result: Buffer) -> None:
        self._streams = streams
        self.inputs = [streams.host_buffer(buffer) for buffer in inputs]
        self._device_inputs = [tensor.to(streams.device, copy=True) for tensor in self.inputs]
        self._result = streams.host_buffer(result)
        self._computed = self._result.to(streams.device, copy=True)
        self._uploaded, self._ready, self._done = (streams.event() for _ in range(3))

    def run(self, work: Callable[..., Tensor], changed: int | None = None) -> None:
        """Queue upload, computation and download, and return at once.

        Args:
            work: maps the inputs on the device to the result.
            changed: number of leading `inputs` that changed since the last run; None for all.
        """
        streams = self._streams
        with streams.on(streams.upload, after=None, done=self._uploaded):
            for device_input, host_input in zip(self._device_inputs[:changed], self.inputs[:changed], strict=True):
                device_input.copy_(host_input, non_blocking=True)
        with streams.on(streams.compute, after=self._uploaded, done=self._ready):
            self._computed.copy_(work(*self._device_inputs))
        with streams.on(streams.download, after=self._ready, done=self._done):
            self._result.copy_(self._computed, non_blocking=True)

    def result(self) -> Tensor:
        """Wait for the download; return the result, valid until the next `run`."""
        self._done.synchronize()
        return self._result


def in_order(items: Iterable[Item], submit: Callable[[Item], Callable[[], Result]], ahead: int) -> Iterator[Result]:
    """Yield results in order, while up to `ahead` more items are submitted already.

    Args:
        items: inputs.
        submit: queues an item and returns at once, with a function that waits for its result.
        ahead: items in flight behind the one that is waited for.
    """
    waiting: deque[Callable[[], Result]] = deque()
    for item in items:
        waiting.append(submit(item))
        if len(waiting) > ahead:
            yield waiting.popleft()()
    yield from (result() for result in waiting)


def capture_graph(streams: CudaStreams, network: Network, example: Tensor) -> Network:
    """Capture a network as one CUDA graph, launched at once instead of kernel by kernel; wait for the device.

    Args:
        streams: of the device.
        network: what to capture; returned unchanged on a CPU.
        example: input whose shape and dtype all later inputs have.

    Returns:
        The network, whose result is overwritten by its next call.
    """
    streams.synchronize()
    with streams.on(streams.compute, after=None, done=streams.event()):
        graph = _record_graph(network, example)
    streams.synchronize()
    return graph


def _record_graph(network: Network, example: Tensor) -> Network:
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
