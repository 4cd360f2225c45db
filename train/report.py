"""An evaluation as a table, as files for programs and as a sheet of the worst mattes."""

from __future__ import annotations

import csv
import heapq
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from streamseg.errors import OutputError
from streamseg.media.atomic import atomic_write
from train.metrics import ImageScores, Scores, by_prefix, four_digits, with_nulls
from train.pictures import Tile, contact_sheet

WORST = 16
COLUMNS = ("mae", "max_f", "weighted_f", "s_measure", "boundary_f", "iou", "haze", "holes")
"""What the .csv file has of each image; nothing where the image has no such figure."""

NAMES = {
    "mae": "MAE",
    "max_f": "max F",
    "mean_f": "mean F",
    "max_f_per_image": "max F, averaged image by image",
    "mean_f_per_image": "mean F, averaged image by image",
    "weighted_f": "weighted F",
    "s_measure": "S-measure",
    "max_e": "max E-measure",
    "mean_e": "mean E-measure",
    "boundary_f": "relaxed boundary F (3 px)",
    "iou": "IoU at alpha 0.5",
    "haze": "haze (alpha far outside)",
    "holes": "holes (1 - alpha deep inside)",
}

PREFIX_NAMES = {"max_f": "max F", "mae": "MAE", "iou": "IoU", "haze": "haze", "holes": "holes"}
"""The columns of the table by set."""


WIDTH = 160
"""Characters in a line where no terminal says how many there are: room for every table."""


def open_console() -> Console:
    """Return standard output, whose tables are whole in a file or a pipe too."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


class Worst:
    """Keeps the pictures with the largest mean absolute error while the others pass, at the size of a sheet's tiles."""

    def __init__(self) -> None:
        self.heap: list[tuple[float, int, Tile]] = []

    def watched(self, judged: Iterable[tuple[ImageScores, Tile]]) -> Iterator[ImageScores]:
        """Hands on the scores."""
        for scores, tile in judged:
            if len(self.heap) < WORST or scores.mae > self.heap[0][0]:
                seen = tile.reduced(f"{tile.caption}  MAE {scores.mae:.3f}")
                # No two indices are equal, so that tiles are never compared.
                entry = (scores.mae, -scores.index, seen)
                (heapq.heappush if len(self.heap) < WORST else heapq.heapreplace)(self.heap, entry)
            yield scores

    def tiles(self) -> list[Tile]:
        """The worst first."""
        return [tile for _, _, tile in sorted(self.heap, reverse=True)]


def print_table(scores: Scores, title: str, console: Console | None = None) -> None:
    """One line a metric."""
    console = console or open_console()
    # As a line of its own: over the table it would be wrapped to the table's width.
    console.print(f"{title} ({scores.images} images)", markup=False, highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, told in NAMES.items():
        table.add_row(told, four_digits(getattr(scores, name)))
    console.print(table)


def print_prefix_table(sets: Mapping[str, Scores], console: Console | None = None) -> None:
    """One line a set of those that `by_prefix` found."""
    table = Table("set", *(Column(name, justify="right") for name in ("images", *PREFIX_NAMES.values())))
    for prefix, scores in sets.items():
        figures = (four_digits(getattr(scores, name)) for name in PREFIX_NAMES)
        table.add_row(Text(prefix or "(no prefix)"), str(scores.images), *figures)
    (console or open_console()).print(table)


def report_folder(weights: str, data: Path, marks: Iterable[str]) -> Path:
    """The folder that a report goes into by itself, another one for everything else that is judged: `eval/NAME`.

    Args:
        weights: a name or a file; a run's checkpoint is named with its run, since every run has a `best.pt`.
        data: folder or tar shard.
        marks: what changes the figures beside the two.
    """
    path = Path(weights)
    judged = f"{path.absolute().parent.name}-{path.stem}" if path.suffix == ".pt" else path.stem
    parts = (judged, data.absolute().name.removesuffix(".tar"), *marks)
    return Path("eval", "-".join(re.sub(r"[^\w.=,+-]+", "_", part) for part in parts))


def make_report_folder(folder: Path) -> None:
    """Makes a folder for a report.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot use {folder} for the report: {error.strerror}; choose another with --out") from error


def write_report(
    folder: Path,
    settings: Mapping[str, object],
    scores: Scores,
    records: Sequence[tuple[str, ImageScores]],
    worst: Sequence[Tile],
) -> None:
    """Writes `scores.json`, `scores.csv` (a line an image) and `worst.png` into a folder, which is made.

    Figures that there are none of are null in `scores.json`, which also has those of each set, see `by_prefix`.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    make_report_folder(folder)
    sets = {prefix: with_nulls(asdict(each)) for prefix, each in by_prefix(records).items()}
    told = {**settings, **with_nulls(asdict(scores)), "by_prefix": sets}
    atomic_write(folder / "scores.json", (json.dumps(told, indent=2, allow_nan=False) + "\n").encode())
    atomic_write(folder / "scores.csv", _csv(records).encode())
    contact_sheet(worst, folder / "worst.png")


def _csv(records: Sequence[tuple[str, ImageScores]]) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("stem", *COLUMNS))
    for stem, record in records:
        figures = (getattr(record, column) for column in COLUMNS)
        lines.writerow((stem, *("" if math.isnan(value) else f"{value:.6f}" for value in figures)))
    return text.getvalue()
