"""What was found on clips: tables by clip, the goals that they are measured against, and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from streamseg.media.atomic import atomic_write
from train.metrics import with_nulls
from train.report import make_report_folder, open_console
from train.videos import BILINEAR, OWN_PIXELS, STREAMSEG, UNSMOOTHED, ClipFigures

NAMES = {
    "iou": "IoU",
    "mad": "MAD",
    "mse": "MSE",
    "grad": "Grad",
    "conn": "Conn",
    "dtssd": "dtSSD",
    "messddt": "MESSDdt",
    "foreground": "foreground",
    "composite": "composite",
}
"""Columns; foreground and composite are colour errors."""

REGIONS = {"all": "all pixels", "band": "unknown band"}

ROWS = (STREAMSEG, BILINEAR, UNSMOOTHED, OWN_PIXELS)

REPORT_FILE = "video.json"

FOUND_IOU = 0.8
"""IoU of the unsmoothed mattes from which on the network has found the subject of a clip."""


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure to be reached.

    Attributes:
        told: for people.
        figure: its name.
        yardstick: the row that it is compared with.
        wanted: at most this share of the yardstick's figure, or at most this figure itself if `absolute`.
        kind: kind of the clips that it is the mean of; None for all.
        absolute: whether the figure itself counts.
        scale: factor of the figure that is shown.
        found: whether only the clips count in which the network finds the subject (`FOUND_IOU`): where it misses the
            person, neither refinement nor foreground colour can help, and what is never shown leaves no trail.
    """

    told: str
    figure: str
    yardstick: str
    wanted: float
    kind: str | None = None
    absolute: bool = False
    scale: float = 1.0
    found: bool = False


GOALS = (
    Goal("edges: Grad, band", "band.grad", BILINEAR, 0.75),
    Goal("edges: MAD, band", "band.mad", BILINEAR, 0.75),
    Goal("foreground: composite, band", "band.composite", OWN_PIXELS, 0.5),
    Goal("where found: Grad, band", "band.grad", BILINEAR, 0.75, found=True),
    Goal("where found: MAD, band", "band.mad", BILINEAR, 0.75, found=True),
    Goal("where found: composite, band", "band.composite", OWN_PIXELS, 0.5, found=True),
    Goal("time: dtSSD, all pixels", "all.dtssd", UNSMOOTHED, 0.7),
    Goal("time: dtSSD, band", "band.dtssd", UNSMOOTHED, 0.7),
    Goal("time: MESSDdt, all pixels", "all.messddt", UNSMOOTHED, 0.7),
    Goal("time: MESSDdt, band", "band.messddt", UNSMOOTHED, 0.7),
    Goal("time: MAD, all pixels", "all.mad", UNSMOOTHED, 1.0),
    Goal("empty rooms: mean alpha", "all.mad", UNSMOOTHED, 0.005, "empty", True, 1e-3),
    Goal("hand: frames of trail", "trail_frames", UNSMOOTHED, 1, "hand", True, found=True),
    Goal("hand: alpha left after a frame", "trail_1", UNSMOOTHED, math.nan, "hand", True, found=True),
    Goal("hand: alpha left after two", "trail_2", UNSMOOTHED, math.nan, "hand", True, found=True),
    Goal("enters: seconds until whole", "entrance_seconds", UNSMOOTHED, 0.2, "enters", True),
)
"""The goals; relative ones compare with a yardstick of the same mattes. NaN: told, not asked for."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A goal's figures: the pipeline's, the yardstick's, and whether it is reached (None if it cannot be told)."""

    goal: Goal
    ours: float
    theirs: float
    reached: bool | None


def outcomes(clips: Sequence[ClipFigures]) -> list[Outcome]:
    """Compare the means over the clips with the goals; goals that the clips say nothing about are left out."""
    found = []
    for goal in GOALS:
        asked = [clip for clip in clips if goal.kind in (None, clip.kind) and (_is_found(clip) or not goal.found)]
        ours, theirs = (goal.scale * _mean(asked, row, goal.figure) for row in (STREAMSEG, goal.yardstick))
        if not math.isnan(ours):
            found.append(Outcome(goal, ours, theirs, _reached(goal, ours, theirs)))
    return found


