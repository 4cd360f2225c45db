"""Checkpoints of a run: written beside their name and renamed, so that a killed run never loses the last one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from streamseg.errors import DataError, OutputError

LAST = "last.pt"
BEST = "best.pt"
KEYS = frozenset({"model", "optimizer", "scaler", "step", "best_max_f", "architecture"})
"""What every checkpoint holds.

A run's also have the `losses` since the last evaluation, `optimizer_kind` and the settings that `best_max_f` was
`judged_by`, but for older trainers' last two; `best.pt` has `scores`, `ema` is there where weights are averaged, and
`allowance` where the run is fitted into a time.
"""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, strings, lists and dicts) to `path` in one move.

    Raises:
        OutputError: the disk is full or the folder cannot be written to.
    """
    part = path.with_name(path.name + ".part")
    try:
        torch.save(state, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch's zip writer reports a full disk as a RuntimeError
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"cannot write the checkpoint {path}: {_first_line(error)}") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU without executing anything that it holds.

    Raises:
        DataError: the file is missing, damaged or not a checkpoint of this trainer.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    except Exception as error:  # damaged bytes raise anything: KeyError for a text file, EOFError for an empty one
        raise DataError(f"{path} is damaged or not a checkpoint: {_first_line(error)}") from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise DataError(f"{path} is not a checkpoint of this trainer; one holds {', '.join(sorted(KEYS))}")
    return state


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
