"""Network selection for live sources: with `model = auto`, the best network that keeps the camera's pace here.

To keep pace is to compute a matte for every frame. A slower network runs too, with its newest matte warped to the
frames (`live.infer_live`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streamseg.frames import VideoInfo
from streamseg.infer import engines
from streamseg.infer.engines.base import Engine, call_seconds
from streamseg.infer.letterbox import black_images
from streamseg.model.precision import live_models, named
from streamseg.settings import AUTO, InferSettings

PACE_BUDGET = 0.6
"""Fraction of the time between two frames that a call may take for its network to be chosen. The other stages need the
rest; it is below `live.LIVE_BUDGET`, so that frames still wait for a call that takes longer now and then."""


@dataclass(frozen=True)
class EngineChoice:
    """An open engine with the network that was chosen for a source.

    Attributes:
        settings: with the network's name or file as `model`.
        engine: runs the network.
        reason: one line on why the network was chosen; empty if the settings named it.
    """

    settings: InferSettings
    engine: Engine
    reason: str = ""


@dataclass(frozen=True)
class Candidate:
    """A network that was tried, and the seconds that a call of it takes."""

    model: str
    engine: Engine
    seconds: float

    def __str__(self) -> str:
        return f"{self.model} takes {self.seconds * 1000:.0f} ms"


def engine_for(settings: InferSettings, info: VideoInfo) -> EngineChoice:
    """Open an engine for a source; for a live source with `model = auto`, measure the candidates first.

    Args:
        settings: name the model, or `auto`.
        info: of the source; calls are measured at its size, against its rate.

    Raises:
        EngineError: as `open_engine`.
        WeightsError: as `load_model` and `chosen_model`.
    """
    if not info.live or settings.model != AUTO:
        return EngineChoice(named(settings), engines.load_engine(settings, info.live))
    small = black_images(info, settings.input_size)
    best, reason = choose_by_speed(
        live_models(settings.precision),
        float(1 / info.rate),
        lambda model: engines.load_engine(named(settings, model), True),
        lambda engine: call_seconds(engine, small),
    )
    return EngineChoice(named(settings, best.model), best.engine, reason)


def choose_by_speed(
    models: Iterable[str],
    frame_seconds: float,
    open_model: Callable[[str], Engine],
    measure_seconds: Callable[[Engine], float],
) -> tuple[Candidate, str]:
    """Return the first network that keeps pace, else the fastest, and the reason in one line.

    Networks after the first that keeps pace are not opened.

    Args:
        models: at least one name, the best first.
        frame_seconds: time from one frame of the source to the next.
        open_model: opens an engine with a model.
        measure_seconds: measures a call of an engine.
    """
    tried: list[Candidate] = []
    for model in models:
        engine = open_model(model)
        tried.append(Candidate(model, engine, measure_seconds(engine)))
        if tried[-1].seconds <= PACE_BUDGET * frame_seconds:
            break
    best = min(tried, key=lambda candidate: candidate.seconds)
    return best, "; ".join([_reason(best, frame_seconds), *(str(other) for other in tried if other is not best)])


def _reason(best: Candidate, frame_seconds: float) -> str:
    frame_ms = f"the camera's {frame_seconds * 1000:.0f} ms"
    time = f"{best.model}: {best.seconds * 1000:.0f} ms a frame"
    if best.seconds <= PACE_BUDGET * frame_seconds:
        return f"{time}, within {frame_ms}"
    return f"{time}, the fastest here but not well within {frame_ms}, so that mattes may have to move with the image"
