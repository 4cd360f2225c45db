"""A run's checkpoint, or weights, to files that tell where they come from: safetensors, ONNX, int8."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from streamseg.errors import ConfigError, DataError, WeightsError
from streamseg.media.atomic import atomic_write
from streamseg.model.quantized import SUFFIX
from streamseg.model.u2net import U2Net
from streamseg.model.weights import load_weights, read_info, save_weights
from train.checkpoint import BEST, load_checkpoint
from train.config import Config, Data, Model, load_run_config
from train.data import Pair, find_pairs
from train.graphs import graph_cost, int8_bytes, onnx_bytes, write_openvino

LICENCE = "Apache-2.0; for the terms of the training images see training_data"
TERMS = "the collections are for research use or state no terms"
OPENVINO_INT8 = ".int8.xml"

NOT_MEASURED = "not measured"

Card = dict[str, str]


def read_averaged(sources: Sequence[Path], metrics: str | None = None, sharpness: float = 1.0) -> tuple[U2Net, Card]:
    """The network to export, of one source or with the mean weights of several, and its model card.

    The mean of weights from along a training generalizes better than the last of them: Izmailov et al., Averaging
    Weights Leads to Wider Optima and Better Generalization, UAI 2018.

    Args:
        sources: see `read_trained`; several are of one run, and the model card is that of the last.
        metrics: measured scores; by default those of the only source.
        sharpness: see `read_trained`.

    Raises:
        DataError: the sources hold different networks, or as `read_trained`.
        ConfigError: as `read_trained`.
        WeightsError: as `read_trained`.
    """
    *others, last = sources
    net, card = read_trained(last, metrics, sharpness)
    if not others:
        return net, card
    read = [read_trained(other, metrics, sharpness) for other in others]
    states = [one.state_dict() for one, _ in read] + [net.state_dict()]
    shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
    if any(other != shapes[-1] for other in shapes):
        raise DataError("weights of different networks cannot be averaged: give checkpoints of one run")
    net.load_state_dict({name: _mean([state[name] for state in states]) for name in states[-1]})
    card["recipe"] += "; mean of these weights and those of: " + "; ".join(other["recipe"] for _, other in read)
    return net, card | {"metrics": metrics or NOT_MEASURED}


def _mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Floats in double precision; of counters, such as of the batches that a norm has seen, the last."""
    return torch.stack([one.double() for one in tensors]).mean(0) if tensors[-1].is_floating_point() else tensors[-1]


def read_trained(source: Path, metrics: str | None = None, sharpness: float = 1.0) -> tuple[U2Net, Card]:
    """The network to export and its model card.

    Args:
        source: a run folder, whose best checkpoint is taken, a checkpoint in one, or a weights file or packaged name.
        metrics: measured scores; by default those that the checkpoint was chosen by.
        sharpness: factor on the fused logits. A short training leaves a network that hedges, and hedged alpha shows
            as ghosts; the factor moves alpha away from 0.5 and changes neither the order of the pixels nor max F.

    Raises:
        DataError: there is no such checkpoint, or it is damaged.
        ConfigError: the run's configuration is not beside the checkpoint.
        WeightsError: the tensors do not fit the network.
    """
    path = source / BEST if source.is_dir() else source
    if source.is_dir() and not path.exists():
        raise DataError(f"{source} has no {BEST} yet, since no evaluation has run; name another checkpoint in it")
    net, card = _of_run(path, metrics) if path.suffix == ".pt" else _of_weights(str(source), metrics)
    if sharpness != 1:
        with torch.no_grad():
            for parameter in net.fuse.parameters():
                parameter.mul_(sharpness)
        card["recipe"] += f"; fused logits times {sharpness:g}"
    return net, card


