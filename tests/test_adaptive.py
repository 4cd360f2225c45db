"""The adaptive network: which one runs as calls become slower and faster, by a fake clock and fake engines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest

from streamseg.errors import EngineError
from streamseg.frames import VideoInfo
from streamseg.infer.adaptive import (
    LEAST_SIZE_PX,
    OBSERVED_CALLS,
    RELAPSE_SECONDS,
    UP_SECONDS,
    AdaptiveNetwork,
    Rung,
    ladder,
    open_rung,
)
from streamseg.settings import InferSettings
from tests.synthetic import DiscEngine

INFO = VideoInfo(1280, 720, Fraction(25), live=True)
"""40 ms a frame: a network is chosen up to 24 ms, and gives way above 30 ms."""


class Sized(DiscEngine):
    def __init__(self, rung: Rung) -> None:
        super().__init__()
        self.rung = rung


class AtOnce(Executor):
    """Runs what it is given in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass
class Machine:
    """A machine on which a network takes a time at 320 px, times the load."""

    call_ms: float
    load: float = 1.0
    now: float = 0.0
    settings: InferSettings = field(default_factory=InferSettings)
    told: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    opened: list[Rung] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.network = AdaptiveNetwork(
            lambda: self.settings,
            INFO,
            self.told.append,
            lambda problem: self.problems.append(str(problem)),
            self.open,
            lambda: self.now,
            AtOnce(),
            lambda engine, info, size: self.seconds(size),
        )

    def open(self, settings: InferSettings, rung: Rung) -> Sized:
        self.opened.append(rung)
        if rung.model == "broken":
            raise EngineError("broken does not open")
        return Sized(rung)

    def seconds(self, size_px: int) -> float:
        return self.call_ms * self.load * (size_px / 320) ** 2 / 1000

    def run(self, seconds: float) -> list[str]:
        """Run at the camera's rate; return the networks that ran, each once in a row."""
        shown: list[str] = []
        for _ in range(int(seconds * 25)):
            self.now += 0.04
            rung = self.network.rung
            if not shown or shown[-1] != str(rung):
                shown.append(str(rung))
            self.network.observe(self.network.engine, self.seconds(rung.input_size))
        return [words.partition(" px")[0] for words in shown]


def test_the_ladder_goes_from_the_chosen_input_to_the_smallest() -> None:
    rungs = ladder(InferSettings(), cores=2)
    assert [(rung.model, rung.input_size, rung.threads) for rung in rungs] == [("nano", 320, 1), ("nano", 256, 1)]
    assert ladder(InferSettings(model="x.onnx", input_size=512), cores=8)[-1] == Rung("x.onnx", 288, 3)
    assert ladder(InferSettings(input_size=128), 2)[-1].input_size == 128 < LEAST_SIZE_PX


def test_the_largest_input_that_keeps_pace_is_chosen() -> None:
    machine = Machine(20)
    assert machine.network.rung.input_size == 320
    assert machine.told == [f"{machine.network.rung}: 20 ms of the camera's 40 ms a frame (chosen)"]
    assert Machine(30).network.rung.input_size == 256
    assert Machine(500).network.rung.input_size == 256


def test_a_load_is_answered_by_a_cheaper_network_and_its_end_by_the_better_one() -> None:
    machine = Machine(20)
    assert machine.run(10) == ["nano at 320"]
    machine.load = 2
    assert machine.run(10) == ["nano at 320", "nano at 256"]
    machine.load = 1
    assert machine.run(10) == ["nano at 256", "nano at 320"]
    assert [words.rpartition("(")[2] for words in machine.told] == [
        "chosen)",
        "the machine is busy)",
        "time to spare)",
    ]


def test_one_slow_call_changes_nothing() -> None:
    machine = Machine(20)
    machine.run(2)
    for _ in range(5):
        machine.network.observe(machine.network.engine, 10.0)
        assert machine.run(2) == ["nano at 320"]


def test_an_input_that_never_fits_is_not_tried_again_and_again() -> None:
    """Calls take 19 ms, but at the larger size they would take 30: its measured cost says so without another try."""
    machine = Machine(30)
    assert machine.run(600) == ["nano at 256"]
    assert len(machine.told) == 1


def test_each_relapse_doubles_the_wait_for_the_next_try() -> None:
    machine = Machine(20)
    machine.run(2)
    changes = []
    for _ in range(4):
        machine.load = 2
        machine.run(RELAPSE_SECONDS / 2)
        assert machine.network.input_size == 256
        machine.load, began = 1, machine.now
        while machine.network.input_size == 256:
            machine.run(0.04)
        changes.append(machine.now - began)
    calls_seconds = OBSERVED_CALLS * 0.04
    assert changes[0] == pytest.approx(UP_SECONDS, abs=2 * calls_seconds)
    assert changes[1] == pytest.approx(2 * UP_SECONDS, abs=2 * calls_seconds)
    assert changes[3] == pytest.approx(8 * UP_SECONDS, abs=2 * calls_seconds)


def test_a_change_of_the_settings_is_followed() -> None:
    machine = Machine(5)
    machine.settings = InferSettings(model="lite", input_size=512)
    assert machine.run(2)[-1] == "lite at 512"
    assert machine.network.input_size == 512


def test_a_network_that_does_not_open_leaves_the_one_before() -> None:
    machine = Machine(20)
    machine.settings = InferSettings(model="broken")
    assert machine.run(2) == ["nano at 320"]
    assert machine.problems == ["broken does not open"]


def test_after_a_network_that_does_not_open_the_load_is_answered_as_before() -> None:
    machine = Machine(20)
    for model in ("broken", "lite", "broken"):
        machine.settings = InferSettings(model=model)
        machine.run(2)
    machine.load = 2
    assert machine.run(10) == ["lite at 320", "lite at 256"]
    machine.load = 1
    assert machine.run(10) == ["lite at 256", "lite at 320"]
    assert machine.problems == 2 * ["broken does not open"]


def test_a_rung_is_of_its_own_network_whatever_the_settings_name_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int]] = []

    def load(settings: InferSettings, threads: int) -> DiscEngine:
        opened.append((settings.model, threads))
        return DiscEngine()

    monkeypatch.setattr("streamseg.infer.engines.load_engine", load)
    for model in ("auto", "full"):
        open_rung(InferSettings(model=model), Rung("nano", 256, 3))
    assert opened == 2 * [("nano", 3)]


def test_the_engine_of_one_network_serves_all_sizes() -> None:
    machine = Machine(500)
    machine.run(20)
    assert [rung.model for rung in machine.opened] == ["nano"]
