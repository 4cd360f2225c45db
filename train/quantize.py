"""Int8 by post-training quantization, with the few convolutions that do not bear it left in float."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamseg.errors import MissingExtraError
from streamseg.infer.engines import open_engine
from streamseg.infer.engines.onnx_engine import INPUT
from streamseg.model.quantized import SUFFIX, QuantizedNet
from streamseg.model.u2net import FusedU2Net, U2Net

COUNTS_IN_FLOAT = (0, 1, 2, 4, 8)
"""How many convolutions are left in float, tried in turn."""

MAX_DRIFT = 0.01
"""Mean difference to the float network's alpha with which no more are left in float. Where a network is unsure, alpha
moves up and down by more than scores do: what may be lost of those is decided on other images."""

LEVELS = 255


def quantized(net: U2Net, graph: Any, frames: Sequence[Tensor], watched: Sequence[Tensor]) -> tuple[Any, list[str]]:
    """Quantizes a graph, as little of it left in float as keeps alpha within `MAX_DRIFT`, if any does.

    Args:
        net: the network.
        graph: its ONNX graph.
        frames: normalised `(1, 3, h, w)`, from which the ranges of activations are learnt.
        watched: some more or the same, on which alpha is compared; best of one size.

    Returns:
        The int8 graph, and which convolutions are in float in it, as the fused network's modules are called.

    Raises:
        MissingExtraError: nncf is not installed.
    """
    nncf = _nncf()
    wanted = [open_engine("openvino", net).alpha(each) for each in watched]
    moved = sensitivities(FusedU2Net(net), [F.interpolate(each, scale_factor=0.5, mode="area") for each in watched])
    nodes = {_module_of(node.name): node.name for node in graph.graph.node if node.op_type == "Conv"}
    worst_first = sorted(moved, key=lambda name: moved[name], reverse=True)
    for count in COUNTS_IN_FLOAT:
        in_float = worst_first[:count]
        candidate = _all_but(nncf, graph, [nodes[name] for name in in_float], frames)
        if _drift(candidate, watched, wanted) <= MAX_DRIFT:
            break
    return candidate, in_float


@torch.no_grad()
def sensitivities(net: FusedU2Net, frames: Sequence[Tensor]) -> dict[str, float]:
    """How far alpha moves when one convolution alone is quantized, for each of them.

    It moves far where a channel of the input is far beyond the others, whose range is then a few levels.

    Args:
        net: on the CPU, in float32.
        frames: normalised `(N, 3, h, w)`.

    Returns:
        The mean absolute difference, by the module's name.
    """
    alpha = [net(each) for each in frames]
    moved: dict[str, float] = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            handle = module.register_forward_hook(lambda conv, inputs, _: _in_int8(conv, *inputs))
            differences = [(net(each) - before).abs().mean() for each, before in zip(frames, alpha, strict=True)]
            moved[name] = float(torch.stack(differences).mean())
            handle.remove()
    return moved


def _module_of(node: str) -> str:
    """The exporter writes `/body/decoder.3/input/conv/Conv` for the module `body.decoder.3.input.conv`."""
    return node.removeprefix("/").removesuffix("/Conv").replace("/", ".")


def _in_int8(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution with its input rounded within one range, and its weights within one for each output channel."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=1e-6)
    step = (high - low) / LEVELS
    rounded = torch.fake_quantize_per_tensor_affine(x, step, (-low / step).round().int(), 0, LEVELS)
    steps = conv.weight.abs().amax((1, 2, 3)).clamp(min=1e-12) / (LEVELS // 2)
    zeros = torch.zeros_like(steps, dtype=torch.int32)
    weight = torch.fake_quantize_per_channel_affine(conv.weight, steps, zeros, 0, -(LEVELS // 2), LEVELS // 2)
    return F.conv2d(rounded, weight, conv.bias, conv.stride, conv.padding, conv.dilation)


def _drift(graph: Any, frames: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Mean difference of a graph's alpha to the wanted one."""
    with TemporaryDirectory() as folder:
        file = Path(folder, f"candidate{SUFFIX}")
        file.write_bytes(graph.SerializeToString())
        engine = open_engine("openvino", QuantizedNet(file))
        moved = [(engine.alpha(each) - alpha).abs().mean() for each, alpha in zip(frames, wanted, strict=True)]
    return float(torch.stack(moved).mean())


def _nncf() -> Any:
    # It would report its use over the network; we never do.
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf
    except ImportError as error:
        raise MissingExtraError("quantizing a network", "nncf", "train") from error
    nncf.set_log_level(logging.ERROR)
    return nncf


def _all_but(nncf: Any, graph: Any, in_float: Sequence[str], frames: Sequence[Tensor]) -> Any:
    return nncf.quantize(
        graph,
        nncf.Dataset([{INPUT: each.numpy()} for each in frames]),
        preset=nncf.QuantizationPreset.MIXED,  # activations after ReLU have no negative half to spend codes on
        subset_size=len(frames),
        ignored_scope=nncf.IgnoredScope(names=list(in_float)),
        # It moves the logits of pictures that the network is unsure of: on every eighth image of DUTS-TE mean alpha
        # rose by .027, without it by .001.
        advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
    )
