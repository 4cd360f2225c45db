"""Which network a source gets, and how a live source's keeps pace, in one line."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from streamseg.frames import VideoInfo
from streamseg.infer.select import EngineChoice, engine_for
from streamseg.settings import InferSettings
from tests.synthetic import DiscEngine

CAMERA = VideoInfo(128, 96, Fraction(30), live=True)


class Named(DiscEngine):
    """Knows its model, and whether it is for a live source."""

    def __init__(self, model: str, live: bool = True) -> None:
        super().__init__()
        self.model, self.live = model, live


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are `Named`, and their calls take 12 ms."""
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda settings, live=False: Named(settings.model, live))
    monkeypatch.setattr("streamseg.infer.select.call_seconds", lambda *_: 0.012)


def choice(settings: InferSettings, info: VideoInfo = CAMERA) -> tuple[EngineChoice, Named]:
    chosen = engine_for(settings, info)
    assert isinstance(chosen.engine, Named)
    return chosen, chosen.engine


@pytest.mark.usefixtures("opened")
class TestEngineFor:
    @pytest.mark.parametrize(
        ("rate", "pace"),
        [
            (30, "nano: 12 ms a frame, within the camera's 33 ms"),
            (
                60,
                "nano: 12 ms a frame, not well within the camera's 17 ms, so that mattes may have to move with the "
                "image",
            ),
        ],
    )
    def test_live(self, rate: int, pace: str) -> None:
        chosen, engine = choice(InferSettings(input_size=64), replace(CAMERA, rate=Fraction(rate)))
        assert chosen.settings == InferSettings(model="nano", input_size=64)
        assert (engine.model, engine.live, chosen.pace) == ("nano", True, pace)

    @pytest.mark.parametrize("model", ["lite", "lite-duts", "mine.safetensors"])
    @pytest.mark.parametrize("live", [True, False])
    def test_a_model_that_is_named_is_taken(self, model: str, live: bool) -> None:
        chosen, engine = choice(InferSettings(model=model), replace(CAMERA, live=live))
        assert (chosen.settings.model, engine.model, engine.live, chosen.pace) == (model, model, live, "")

    def test_files(self) -> None:
        chosen, engine = choice(InferSettings(), replace(CAMERA, live=False))
        assert (chosen.settings.model, engine.live, chosen.pace) == ("lite", False, "")


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
