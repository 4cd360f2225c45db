"""A run's checkpoint to a weights file that says where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from streamseg.errors import DataError, WeightsError
from streamseg.weights import load_weights, read_info, save_weights
from train.checkpoint import BEST, load_checkpoint
from train.config import Config, Data, Model, load_run_config
from train.data import find_pairs

LICENCE = "Apache-2.0; for the terms of the training images see training_data"
TERMS = "the collections are for research use or state no terms"


def export_weights(source: Path, out: Path, metrics: str | None = None, sharpness: float = 1.0) -> None:
    """Writes the network of a checkpoint as .safetensors, with the run's facts as metadata.

    Args:
        source: a run folder, whose best checkpoint is taken, or a checkpoint in one.
        out: the .safetensors file.
        metrics: measured scores; by default those that the checkpoint was chosen by.
        sharpness: factor on the fused logits. A short training leaves a network that hedges, and hedged alpha shows
            as ghosts; the factor moves alpha away from 0.5 and changes neither the order of the pixels nor max F.

    Raises:
        DataError: there is no such checkpoint, or it is damaged.
        ConfigError: the run's configuration is not beside the checkpoint.
        WeightsError: the tensors do not fit the network.
        OutputError: `out` cannot be written.
    """
    path = source / BEST if source.is_dir() else source
    if source.is_dir() and not path.exists():
        raise DataError(f"{source} has no {BEST} yet, since no evaluation has run; name another checkpoint in it")
    state, config = load_checkpoint(path), load_run_config(path.parent)
    facts = {
        "name": config.name,
        "training_data": _training_data(config.data),
        "recipe": _recipe(config, state["step"]) + (f"; fused logits times {sharpness:g}" if sharpness != 1 else ""),
        **_origin(config.model),
        "metrics": metrics or _metrics(state, config.data),
        "licence": LICENCE,
    }
    net = load_weights(path)
    with torch.no_grad():
        for parameter in net.fuse.parameters():
            parameter.mul_(sharpness)
    save_weights(out, net, facts)


def _training_data(data: Data) -> str:
    sources = tuple(dict.fromkeys(data.train))
    try:
        count = f"{len(set(find_pairs(data.root, sources)))} images"
    except DataError:  # the data may be elsewhere than the run folder by now
        count = "number of images not known at export"
    return f"{', '.join(sources)} ({count}); {TERMS}"


def _recipe(config: Config, step: int) -> str:
    optim, crops = config.optim, ", ".join(str(phase.crop_px) for phase in config.augment.phases)
    return (
        f"U²-Net {config.model.architecture}, {step} steps of {optim.batch_size} crops of {crops} px; AdamW, learning "
        f"rate {optim.learning_rate:g} with warm-up and cosine, weight decay {optim.weight_decay:g}; seed {config.seed}"
    )


def _origin(model: Model) -> dict[str, str]:
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
        return "not measured"
    scores = ", ".join(f"{name} {value:.4g}" for name, value in state["scores"].items())
    return f"{scores} (on {', '.join(data.validate_on)})"
