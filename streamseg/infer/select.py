"""Choice of the engine for a source: with `model = auto`, a live source gets another network than a file."""

from __future__ import annotations

from dataclasses import dataclass

from streamseg.frames import VideoInfo
from streamseg.infer import engines
from streamseg.infer.engines.base import Engine, call_seconds
from streamseg.infer.letterbox import black_images
from streamseg.model.precision import LIVE_MODEL, named
from streamseg.settings import AUTO, InferSettings

PACE_BUDGET = 0.6
"""Fraction of the time between two frames within which a call of the network keeps pace. The other stages need the
rest; it is below `live.LIVE_BUDGET`, so that frames still wait for a call that takes longer now and then."""


@dataclass(frozen=True)
class EngineChoice:
    """An open engine with the network that was chosen for a source.

    Attributes:
        settings: with the network's name or file as `model`.
        engine: runs the network.
        pace: one line on how the network keeps pace with a live source; empty if the settings named it.
    """

    settings: InferSettings
    engine: Engine
    pace: str = ""


def engine_for(settings: InferSettings, info: VideoInfo) -> EngineChoice:
    """Open an engine for a source; for a live source with `model = auto`, measure how it keeps pace.

    A network that is too slow runs too, with its newest matte warped to the frames (`live.infer_live`).

    Args:
        settings: name the model, or `auto`.
        info: of the source; calls are measured at its size, against its rate.

    Raises:
        EngineError: as `open_engine`.
        WeightsError: as `load_model` and `chosen_model`.
    """
    if not info.live or settings.model != AUTO:
        return EngineChoice(named(settings), engines.load_engine(settings, info.live))
    chosen = named(settings, LIVE_MODEL)
    engine = engines.load_engine(chosen, True)
    call = call_seconds(engine, black_images(info, settings.input_size))
    return EngineChoice(chosen, engine, _pace(chosen.model, call, float(1 / info.rate)))


def _pace(model: str, call_seconds: float, frame_seconds: float) -> str:
    frame_ms = f"the camera's {frame_seconds * 1000:.0f} ms"
    time = f"{model}: {call_seconds * 1000:.0f} ms a frame"
    if call_seconds <= PACE_BUDGET * frame_seconds:
        return f"{time}, within {frame_ms}"
    return f"{time}, not well within {frame_ms}, so that mattes may have to move with the image"