def export(net: U2Net, card: Card, out: Path, half: bool, calibration: Sequence[Pair], check: Sequence[Pair]) -> None:
    """Writes a network in the format that the name asks for.

    Args:
        net: the network.
        card: its model card.
        out: `.safetensors`; `.onnx`, float32 for any batch and size; `.int8.onnx`; or `.int8.xml` for OpenVINO.
        half: float16 instead of float32 in a .safetensors file.
        calibration: training pairs for int8.
        check: pairs on which int8 must keep its max F and MAE; other formats are judged too where there are any.

    Raises:
        ConfigError: the name ends in none of these, int8 lacks its data, or `half` is asked of another format.
        DataError: the network loses too much of its max F or MAE on the way.
        OutputError: `out` cannot be written.
    """
    name = out.name.lower()
    if half and not name.endswith(".safetensors"):
        raise ConfigError(f"--half is for .safetensors files, not for {out.name}")
    if name.endswith((SUFFIX, OPENVINO_INT8)):
        if not calibration or not check:
            raise ConfigError(
                "int8 needs training images (--calibrate DATA) and others to be checked on (--check DATA)"
            )
        graph = int8_bytes(net, card, calibration, check)
        write_openvino(graph, out) if name.endswith(".xml") else atomic_write(out, graph)
    elif name.endswith(".onnx"):
        graph = onnx_bytes(net, card)
        if check:
            graph_cost(net, graph, check)
        atomic_write(out, graph)
    elif name.endswith(".safetensors"):
        save_weights(out, _halved(net, check) if half else net, card)
    else:
        raise ConfigError(f"cannot export to {out}; names end in .safetensors, .onnx, {SUFFIX} or {OPENVINO_INT8}")


def _halved(net: U2Net, check: Sequence[Pair]) -> U2Net:
    """The network in float16, once it holds its max F and MAE on `check`, where there is any."""
    halved = copy.deepcopy(net).half()
    if check:
        graph_cost(net, onnx_bytes(copy.deepcopy(halved).float(), {}), check)
    return halved


def _of_run(path: Path, metrics: str | None) -> tuple[U2Net, Card]:
    state, config = load_checkpoint(path), load_run_config(path.parent)
    card = {
        "name": config.name,
        "training_data": _training_data(config.data),
        "recipe": _recipe(config, state["step"]),
        **_origin(config.model),
        "metrics": metrics or _metrics(state, config.data),
        "licence": LICENCE,
    }
    return load_weights(path), card


def _of_weights(name: str, metrics: str | None) -> tuple[U2Net, Card]:
    net, info = load_weights(name), read_info(name)
    card = {"name": info.name, "recipe": "not known", **info.metadata}
    return net, card | ({"metrics": metrics} if metrics else {})


def _training_data(data: Data) -> str:
    sources = tuple(dict.fromkeys(data.train))
    try:
        count = f"{len(set(find_pairs(data.root, sources)))} images"
    except DataError:  # the data may be elsewhere than the run folder by now
        count = "number of images not known at export"
    rooms = f", {', '.join(dict.fromkeys(data.empty))} without masks" if data.empty else ""
    webcam = f", {data.webcam_share:.0%} webcam frames of these people and rooms" if data.webcam_share else ""
    composed = f", {data.composite_share:.0%} composites of {data.composites}" if data.composite_share else ""
    return f"{', '.join(sources)} ({count}){rooms}{webcam}{composed}; {TERMS}"


def _recipe(config: Config, step: int) -> str:
    optim, crops = config.optim, ", ".join(str(phase.crop_px) for phase in config.augment.phases)
    kind = {"adam": "Adam", "adamw": "AdamW", "muon": "Muon"}[optim.optimizer]
    averaged = f", averaged weights ({optim.ema:g})" if optim.ema else ""
    return (
        f"U²-Net {config.model.architecture}, {step} steps of {optim.batch_size} crops of {crops} px; {kind}, learning "
        f"rate {optim.learning_rate:g} with warm-up, then {optim.schedule}, weight decay {optim.weight_decay:g}"
        f"{averaged}; seed {config.seed}"
    )


def _origin(model: Model) -> Card:
    """What the run started from, so that a weights file tells all of its training."""
    if not model.start_from:
        return {}
    try:
        start = read_info(model.start_from)
    except WeightsError:  # the file may be gone by now
        return {"started_from": model.start_from}
    return {"started_from": f"{start.name}: {start.metadata.get('recipe', 'recipe not known')}"}


def _metrics(state: dict[str, Any], data: Data) -> str:
    if "scores" not in state:
        return NOT_MEASURED
    scores = ", ".join(f"{name} {value:.4g}" for name, value in state["scores"].items() if not math.isnan(value))
    return f"{scores} (on {', '.join(data.validate_on)})"
