"""PyTorch engine: the network on a CUDA GPU, or on the CPU where no other engine opens."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from streamseg.hardware import cuda
from streamseg.image import Pixels
from streamseg.infer.engines.base import IMAGENET_MEAN, IMAGENET_STD
from streamseg.model.foreign import ForeignNet
from streamseg.model.quantized import QuantizedNet
from streamseg.model.u2net import FusedU2Net
from streamseg.model.weights import Model


class TorchEngine:
    """Runs the fused network in channels-last order, in half precision on a GPU.

    Attributes:
        torch_device: where the network lies.
        device: `torch_device` for people, with the GPU's model.
    """

    name = "torch"

    def __init__(self, net: Model, device: torch.device | None = None, threads: int | None = None) -> None:
        if isinstance(net, QuantizedNet):
            raise RuntimeError(f"{net.path.name} is an int8 network, which PyTorch does not run: name float32 weights")
        if isinstance(net, ForeignNet):
            raise RuntimeError(f"{net.path.name} is an ONNX graph, which PyTorch does not run: take openvino or onnx")
        if threads:
            torch.set_num_threads(threads)  # of the whole process: PyTorch knows no others
        torch_device = device or cuda.best_device()
        self.torch_device, self._dtype = torch_device, cuda.inference_dtype(torch_device)
        fused = FusedU2Net(net)
        self._net = fused.to(torch_device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = cuda.device_name(torch_device)

    def compile(self) -> None:
        """Compile the network with `torch.compile`: a minute for every frame size, then faster frames."""
        self._net.compile()

    @torch.inference_mode()
    def alpha(self, frames: Tensor) -> Tensor:
        """Compute alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU, for normalised RGB `(N, 3, h, w)`."""
        batch = frames.to(self.torch_device, self._dtype, memory_format=torch.channels_last)
        result: Tensor = self._net(batch)
        return result.float().cpu()


class StreamedEngine(TorchEngine):
    """Runs several batches at a time on a GPU: uploads the next one while it computes one and downloads another."""

    in_flight = cuda.SLOTS - 1

    def __init__(self, net: Model, device: torch.device | None = None) -> None:
        super().__init__(net, device)
        self._streams = cuda.CudaStreams(self.torch_device)
        self._buffers: deque[cuda.StagingBuffers] = deque()
        self._submitting = threading.Lock()  # Live, photos and other input sizes come from other threads.
        self._network: cuda.Network = self._matte
        self._mean, self._std = (
            torch.tensor(values, device=self.torch_device).view(3, 1, 1) * 255
            for values in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def on_device(self, rgb: Tensor) -> Tensor:
        """Compute alpha for RGB `(N, 3, h, w)` in [0, 255] -> `(N, 1, h, w)` in [0, 1], both float32 on the device."""
        frames = (rgb - self._mean) / self._std
        alpha: Tensor = self._net(frames.to(self._dtype, memory_format=torch.channels_last))
        return alpha.float()

    @torch.inference_mode()
    def submit(self, small: Pixels) -> Callable[[], Tensor]:
        """Queue a batch and return at once.

        Args:
            small: RGB `(N, h, w, 3)` uint8; batches shorter than an earlier one take as long as that one.

        Returns:
            A function that waits for the alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU; call it while fewer than
            `cuda.SLOTS` batches have been submitted after this one.
        """
        with self._submitting:
            buffers, count = self._next_buffers(small.shape), len(small)
            buffers.inputs[0][:count].copy_(torch.from_numpy(small))
            buffers.run(self._network)
        return lambda: buffers.result()[:count].clone()

    def _next_buffers(self, shape: tuple[int, ...]) -> cuda.StagingBuffers:
        """Return the buffers used longest ago; allocate new ones for a new or larger shape."""
        count, *size = shape
        kept = self._buffers[0].inputs[0].shape if self._buffers else torch.Size((0, *size))
        if list(kept[1:]) != size or kept[0] < count:
            self._prepare(shape)
        self._buffers.rotate(-1)
        return self._buffers[-1]

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Allocate buffers and capture the network for batches `(N, h, w, 3)`."""
        streams, matte = self._streams, (shape[0], 1, *shape[1:3])
        pixels, alpha = (shape, torch.uint8), (matte, torch.float32)
        self._buffers = deque(cuda.StagingBuffers(streams, [pixels], alpha) for _ in range(cuda.SLOTS))
        example = torch.zeros(shape, dtype=torch.uint8, device=self.torch_device)
        self._network = cuda.capture_graph(streams, self._matte, example)

    def _matte(self, pixels: Tensor) -> Tensor:
        """Compute alpha `(N, 1, h, w)` in [0, 1] for RGB `(N, h, w, 3)` uint8, both on the device."""
        return self.on_device(pixels.permute(0, 3, 1, 2).float())
