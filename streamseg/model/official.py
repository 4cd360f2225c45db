"""Checkpoints of the official U²-Net: read its PyTorch and ONNX files and map its tensor names to ours.

Source: the checkpoints of Qin et al., "U²-Net", Pattern Recognition 2020; the blocks are those of the paper's table 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from streamseg.errors import WeightsError
from streamseg.model.u2net import LITE

State = dict[str, Tensor]


def read_onnx(path: Path) -> tuple[State, dict[str, str]]:
    """Read an ONNX export of the official network as a state dict with its official names and identity batch norms.

    OpenVINO reads the file, since it is always installed; the package onnx is not.

    Raises:
        WeightsError: the file is damaged or holds another network.
    """
    import openvino as ov

    try:
        nodes = ov.Core().read_model(path).get_ordered_ops()
    except RuntimeError as error:
        raise WeightsError(f"{path} is not an ONNX file, or a damaged one") from error
    layers = [official for official, _ in _block_names()] + [f"side{n}" for n in range(1, 7)] + ["outconv"]
    convs = _convolutions_in_order(nodes)
    norms = sum(node.get_type_name() == "BatchNormInference" for node in nodes)
    if len(convs) != len(layers) or norms:
        found = f"{len(convs)} convolutions with weights and biases, not {len(layers)}, and {norms} batch norms, not 0"
        raise WeightsError(f"{path} is not the official U²-Net with batch norm folded: {found}")
    state: State = {}
    for layer, (weight, bias) in zip(layers, convs, strict=True):
        state |= _folded_layer(layer, weight, bias)
    return state, {}


def _convolutions_in_order(nodes: Sequence[Any]) -> list[tuple[Tensor, Tensor]]:
    """Return weight and bias of each convolution that has both, in the official layers' order.

    The graph is sorted topologically: blocks follow their inputs and the fusion is last, but a side output may stand
    anywhere after its stage. Side outputs have as many channels as the fusion; they are ordered by their stages, the
    last stage being side1's.
    """
    places = {node.get_friendly_name(): place for place, node in enumerate(nodes)}
    convolutions: list[tuple[int, tuple[Tensor, Tensor]]] = []
    for node in nodes:
        if node.get_type_name() == "Convolution" and (weight_and_bias := _weight_and_bias(node)):
            convolutions.append((places[node.input_value(0).get_node().get_friendly_name()], weight_and_bias))
    if not convolutions:
        return []
    *others, (_, fusion) = convolutions
    channels = len(fusion[1])
    sides = sorted((one for one in others if len(one[1][1]) == channels), key=lambda one: -one[0])
    return [conv for _, conv in others if len(conv[1]) != channels] + [conv for _, conv in sides] + [fusion]


def _weight_and_bias(convolution: Any) -> tuple[Tensor, Tensor] | None:
    """Return a convolution's weight and bias, which OpenVINO reads as an Add; None if one is missing or computed."""
    weight = _constant(convolution.input_value(1))
    users = [user.get_node() for user in convolution.output(0).get_target_inputs()]
    added = [_constant(value) for user in users if user.get_type_name() == "Add" for value in user.input_values()]
    bias = next((tensor for tensor in added if tensor is not None), None)
    return None if weight is None or bias is None else (weight, bias.flatten())


def _constant(value: Any) -> Tensor | None:
    """Return the constant behind a node's input, through reshapes and type conversions; None if it is computed."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    return torch.from_numpy(node.data.copy()) if node.get_type_name() == "Constant" else None


def _folded_layer(layer: str, weight: Tensor, bias: Tensor) -> State:
    """Return the official state of a layer with a batch norm that changes nothing."""
    if not layer.startswith("stage"):
        return {f"{layer}.weight": weight, f"{layer}.bias": bias}
    identity = nn.BatchNorm2d(bias.numel())
    identity.running_var = torch.ones(bias.numel()) - identity.eps
    norm = {f"{layer}.bn_s1.{key}": tensor for key, tensor in identity.state_dict().items()}
    return {f"{layer}.conv_s1.weight": weight, f"{layer}.conv_s1.bias": bias, **norm}


def _block_names() -> Iterable[tuple[str, str]]:
    """Yield the official name and ours of every convolution block, in the order of execution."""
    official_stages = [f"stage{n}" for n in range(1, 7)] + [f"stage{n}d" for n in range(5, 0, -1)]
    own_stages = [f"body.encoder.{n}" for n in range(6)] + [f"body.decoder.{n}" for n in range(5)]
    for official, own, stage in zip(official_stages, own_stages, LITE.encoder + LITE.decoder, strict=True):
        yield f"{official}.rebnconvin", f"{own}.input"
        for level in range(stage.height):
            yield f"{official}.rebnconv{level + 1}", f"{own}.encoder.{level}"
        for level in range(stage.height - 1):
            yield f"{official}.rebnconv{stage.height - 1 - level}d", f"{own}.decoder.{level}"


def official_names() -> dict[str, str]:
    """Map official keys to ours of the same shape; a convolution's bias maps to the batch norm's mean."""
    names: dict[str, str] = {}
    for official, own in _block_names():
        names[f"{official}.conv_s1.weight"] = f"{own}.conv.weight"
        names[f"{official}.conv_s1.bias"] = f"{own}.bn.running_mean"
        names |= {f"{official}.bn_s1.{key}": f"{own}.bn.{key}" for key in nn.BatchNorm2d(1).state_dict()}
    for part in ("weight", "bias"):
        names |= {f"side{n}.{part}": f"sides.{6 - n}.{part}" for n in range(1, 7)}
        names[f"outconv.{part}"] = f"fuse.{part}"
    return names


def convert_state(state: State, names: Mapping[str, str]) -> State:
    """Convert the official state dict to ours; exact except for rounding.

    Args:
        state: official key -> tensor.
        names: official key -> our key, as `official_names` returns it.
    """
    biases = [key for key in names if key.endswith(".conv_s1.bias")]
    own = {names[key]: tensor for key, tensor in state.items() if key not in biases}
    for key in biases:
        own[names[key]] = own[names[key]].float() - state[key].float()
    # Their fusion reads side1 (De1) first, ours En6; each side has `out_channels` columns.
    own["fuse.weight"] = torch.cat(own["fuse.weight"].chunk(6, dim=1)[::-1], dim=1)
    return own
