"""Progress displays: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from streamseg.statistics import Statistics

SECONDS_BETWEEN_LINES = 5.0
"""Time between two lines where there is no terminal."""


class RunProgress:
    """Shows finished frames, frames a second and the remaining time."""

    def __init__(self, frame_count: int | None, console: Console | None = None) -> None:
        """Prepare the display.

        Args:
            frame_count: number of frames that will come; None if unknown.
            console: standard error if None.
        """
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
        """Show the state after a frame."""
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


@contextmanager
def download_bar(name: str, size_bytes: int, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar for a download on a terminal; yield the function to call with the number of bytes so far.

    Args:
        name: label of the bar.
        size_bytes: of the whole file.
        console: standard error if None.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=size_bytes)
        yield lambda done_bytes: bar.update(task, completed=done_bytes)
