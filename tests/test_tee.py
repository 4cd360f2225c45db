"""Several sinks side by side."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from streamseg.errors import OutputError
from streamseg.frames import Frame
from streamseg.sink import BaseSink, SinkClosed
from streamseg.sink.tee import TeeSink
from tests.synthetic import frames


class Recording(BaseSink):
    """Keeps what is done to it; `fails_at` names the frame at which it fails, and how."""

    def __init__(self, name: str, fails_at: int | None = None, error: Exception | None = None) -> None:
        self.name, self.fails_at, self.error = name, fails_at, error or OutputError(f"{name} is full")
        self.written: list[int] = []
        self.ended: list[str] = []

    @property
    def summary(self) -> str:
        return f"{self.name}: {len(self.written)}"

    def write(self, frame: Frame) -> None:
        if frame.index == self.fails_at:
            raise self.error
        self.written.append(frame.index)

    def complete(self) -> None:
        self.ended.append("complete")

    def discard(self) -> None:
        self.ended.append("discard")


def run(sinks: Sequence[BaseSink], beside: Sequence[BaseSink] = ()) -> list[str]:
    told: list[str] = []
    with TeeSink(sinks, told.append, beside) as tee:
        for frame in frames(4):
            tee.write(frame)
    return told


def test_each_gets_every_frame_and_is_completed() -> None:
    sinks = [Recording("a"), Recording("b")]
    assert run(sinks) == []
    assert [(sink.written, sink.ended) for sink in sinks] == [([0, 1, 2, 3], ["complete"])] * 2


def test_one_that_fails_is_left_out_and_told() -> None:
    sinks = [Recording("a", fails_at=2), Recording("b")]
    assert run(sinks) == ["a is full"]
    assert sinks[0].written == [0, 1] and sinks[1].written == [0, 1, 2, 3]
    assert sinks[0].ended == sinks[1].ended == ["complete"]


def test_the_last_one_that_fails_ends_the_run() -> None:
    sinks = [Recording("a", fails_at=1), Recording("b", fails_at=2)]
    with pytest.raises(OutputError, match="b is full"):
        run(sinks)
    assert sinks[1].ended == ["discard"]


def test_what_is_written_beside_does_not_keep_a_run_alive() -> None:
    sink, snapshots = Recording("a", fails_at=2), Recording("snapshots")
    with pytest.raises(OutputError, match="a is full"):
        run([sink], beside=[snapshots])
    assert snapshots.written == [0, 1] and snapshots.ended == ["discard"]


def test_one_that_cannot_even_be_ended_does_not_end_the_others() -> None:
    class Full(Recording):
        def complete(self) -> None:
            raise OutputError("no space for the end either")

    sinks = [Full("a", fails_at=2), Recording("b")]
    assert run(sinks) == ["a is full"]
    assert sinks[1].written == [0, 1, 2, 3]


def test_a_closed_window_ends_the_run() -> None:
    sinks = [Recording("a", fails_at=2, error=SinkClosed()), Recording("b")]
    with pytest.raises(SinkClosed):
        run(sinks)


def test_an_error_at_the_end_of_one_does_not_keep_the_others_from_their_end() -> None:
    class Failing(Recording):
        def complete(self) -> None:
            raise OutputError("the disk is full")

    sinks = [Failing("a"), Recording("b")]
    with pytest.raises(OutputError, match="the disk is full"):
        run(sinks)
    assert sinks[1].ended == ["complete"]


def test_the_summary_names_all() -> None:
    tee = TeeSink([Recording("a", fails_at=1), Recording("b")])
    for frame in frames(3):
        tee.write(frame)
    assert tee.summary == "b: 3; a is full"
