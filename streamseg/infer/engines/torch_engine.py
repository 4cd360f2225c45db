"""The network on PyTorch: CUDA where there is one, else the CPU."""

from __future__ import annotations

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
    """Runs the fused network in channels-last order, in half precision on a GPU."""

    name = "torch"

    def __init__(self, net: Model, device: torch.device | None = None, threads: int | None = None) -> None:
        if isinstance(net, QuantizedNet):
            raise RuntimeError(f"{net.path.name} is an int8 network, which PyTorch does not run: name float32 weights")
        if isinstance(net, ForeignNet):
            raise RuntimeError(f"{net.path.name} is an ONNX graph, which PyTorch does not run: take openvino or onnx")
        if threads:
            torch.set_num_threads(threads)  # of the whole process: PyTorch knows no others
        place = device or cuda.best_device()
        self.place, self._dtype = place, cuda.inference_dtype(place)
        fused = FusedU2Net(net)
        self._net = fused.to(place, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = cuda.told(place)

    def compile(self) -> None:
        """Before the first frame: a minute of work for every size of frames, which are then faster."""
        self._net.compile()

    @torch.inference_mode()
    def alpha(self, frames: Tensor) -> Tensor:
        """Normalised `(N, 3, h, w)` -> alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU."""
        placed = frames.to(self.place, self._dtype, memory_format=torch.channels_last)
        result: Tensor = self._net(placed)
        return result.float().cpu()


class StreamedEngine(TorchEngine):
    """Takes batches before the mattes of earlier ones are there: copies and computation of several go on at a time."""

    in_flight = cuda.SLOTS - 1

    def __init__(self, net: Model, device: torch.device | None = None) -> None:
        super().__init__(net, device)
        self._streams = cuda.CudaStreams(self.place)
        self._slots: deque[cuda.StagingBuffers] = deque()
        self._network: cuda.Network = self._matte
        self._mean, self._std = (
            torch.tensor(values, device=self.place).view(3, 1, 1) * 255 for values in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def on_device(self, rgb: Tensor) -> Tensor:
        """RGB `(N, 3, h, w)` in levels of 255 -> alpha `(N, 1, h, w)`, both float32 on the device."""
        frames = (rgb - self._mean) / self._std
        alpha: Tensor = self._net(frames.to(self._dtype, memory_format=torch.channels_last))
        return alpha.float()

    @torch.inference_mode()
    def submit(self, small: Pixels) -> Callable[[], Tensor]:
        """Queues a batch and returns at once.

        Args:
            small: RGB `(N, h, w, 3)`; once one was that large, shorter ones take as long.

        Returns:
            What waits for its alpha `(N, 1, h, w)`, float32 on the CPU; to be called while fewer than `cuda.SLOTS`
            batches were queued after it.
        """
        slot, count = self._next_slot(small.shape), len(small)
        slot.inputs[0][:count].copy_(torch.from_numpy(small))
        slot.run(self._network)
        return lambda: slot.result()[:count].clone()

    def _next_slot(self, shape: tuple[int, ...]) -> cuda.StagingBuffers:
        """The one that was used longest ago."""
        count, *size = shape
        kept = self._slots[0].inputs[0].shape if self._slots else torch.Size((0, *size))
        if list(kept[1:]) != size or kept[0] < count:
            self._prepare(shape)
        self._slots.rotate(-1)
        return self._slots[-1]

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """New slots and a captured network for batches of `(N, h, w, 3)`."""
        streams, matte = self._streams, (shape[0], 1, *shape[1:3])
        given, alpha = (shape, torch.uint8), (matte, torch.float32)
        self._slots = deque(cuda.StagingBuffers(streams, [given], alpha) for _ in range(cuda.SLOTS))
        example = torch.zeros(shape, dtype=torch.uint8, device=self.place)
        self._network = cuda.captured(streams, self._matte, example)

    def _matte(self, pixels: Tensor) -> Tensor:
        """RGB uint8 `(N, h, w, 3)` -> alpha `(N, 1, h, w)`, both on the device."""
        return self.on_device(pixels.permute(0, 3, 1, 2).float())
