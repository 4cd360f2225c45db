"""The official U²-Net's checkpoints: their tensors' names and ours.

Source: the checkpoints of Qin et al., "U²-Net", Pattern Recognition 2020; the blocks are those of the paper's table 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from streamseg.errors import MissingExtraError, WeightsError
from streamseg.u2net import LITE

State = dict[str, Tensor]


def read_onnx(path: Path) -> tuple[State, dict[str, str]]:
    """Reads an export of the official network under its official names, with identity batch norms."""
    try:
        from onnx import load, numpy_helper
    except ImportError as error:
        raise MissingExtraError("importing an ONNX file", "onnx", "onnx") from error
    try:
        graph = load(path).graph
    except Exception as error:  # protobuf and external data raise their own types
        raise WeightsError(f"{path} is not an ONNX file, or a damaged one") from error
    stored = {tensor.name: tensor for tensor in graph.initializer}
    # With batch norm folded, every convolution has a bias; the trace lists them in the order of the modules.
    convs = [node.input[1:] for node in graph.node if node.op_type == "Conv"]
    convs = [names for names in convs if len(names) == 2 and stored.keys() >= set(names)]
    layers = [theirs for theirs, _ in _official_blocks()] + [f"side{n}" for n in range(1, 7)] + ["outconv"]
    norms = sum(node.op_type == "BatchNormalization" for node in graph.node)
    if len(convs) != len(layers) or norms:
        found = f"{len(convs)} convolutions with weights and biases, not {len(layers)}, and {norms} batch norms, not 0"
        raise WeightsError(f"{path} is not the official U²-Net with batch norm folded: {found}")
    state: State = {}
    try:
        for layer, names in zip(layers, convs, strict=True):
            state |= _folded_layer(layer, *(torch.tensor(numpy_helper.to_array(stored[name])) for name in names))
    except Exception as error:  # so do tensors
        raise WeightsError(f"{path} is not an ONNX file, or a damaged one") from error
    return state, {}


def _folded_layer(layer: str, weight: Tensor, bias: Tensor) -> State:
    if not layer.startswith("stage"):
        return {f"{layer}.weight": weight, f"{layer}.bias": bias}
    identity = nn.BatchNorm2d(bias.numel())
    identity.running_var = torch.ones(bias.numel()) - identity.eps
    norm = {f"{layer}.bn_s1.{key}": tensor for key, tensor in identity.state_dict().items()}
    return {f"{layer}.conv_s1.weight": weight, f"{layer}.conv_s1.bias": bias, **norm}


def _official_blocks() -> Iterable[tuple[str, str]]:
    """The official name and ours of every convolution block, in the order of execution."""
    official = [f"stage{n}" for n in range(1, 7)] + [f"stage{n}d" for n in range(5, 0, -1)]
    own = [f"body.encoder.{n}" for n in range(6)] + [f"body.decoder.{n}" for n in range(5)]
    for theirs, ours, stage in zip(official, own, LITE.encoder + LITE.decoder, strict=True):
        yield f"{theirs}.rebnconvin", f"{ours}.input"
        for level in range(stage.height):
            yield f"{theirs}.rebnconv{level + 1}", f"{ours}.encoder.{level}"
        for level in range(stage.height - 1):
            yield f"{theirs}.rebnconv{stage.height - 1 - level}d", f"{ours}.decoder.{level}"


def official_names() -> dict[str, str]:
    """Official key -> our key with the same shape; a convolution's bias goes to the batch norm's mean."""
    names: dict[str, str] = {}
    for theirs, ours in _official_blocks():
        names[f"{theirs}.conv_s1.weight"] = f"{ours}.conv.weight"
        names[f"{theirs}.conv_s1.bias"] = f"{ours}.bn.running_mean"
        names |= {f"{theirs}.bn_s1.{key}": f"{ours}.bn.{key}" for key in nn.BatchNorm2d(1).state_dict()}
    for part in ("weight", "bias"):
        names |= {f"side{n}.{part}": f"sides.{6 - n}.{part}" for n in range(1, 7)}
        names[f"outconv.{part}"] = f"fuse.{part}"
    return names


def own_state(state: State, names: Mapping[str, str]) -> State:
    """Our tensors from official ones; exact but for rounding."""
    biases = [key for key in names if key.endswith(".conv_s1.bias")]
    own = {names[key]: tensor for key, tensor in state.items() if key not in biases}
    for key in biases:
        own[names[key]] = own[names[key]].float() - state[key].float()
    # Their fusion reads side1 (De1) first, ours En6; each side has `out_channels` columns.
    own["fuse.weight"] = torch.cat(own["fuse.weight"].chunk(6, dim=1)[::-1], dim=1)
    return own