def print_clips(clips: Sequence[ClipFigures], region: str, console: Console | None = None) -> None:
    """Print a line a clip, then the means, then those of the yardsticks; nothing where no clip has such figures.

    Args:
        clips: what was found.
        region: a key of `REGIONS`.
        console: where to.
    """
    figures = [name for name in NAMES if not math.isnan(_mean(clips, STREAMSEG, f"{region}.{name}"))]
    if not figures:
        return
    table = Table(
        Column(REGIONS[region], no_wrap=True), *(Column(NAMES[name], justify="right", no_wrap=True) for name in figures)
    )
    for clip in clips:
        row = clip.rows[STREAMSEG]
        table.add_row(Text(clip.name), *(_digits(row.get(f"{region}.{name}", math.nan)) for name in figures))
    table.add_section()
    for row_name in ROWS:
        means = [_mean(clips, row_name, f"{region}.{name}") for name in figures]
        if not all(map(math.isnan, means)):
            table.add_row(f"mean, {row_name}", *map(_digits, means))
    (console or open_console()).print(table)


def print_goals(clips: Sequence[ClipFigures], console: Console | None = None) -> None:
    """Print the goals beside what was found."""
    right = [Column(name, justify="right") for name in (STREAMSEG, "yardstick", "change", "wanted")]
    table = Table(Column("goal", no_wrap=True), *right, "reached")
    for outcome in outcomes(clips):
        goal, ours, theirs = outcome.goal, outcome.ours, outcome.theirs
        change = f"{100 * (ours / theirs - 1):+.0f} %" if theirs > 0 else "-"
        wanted = "" if math.isnan(goal.wanted) else _wanted(goal)
        told = {None: "", True: "yes", False: "no"}[outcome.reached]
        table.add_row(goal.told, _digits(ours), f"{_digits(theirs)} {goal.yardstick}", change, wanted, told)
    (console or open_console()).print(table)


def write_video_report(folder: Path, settings: Mapping[str, object], clips: Sequence[ClipFigures]) -> None:
    """Write `video.json` into a folder, which is made: settings, figures by clip, means and goals; null for NaN.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    make_report_folder(folder)
    told = {
        "settings": settings,
        "clips": [
            {"name": clip.name, "kind": clip.kind, **{row: with_nulls(figures) for row, figures in clip.rows.items()}}
            for clip in clips
        ],
        "means": {row: with_nulls(means) for row in ROWS if (means := _means(clips, row))},
        "goals": [
            {
                "goal": outcome.goal.told,
                "wanted": _wanted(outcome.goal),
                **with_nulls({STREAMSEG: outcome.ours, "yardstick": outcome.theirs}),
                "reached": outcome.reached,
            }
            for outcome in outcomes(clips)
        ],
    }
    atomic_write(folder / REPORT_FILE, (json.dumps(told, indent=1, allow_nan=False) + "\n").encode())


def _is_found(clip: ClipFigures) -> bool:
    return (clip.rows.get(UNSMOOTHED) or clip.rows[STREAMSEG]).get("all.iou", 0) >= FOUND_IOU


def _reached(goal: Goal, ours: float, theirs: float) -> bool | None:
    limit = goal.wanted if goal.absolute else goal.wanted * theirs
    return None if math.isnan(limit) else ours <= limit


def _wanted(goal: Goal) -> str:
    if math.isnan(goal.wanted):
        return ""
    return f"at most {goal.wanted:g}" if goal.absolute else f"{100 * (goal.wanted - 1):.0f} %"


def _means(clips: Sequence[ClipFigures], row: str) -> dict[str, float]:
    names = {name: None for clip in clips for name in clip.rows.get(row, {})}
    return {name: _mean(clips, row, name) for name in names}


def _mean(clips: Sequence[ClipFigures], row: str, name: str) -> float:
    """Return the mean over the clips that have the figure; NaN if none has."""
    values = [value for clip in clips if not math.isnan(value := clip.rows.get(row, {}).get(name, math.nan))]
    return float(np.mean(values)) if values else math.nan


def _digits(value: float) -> str:
    """Return a figure with four significant digits; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.4g}"
