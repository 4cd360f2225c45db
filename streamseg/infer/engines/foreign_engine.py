"""Third-party ONNX matting networks: resize and normalise frames for the network, and resize its alpha back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from streamseg.errors import EngineError
from streamseg.infer.engines.base import IMAGENET_MEAN, IMAGENET_STD
from streamseg.model.foreign import ForeignNet
from streamseg.model.onnx_graph import last_line

MIN_SIDE_PX = 64
"""Least long side of the letterboxed frame, however small the network's own size."""


class GraphRunner(Protocol):
    """Runs an ONNX graph on a runtime.

    Attributes:
        name: of the engine.
        device: for people.
    """

    name: str
    device: str

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the graph's output for its input."""
        ...


class ForeignEngine:
    """Adapts a third-party network to the `Engine` protocol.

    Frames are resized bilinearly: stretched to the network's one size, as such networks are trained, or up to the
    multiples that it needs; alpha is resized back.

    Attributes:
        name: of the engine that runs the graph.
        device: for people.
        long_side_px: of the network's input, if it takes only one size; else None.
    """

    def __init__(
        self, runner: Callable[[ForeignNet, int | None], GraphRunner], net: ForeignNet, threads: int | None
    ) -> None:
        """Open the runner.

        Args:
            runner: opens a runtime with the network and a number of CPU threads.
            net: the network.
            threads: None for all cores.

        Raises:
            ImportError: the runtime is not installed.
            Exception: of the runtime, if it does not open this graph.
        """
        self._runner = runner(net, threads)
        self.name, self.device = self._runner.name, self._runner.device
        self._net = net
        self.long_side_px = max(MIN_SIDE_PX, *net.input.size_px) if net.input.size_px else None
        self._renormalise = _renormaliser(net)

    @torch.inference_mode()
    def alpha(self, frames: Tensor) -> Tensor:
        """Compute alpha `(N, 1, h, w)` in [0, 1] for normalised RGB `(N, 3, h, w)`.

        Raises:
            EngineError: the graph does not run on this size, or returns no map of one channel.
        """
        height, width = frames.shape[-2:]
        image = self._net.input
        inputs = self._renormalise(_resize(frames, image.size_for(height, width)))
        parts = torch.split(inputs, 1) if image.one_at_a_time else [inputs]
        return _resize(torch.cat([self._matte(part) for part in parts]), (height, width))

    def _matte(self, inputs: Tensor) -> Tensor:
        """Run the graph on `(N, 3, h, w)` in its own normalisation -> alpha `(N, 1, own h, own w)` in [0, 1]."""
        array = inputs.permute(0, 2, 3, 1) if self._net.input.layout == "NHWC" else inputs
        try:
            values = self._runner.run(array.numpy())
        except Exception as error:
            raise EngineError(f"{self._failure(inputs)}: {last_line(error)}") from error
        alpha = torch.from_numpy(values)
        output = self._net.output
        if alpha.ndim == 3:
            alpha = alpha[:, None]
        elif output.layout == "NHWC" and alpha.ndim == 4:
            alpha = alpha.permute(0, 3, 1, 2)
        if alpha.ndim != 4 or alpha.shape[:2] != (len(inputs), 1):
            raise EngineError(
                f"{self._net.path}: its output {output.name} is {tuple(values.shape)}, no map of one channel; name "
                f"another, or its layout, in {self._net.description_path}"
            )
        alpha = alpha.float()
        return alpha.sigmoid() if output.are_logits else alpha.clamp(0, 1)

    def _failure(self, inputs: Tensor) -> str:
        count, _, height, width = inputs.shape
        images = f"{count} images of {height} x {width} px" if count > 1 else f"{height} x {width} px"
        hint = "" if self._net.input.size_px else f" (input.size_px in {self._net.description_path} gives it one size)"
        return f"{self.name} does not run {self._net.path} on {images}{hint}"


def _renormaliser(net: ForeignNet) -> Callable[[Tensor], Tensor]:
    """Return the conversion from ImageNet's normalisation to the network's own normalisation and dtype."""
    dtype: torch.dtype = getattr(torch, net.input.type)
    if (wanted := net.input.normalisation) is None:
        return lambda frames: frames.to(dtype)
    theirs, ours = (wanted.mean, wanted.std), (IMAGENET_MEAN, IMAGENET_STD)
    mean, std, own_mean, own_std = (torch.tensor(each).view(3, 1, 1) for each in (*theirs, *ours))
    factor, offset = own_std * wanted.scale / std, (own_mean * wanted.scale - mean) / std

    def renormalise(frames: Tensor) -> Tensor:
        pixels = torch.addcmul(offset, frames, factor)
        return pixels.to(dtype) if dtype.is_floating_point else pixels.round_().clamp_(0, 255).to(dtype)

    return renormalise


def _resize(images: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Resize `(N, C, h, w)` bilinearly to a height and width."""
    if tuple(images.shape[-2:]) == size_px:
        return images
    return F.interpolate(images, size_px, mode="bilinear", align_corners=False)
