"""The network on PyTorch: CUDA where there is one, else the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from streamseg import cuda
from streamseg.quantised import QuantisedNet
from streamseg.u2net import FusedU2Net, U2Net


class TorchEngine:
    """Runs the fused network in channels-last order, in half precision on a GPU."""

    name = "torch"

    def __init__(
        self, net: U2Net | QuantisedNet, device: torch.device | None = None, threads: int | None = None
    ) -> None:
        if isinstance(net, QuantisedNet):
            raise RuntimeError(f"{net.path.name} is an int8 network, which PyTorch does not run: name float32 weights")
        if threads:
            torch.set_num_threads(threads)  # of the whole process: PyTorch knows no others
        place = device or cuda.best_device()
        self.device = str(place)
        self._place, self._dtype = place, cuda.inference_dtype(place)
        fused = FusedU2Net(net)
        self._net = fused.to(place, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def alpha(self, frames: Tensor) -> Tensor:
        """Normalised `(N, 3, h, w)` -> alpha `(N, 1, h, w)` in [0, 1], float32 on the CPU."""
        placed = frames.to(self._place, self._dtype, memory_format=torch.channels_last)
        result: Tensor = self._net(placed)
        return result.float().cpu()
