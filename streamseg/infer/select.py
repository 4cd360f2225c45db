"""Which network a live source gets where none is named: the best that keeps the camera's pace on this machine.

To keep pace is to give every frame a matte of its own. A slower network runs too, but then the newest of its mattes
moves with the picture (`motion.infer_live`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from streamseg.frames import VideoInfo
from streamseg.infer import engines
from streamseg.infer.engines.base import Engine, call_seconds
from streamseg.infer.letterbox import black_pictures
from streamseg.model.precision import live_models, named
from streamseg.settings import AUTO, InferSettings

ROOM = 0.6
"""Share of the time between two frames that a call may take to be chosen. The rest is for what else the machine does;
it is less than `motion.LIVE_BUDGET`, so that a call that takes longer now and then is still waited for."""


@dataclass(frozen=True)
class Chosen:
    """A network that runs.

    Attributes:
        settings: with its name, or file, as the model.
        engine: what runs it.
        reason: why it was chosen, in a line; empty where there was nothing to choose.
    """

    settings: InferSettings
    engine: Engine
    reason: str = ""


@dataclass(frozen=True)
class Candidate:
    """A network that was tried, and the time of a call."""

    model: str
    engine: Engine
    seconds: float

    def __str__(self) -> str:
        return f"{self.model} takes {self.seconds * 1000:.0f} ms"


def engine_for(settings: InferSettings, info: VideoInfo) -> Chosen:
    """Opens an engine for a source; for a live one, what `auto` stands for is measured, which takes a moment.

    Args:
        settings: a model that they name is taken as it is.
        info: of the source: its size is what calls are measured at, and its rate the pace.

    Raises:
        EngineError: as `open_engine`.
        WeightsError: as `load_model` and `chosen_model`.
    """
    if not info.live or settings.model != AUTO:
        return Chosen(named(settings), engines.load_engine(settings, info.live))
    small = black_pictures(info, settings.input_size)
    best, reason = in_pace(
        live_models(settings.precision),
        float(1 / info.rate),
        lambda model: engines.load_engine(named(settings, model), True),
        lambda engine: call_seconds(engine, small),
    )
    return Chosen(named(settings, best.model), best.engine, reason)


def in_pace(
    models: Iterable[str],
    frame_seconds: float,
    open_model: Callable[[str], Engine],
    seconds_of: Callable[[Engine], float],
) -> tuple[Candidate, str]:
    """The first network that keeps the pace, or else the fastest, and why; those after the first are not opened.

    Args:
        models: at least one, the best first.
        frame_seconds: from one frame of the source to the next.
        open_model: opens an engine with a model.
        seconds_of: measures a call.
    """
    tried: list[Candidate] = []
    for model in models:
        engine = open_model(model)
        tried.append(Candidate(model, engine, seconds_of(engine)))
        if tried[-1].seconds <= ROOM * frame_seconds:
            break
    best = min(tried, key=lambda candidate: candidate.seconds)
    return best, "; ".join([_judged(best, frame_seconds), *(str(other) for other in tried if other is not best)])


def _judged(best: Candidate, frame_seconds: float) -> str:
    frame_ms = f"the camera's {frame_seconds * 1000:.0f} ms"
    time = f"{best.model}: {best.seconds * 1000:.0f} ms a frame"
    if best.seconds <= ROOM * frame_seconds:
        return f"{time}, within {frame_ms}"
    return f"{time}, the fastest here but not well within {frame_ms}, so that mattes may have to move with the picture"
