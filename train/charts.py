"""Curves of runs as pictures: loss, max F and MAE."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from streamseg.errors import DataError, MissingExtraError, OutputError
from streamseg.media.atomic import atomic_write

STEPS = "steps.jsonl"
EVALUATIONS = "evaluations.jsonl"
CURVES = "curves.png"

DUTS_IMAGES = 10_553
PUBLISHED_LITE = {
    "epoch": (1, 11, 51, 101, 201, 321, 360),
    "loss": (3.0948, 1.1108, 0.5897, 0.4529, 0.3285, 0.2782, 0.2770),
    "max_f": (0.539, 0.729, 0.801, 0.805, 0.822, 0.834, 0.833),
    "mae": (0.263, 0.111, 0.077, 0.065, 0.062, 0.056, 0.056),
}
"""The log of the published 360-epoch lite run, after so many epochs of DUTS-TR and over all of DUTS-TE."""

PANELS = (("loss", "training loss"), ("max_f", "max F"), ("mae", "MAE"))
EVALUATION_KEYS = ("step", "images_seen", *dict(PANELS))
"""What is drawn of an evaluation."""

SUFFIXES = (".png", ".svg")


def draw_run(run: Path) -> None:
    """Draws a run's own curves into `curves.png` in its folder; without matplotlib there is no picture.

    Raises:
        DataError: the folder's records are damaged, or lack a figure.
        OutputError: the picture cannot be written.
    """
    try:
        figure, axes = _panels()
    except MissingExtraError:
        return
    records, fine = read_records(run / EVALUATIONS, EVALUATION_KEYS), read_records(run / STEPS, ("step", "loss"))
    _plot(axes, records, marker=".")
    images_per_step = records[-1]["images_seen"] / records[-1]["step"]
    axes[0].plot([r["step"] * images_per_step for r in fine], [r["loss"] for r in fine], linewidth=0.5, alpha=0.6)
    _save(figure, run / CURVES)


def draw_comparison(runs: Sequence[Path], out: Path) -> None:
    """Draws several runs over the images that they have seen, beside the published log.

    Args:
        runs: run folders with at least one evaluation each.
        out: the picture, .png or .svg.

    Raises:
        DataError: a folder holds no evaluations, or some that lack a figure.
        OutputError: the picture's name ends otherwise, or it cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(f"cannot draw into {out}: the name must end in {' or '.join(SUFFIXES)}")
    found = [read_records(run / EVALUATIONS, EVALUATION_KEYS) for run in runs]
    for run, records in zip(runs, found, strict=True):
        if not records:
            raise DataError(f"{run} holds no evaluations; give the folder of a run that has been judged at least once")
    figure, axes = _panels()
    for run, records in zip(runs, found, strict=True):
        _plot(axes, records, marker=".", label=run.name)
    published = [dict(zip(PUBLISHED_LITE, row, strict=True)) for row in zip(*PUBLISHED_LITE.values(), strict=True)]
    records = [{"images_seen": row["epoch"] * DUTS_IMAGES, **row} for row in published]
    _plot(axes, records, linestyle="--", color="grey", label="published lite log (360 epochs, DUTS-TE)")
    for axis in axes:
        axis.set_xscale("log")
    axes[0].legend(fontsize="small", loc="upper right")
    _save(figure, out)


def read_records(path: Path, needed: Collection[str] = ()) -> list[dict[str, float]]:
    """The records of a `.jsonl` file; none where there is no file.

    Raises:
        DataError: it is damaged, or a record lacks one of the keys that are `needed`.
    """
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    for number, record in enumerate(records, start=1):
        if missing := set(needed) - set(record if isinstance(record, dict) else ()):
            raise DataError(
                f"{path}: line {number} has no {', '.join(sorted(missing))}; remove it, or leave the run out"
            )
    return records


def _panels() -> tuple[Any, Any]:
    """A figure of its own, without pyplot's global state and without a display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing curves", "matplotlib", "train") from error
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots(1, len(PANELS))
    for axis, (_, title) in zip(axes, PANELS, strict=True):
        axis.set(title=title, xlabel="images seen")
        axis.grid(alpha=0.3)
    return figure, axes


def _plot(axes: Any, records: Sequence[dict[str, float]], **style: Any) -> None:
    for axis, (key, _) in zip(axes, PANELS, strict=True):
        axis.plot([record["images_seen"] for record in records], [record[key] for record in records], **style)


def _save(figure: Any, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.lower().removeprefix("."), dpi=110)
    atomic_write(path, picture.getvalue())
