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
    from streamseg.batch.schedule import Progress as CrewState
    from streamseg.statistics import Statistics

SECONDS_BETWEEN_LINES = 5.0
"""Time between two lines where there is no terminal."""
LIVE_START_SECONDS, LIVE_SECONDS_BETWEEN_LINES = 60.0, 600.0
"""Live runs, which may last for days, get lines less often after the first minute: a journal keeps them all."""


class RunProgress:
    """Shows finished frames, frames a second and the remaining time."""

    def __init__(self, frame_count: int | None, console: Console | None = None, is_live: bool = False) -> None:
        """Prepare the display.

        Args:
            frame_count: number of frames that will come; None if unknown.
            console: standard error if None.
            is_live: whether it is a live run, which gets few lines.
        """
        self._total, self._is_live = frame_count, is_live
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
        """Show the state after a frame, with the rate of late where no end is to be foretold, as from a camera."""
        fps = statistics.fps if self._total else statistics.recent_fps
        self._show(statistics.frames, self._total, fps, statistics.elapsed_seconds)

    def _show(self, frames: int, total: int | None, fps: float, elapsed_seconds: float, more: str = "") -> None:
        """Show frames finished, and what else is to be said, which begins with two spaces."""
        if self._bar:
            self._bar.update(self._task, completed=frames, total=total, rate=f"{fps:.1f} fps{more}")
        elif elapsed_seconds >= self._next_line_seconds:
            is_rare = self._is_live and elapsed_seconds >= LIVE_START_SECONDS
            interval_seconds = LIVE_SECONDS_BETWEEN_LINES if is_rare else SECONDS_BETWEEN_LINES
            self._next_line_seconds = elapsed_seconds + interval_seconds
            print(_line(frames, total, fps) + more, file=self._console.file, flush=True)


class CrewProgress(RunProgress):
    """Shows frames, rate and remaining time of all workers together, their number, and files if there are several."""

    def __init__(self, files: int | None = 1, console: Console | None = None) -> None:
        """Prepare the display.

        Args:
            files: number of files; None if it is not known.
            console: standard error if None.
        """
        super().__init__(None, console)
        self._files = files

    def show(self, progress: CrewState) -> None:
        """Show how far all is, once there is something to show."""
        from streamseg.frames import counted

        if not progress.new_frames:
            return
        fps = progress.new_frames / progress.elapsed_seconds if progress.elapsed_seconds else 0.0
        of = f"/{self._files}" if self._files else ""
        files = "" if self._files == 1 else f"  file {progress.files}{of}"
        more = f"{files}  {counted(progress.workers, 'worker')}"
        self._show(progress.frames, progress.frame_count, fps, progress.elapsed_seconds, more)


def _line(frames: int, total: int | None, fps: float) -> str:
    if not total or not fps:
        return f"frame {frames}  {fps:.1f} fps"
    return f"frame {frames}/{total}  {fps:.1f} fps  {max(0, total - frames) / fps:.0f} s left"


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
