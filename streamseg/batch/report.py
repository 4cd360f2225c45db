"""Batch reports: a line a file, a table at the end, and report.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamseg.batch.jobs import Outcome
from streamseg.media.atomic import atomic_write
from streamseg.media.storage import AnyPath


class BatchProgress:
    """Prints a line for each finished file; at the end, also after an error, prints a table and writes report.json.

    Attributes:
        failed: number of files that failed.
        damaged: number of files that were done as far as they could be decoded.
    """

    def __init__(self, report: AnyPath, count: int | None, console: Console | None = None) -> None:
        """Prepare a report; print and write it when the `with` block ends.

        Args:
            report: path or URL of report.json.
            count: number of files; None if files are watched for until Ctrl-C.
            console: standard output if None.
        """
        self._report, self._count = report, count
        self._console = console or Console()
        self._outcomes: list[Outcome] = []
        self.failed = self.damaged = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        write_report(self._report, self._outcomes)
        self._console.print(self._table())
        print(f"report: {self._report}", file=self._console.file)

    def add(self, outcome: Outcome) -> None:
        """Print the outcome of one file."""
        self._outcomes.append(outcome)
        self.failed += outcome.status == "failed"
        self.damaged += outcome.status == "damaged"
        of = f"/{self._count}" if self._count else ""
        print(
            f"{len(self._outcomes)}{of}  {outcome.status:7}  {Path(outcome.source).name}: {outcome.message}",
            file=self._console.file,
            flush=True,
        )

    def _table(self) -> Table:
        table = Table("file", "status", "frames", "seconds", "fps")
        for outcome in self._outcomes:
            figures = (f"{outcome.frames}", f"{outcome.seconds:.1f}", f"{outcome.fps:.1f}") if outcome.frames else ()
            table.add_row(Text(Path(outcome.source).name), outcome.status, *figures)
        return table


def write_report(path: AnyPath, outcomes: list[Outcome]) -> None:
    """Write `report.json`: a list of the outcomes, with fps.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = [asdict(outcome) | {"fps": round(outcome.fps, 2)} for outcome in outcomes]
    atomic_write(path, json.dumps(rows, indent=2).encode())
