"""Shows how a run goes: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from streamseg.batch import Outcome, write_report

if TYPE_CHECKING:
    from streamseg.pipeline import Statistics

SECONDS_BETWEEN_LINES = 5.0


class RunProgress:
    """Frames done, frames a second and the time that is left, on standard error by default."""

    def __init__(self, frame_count: int | None, console: Console | None = None) -> None:
        """`frame_count` is None where nobody knows how many frames will come."""
        self._total = frame_count
        self._console = console or Console(stderr=True)
        self._next_line_seconds = SECONDS_BETWEEN_LINES
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
            self._bar = Progress(BarColumn(), MofNCompleteColumn(), *columns, console=self._console, transient=True)
            self._task = self._bar.add_task("frames", total=frame_count, rate="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, statistics: Statistics) -> None:
        """Shows the state after a frame."""
        if self._bar:
            self._bar.update(self._task, completed=statistics.frames, rate=f"{statistics.fps:.1f} fps")
        elif statistics.elapsed_seconds >= self._next_line_seconds:
            self._next_line_seconds = statistics.elapsed_seconds + SECONDS_BETWEEN_LINES
            print(self._line(statistics), file=self._console.file, flush=True)

    def _line(self, statistics: Statistics) -> str:
        if not self._total:
            return f"frame {statistics.frames}  {statistics.fps:.1f} fps"
        left_seconds = max(0, self._total - statistics.frames) / statistics.fps
        return f"frame {statistics.frames}/{self._total}  {statistics.fps:.1f} fps  {left_seconds:.0f} s left"


class BatchProgress:
    """A line a file as they are finished; a table and the report at the end, whatever ended it.

    Attributes:
        failed: how many files could not be done.
    """

    def __init__(self, report: Path, count: int | None, console: Console | None = None) -> None:
        """`count` is None where files come until Ctrl-C."""
        self._report, self._count = report, count
        self._console = console or Console()
        self._outcomes: list[Outcome] = []
        self.failed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        write_report(self._report, self._outcomes)
        self._console.print(self._table())
        self._console.print(f"report: {self._report}", soft_wrap=True)

    def add(self, outcome: Outcome) -> None:
        """Shows what became of one file."""
        self._outcomes.append(outcome)
        self.failed += outcome.status == "failed"
        of = f"/{self._count}" if self._count else ""
        print(
            f"{len(self._outcomes)}{of}  {outcome.status:6}  {Path(outcome.source).name}: {outcome.message}",
            file=self._console.file,
            flush=True,
        )

    def _table(self) -> Table:
        table = Table("file", "status", "frames", "seconds", "fps")
        for outcome in self._outcomes:
            figures = (f"{outcome.frames}", f"{outcome.seconds:.1f}", f"{outcome.fps:.1f}") if outcome.frames else ()
            table.add_row(Path(outcome.source).name, outcome.status, *figures)
        return table
