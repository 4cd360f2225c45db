"""Progress: a bar on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import io
from collections import deque

import pytest
from rich.console import Console

from streamseg.cli.progress import RunProgress, download_bar
from streamseg.statistics import Statistics


def state(frames: int, elapsed_seconds: float) -> Statistics:
    """At an even rate."""
    finished_seconds = deque(elapsed_seconds * index / max(1, frames) for index in range(frames + 1))
    return Statistics(frames=frames, elapsed_seconds=elapsed_seconds, finished_seconds=finished_seconds)


def piped() -> tuple[io.StringIO, Console]:
    text = io.StringIO()
    return text, Console(file=text, force_terminal=False)


def terminal() -> tuple[io.StringIO, Console]:
    text = io.StringIO()
    return text, Console(file=text, force_terminal=True, width=100, legacy_windows=False)


def test_a_pipe_gets_a_plain_line_every_five_seconds() -> None:
    text, console = piped()
    with RunProgress(100, console) as progress:
        for second in range(1, 13):
            progress.update(state(4 * second, float(second)))
    assert text.getvalue().splitlines() == [
        "frame 20/100  4.0 fps  20 s left",
        "frame 40/100  4.0 fps  15 s left",
    ]


def test_a_live_run_that_lasts_all_day_gets_few_lines() -> None:
    text, console = piped()
    with RunProgress(None, console, is_live=True) as progress:
        for second in range(1, 2000):
            progress.update(state(second, float(second)))
    seconds = [int(line.split()[1]) for line in text.getvalue().splitlines()]
    assert seconds == [*range(5, 61, 5), 660, 1260, 1860]


def test_a_short_run_prints_nothing_into_a_pipe() -> None:
    text, console = piped()
    with RunProgress(3, console) as progress:
        progress.update(state(3, 0.0))
    assert text.getvalue() == ""


def test_without_a_known_end_no_time_is_promised() -> None:
    text, console = piped()
    with RunProgress(None, console) as progress:
        progress.update(state(60, 6.0))
    assert text.getvalue() == "frame 60  10.0 fps\n"


def test_a_camera_that_takes_long_to_open_does_not_look_slow() -> None:
    text, console = piped()
    statistics = state(60, 2.0)
    statistics.elapsed_seconds = 6.0
    with RunProgress(None, console) as progress:
        progress.update(statistics)
    assert text.getvalue() == "frame 60  30.0 fps\n"


def test_more_frames_than_the_container_said() -> None:
    text, console = piped()
    with RunProgress(10, console) as progress:
        progress.update(state(60, 6.0))
    assert text.getvalue() == "frame 60/10  10.0 fps  0 s left\n"


def test_a_narrow_console_does_not_break_the_line() -> None:
    text = io.StringIO()
    with RunProgress(1000, Console(file=text, force_terminal=False, width=10)) as progress:
        progress.update(state(60, 6.0))
    assert text.getvalue().count("\n") == 1


def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(None) as progress:
        progress.update(state(60, 6.0))
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "frame 60  10.0 fps\n")


@pytest.mark.parametrize("total", [10, None])
def test_a_terminal_gets_a_bar_that_is_gone_afterwards(total: int | None) -> None:
    text, console = terminal()
    with RunProgress(total, console) as progress:
        progress.update(state(7, 2.0))
        assert progress._bar is not None
        progress._bar.refresh()
        shown = text.getvalue()
    assert f"7/{total or '?'}" in shown.replace(" ", "")
    assert "3.5 fps" in shown
    assert text.getvalue().endswith("\x1b[2K")  # Transient: the line is erased.


def test_the_bar_ends_after_an_error() -> None:
    _, console = terminal()
    with pytest.raises(KeyboardInterrupt), RunProgress(10, console) as progress:
        raise KeyboardInterrupt
    assert progress._bar is not None
    assert not progress._bar.live.is_started


def test_a_download_shows_what_is_there_of_all() -> None:
    text, console = terminal()
    with download_bar("full", 176_000_000, console) as progress:
        progress(88_000_000)
    assert "full" in text.getvalue() and "88.0/176.0 MB" in text.getvalue()


def test_a_download_prints_nothing_into_a_pipe() -> None:
    text, console = piped()
    with download_bar("full", 176_000_000, console) as progress:
        progress(88_000_000)
    assert text.getvalue() == ""


@pytest.mark.parametrize(("frames", "line"), [(0, "0 frames, "), (1, "1 frame, "), (2, "2 frames, ")])
def test_one_frame_is_no_plural(frames: int, line: str) -> None:
    assert str(state(frames, 1.0)).startswith(line)
