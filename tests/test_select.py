"""Which network a live source gets: the best in pace, else the fastest; and why, in one line."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from streamseg.frames import VideoInfo
from streamseg.infer.engines.base import Engine
from streamseg.infer.select import EngineChoice, choose_by_speed, engine_for
from streamseg.model.weights import RegistryEntry
from streamseg.settings import InferSettings
from tests.synthetic import DiscEngine

FRAME_SECONDS = 1 / 30
CAMERA = VideoInfo(128, 96, Fraction(30), live=True)


class Named(DiscEngine):
    """Knows its model, and whether it is for a live source."""

    def __init__(self, model: str, live: bool = True) -> None:
        super().__init__()
        self.model, self.live = model, live


@pytest.mark.parametrize(
    ("times_ms", "model", "reason"),
    [
        ({"lite": 9, "nano": 2}, "lite", "lite: 9 ms a frame, within the camera's 33 ms"),
        ({"lite": 190, "nano": 12}, "nano", "nano: 12 ms a frame, within the camera's 33 ms; lite takes 190 ms"),
        ({"lite": 28, "nano": 12}, "nano", "nano: 12 ms a frame, within the camera's 33 ms; lite takes 28 ms"),
        (
            {"lite": 190, "nano": 60},
            "nano",
            "nano: 60 ms a frame, the fastest here but not well within the camera's 33 ms, so that mattes may have to "
            "move with the image; lite takes 190 ms",
        ),
        (
            {"lite": 50, "nano": 60},
            "lite",
            "lite: 50 ms a frame, the fastest here but not well within the camera's 33 ms, so that mattes may have to "
            "move with the image; nano takes 60 ms",
        ),
        (
            {"lite": 190},
            "lite",
            "lite: 190 ms a frame, the fastest here but not well within the camera's 33 ms, so that mattes may have to "
            "move with the image",
        ),
    ],
)
def test_the_first_in_pace_or_the_fastest(times_ms: dict[str, float], model: str, reason: str) -> None:
    def measure_seconds(engine: Engine) -> float:
        assert isinstance(engine, Named)
        return times_ms[engine.model] / 1000

    best, said = choose_by_speed(times_ms, FRAME_SECONDS, Named, measure_seconds)
    assert isinstance(best.engine, Named)
    assert (best.model, best.engine.model, said) == (model, model, reason)


def test_no_more_are_opened_than_need_be() -> None:
    opened: list[str] = []
    choose_by_speed(
        ["lite", "nano"], FRAME_SECONDS, lambda model: opened.append(model) or DiscEngine(), lambda _: 0.001
    )
    assert opened == ["lite"]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are `Named`, and calls of lite take 190 ms, those of nano 12."""
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda settings, live=False: Named(settings.model, live))
    monkeypatch.setattr(
        "streamseg.infer.select.call_seconds", lambda engine, _: 0.19 if engine.model == "lite" else 0.012
    )


def packaged(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    entries = [RegistryEntry(name, "Apache-2.0", "", f"{name}.safetensors", "") for name in names]
    full = RegistryEntry("full", "Apache-2.0", "", "full.onnx", "", url="https://example.org/full.onnx")
    monkeypatch.setattr("streamseg.model.precision.list_weights", lambda: [*entries, full])


def choice(settings: InferSettings, info: VideoInfo = CAMERA) -> tuple[EngineChoice, Named]:
    chosen = engine_for(settings, info)
    assert isinstance(chosen.engine, Named)
    return chosen, chosen.engine


@pytest.mark.usefixtures("opened")
class TestEngineFor:
    def test_live(self, monkeypatch: pytest.MonkeyPatch) -> None:
        packaged(monkeypatch, "nano", "lite")
        chosen, engine = choice(InferSettings(input_size=64))
        assert chosen.settings == InferSettings(model="nano", input_size=64)
        assert (engine.model, engine.live) == ("nano", True)
        assert chosen.reason == "nano: 12 ms a frame, within the camera's 33 ms; lite takes 190 ms"

    def test_what_is_not_packaged_is_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        packaged(monkeypatch, "lite")
        chosen, engine = choice(InferSettings())
        assert chosen.settings.model == engine.model == "lite"
        assert "nano" not in chosen.reason

    def test_int8_alone_where_that_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        packaged(monkeypatch, "lite", "lite-int8", "nano")
        assert choice(InferSettings(precision="int8"))[0].settings.model == "lite"
        packaged(monkeypatch, "lite", "lite-int8", "nano", "nano-int8")
        assert choice(InferSettings(precision="int8"))[0].settings.model == "nano"

    @pytest.mark.parametrize("model", ["lite", "lite-duts", "mine.safetensors"])
    @pytest.mark.parametrize("live", [True, False])
    def test_a_model_that_is_named_is_taken(self, model: str, live: bool) -> None:
        chosen, engine = choice(InferSettings(model=model), replace(CAMERA, live=live))
        assert (chosen.settings.model, engine.model, engine.live, chosen.reason) == (model, model, live, "")

    def test_files_get_the_best(self, monkeypatch: pytest.MonkeyPatch) -> None:
        packaged(monkeypatch, "lite", "nano")
        chosen, engine = choice(InferSettings(), replace(CAMERA, live=False))
        assert (chosen.settings.model, engine.live, chosen.reason) == ("lite", False, "")


def test_calls_are_measured_on_a_black_frame_as_the_network_will_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Watching(DiscEngine):
        def alpha(self, frames):  # type: ignore[no-untyped-def]
            shapes.add(tuple(frames.shape))
            return super().alpha(frames)

    shapes: set[tuple[int, ...]] = set()
    engine = Watching()
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_: engine)
    assert engine_for(InferSettings(input_size=320), VideoInfo(1280, 720, Fraction(30), live=True)).engine is engine
    assert shapes == {(1, 3, 192, 320)}
    assert engine.calls >= 4
