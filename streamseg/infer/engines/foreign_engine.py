"""A network from elsewhere on one of the engines that run graphs."""

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

LEAST_SIDE_PX = 64
"""Of a frame amid its margin, however small the network's size."""


class Runner(Protocol):
    """Runs a graph."""

    name: str
    device: str

    def run(self, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The graph's output for its input."""
        ...


class ForeignEngine:
    """Gives a network frames as it wants them, and makes alpha at the frames' size of what it answers.

    Frames are stretched to a network of one size, as pictures are that such networks are trained on, or up to the
    multiples that it asks for; both ways bilinearly.

    Attributes:
        long_side_px: of the network's input, where it takes one size only.
    """

    def __init__(
        self, runner: Callable[[ForeignNet, int | None], Runner], net: ForeignNet, threads: int | None
    ) -> None:
        """Opens the runner.

        Raises:
            RuntimeError: it does not open with this graph, for a reason of one line.
        """
        try:
            self._runner = runner(net, threads)
        except ImportError:
            raise
        except Exception as error:  # the runtimes' own errors share no other base
            raise RuntimeError(last_line(error)) from error
        self.name, self.device = self._runner.name, self._runner.device
        self._net = net
        self.long_side_px = max(LEAST_SIDE_PX, *net.input.size_px) if net.input.size_px else None
        self._renormalised = _renormalisation(net)

    @torch.inference_mode()
    def alpha(self, frames: Tensor) -> Tensor:
        """Normalised `(N, 3, h, w)` -> alpha `(N, 1, h, w)` in [0, 1].

        Raises:
            EngineError: the graph does not run on this size, or gives no map.
        """
        height, width = frames.shape[-2:]
        image = self._net.input
        given = self._renormalised(_resized(frames, image.size_for(height, width)))
        parts = torch.split(given, 1) if image.one_at_a_time else [given]
        return _resized(torch.cat([self._matte(part) for part in parts]), (height, width))

    def _matte(self, given: Tensor) -> Tensor:
        """Pictures `(N, 3, h, w)` as the network wants them -> its alpha `(N, 1, its h, its w)`."""
        placed = given.permute(0, 2, 3, 1) if self._net.input.layout == "NHWC" else given
        try:
            answer = self._runner.run(placed.numpy())
        except Exception as error:
            raise EngineError(f"{self._problem(given)}: {last_line(error)}") from error
        found = torch.from_numpy(answer)
        output = self._net.output
        if found.ndim == 3:
            found = found[:, None]
        elif output.layout == "NHWC" and found.ndim == 4:
            found = found.permute(0, 3, 1, 2)
        if found.ndim != 4 or found.shape[:2] != (len(given), 1):
            raise EngineError(
                f"{self._net.path}: its output {output.name} is {tuple(answer.shape)}, no map of one channel; name "
                f"another, or its layout, in {self._net.description_path}"
            )
        values = found.float()
        return values.sigmoid() if output.are_logits else values.clamp(0, 1)

    def _problem(self, given: Tensor) -> str:
        count, _, height, width = given.shape
        images = f"{count} images of {height} x {width} px" if count > 1 else f"{height} x {width} px"
        hint = "" if self._net.input.size_px else f" (input.size_px in {self._net.description_path} gives it one size)"
        return f"{self.name} does not run {self._net.path} on {images}{hint}"


def _renormalisation(net: ForeignNet) -> Callable[[Tensor], Tensor]:
    """From ImageNet's normalisation to the network's own, and to its type."""
    dtype: torch.dtype = getattr(torch, net.input.type)
    if (wanted := net.input.normalisation) is None:
        return lambda frames: frames.to(dtype)
    theirs, ours = (wanted.mean, wanted.std), (IMAGENET_MEAN, IMAGENET_STD)
    mean, std, own_mean, own_std = (torch.tensor(each).view(3, 1, 1) for each in (*theirs, *ours))
    factor, offset = own_std * wanted.scale / std, (own_mean * wanted.scale - mean) / std

    def renormalised(frames: Tensor) -> Tensor:
        pixels = torch.addcmul(offset, frames, factor)
        return pixels.to(dtype) if dtype.is_floating_point else pixels.round_().clamp_(0, 255).to(dtype)

    return renormalised


def _resized(pictures: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Pictures `(N, C, h, w)` of that height and width."""
    if tuple(pictures.shape[-2:]) == size_px:
        return pictures
    return F.interpolate(pictures, size_px, mode="bilinear", align_corners=False)
