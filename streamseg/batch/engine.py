"""The engine of a worker process: opened once, and named so that every machine takes the same one."""

from __future__ import annotations

from streamseg.infer import engines
from streamseg.infer.engines.base import Engine
from streamseg.model import precision
from streamseg.settings import AUTO, InferSettings

_opened: dict[InferSettings, Engine] = {}


def engine_of(settings: InferSettings) -> Engine:
    """Open the engine and the weights that the settings name, or return them if they are open.

    Raises:
        EngineError: no engine opens.
        WeightsError: the weights cannot be read.
    """
    if settings not in _opened:
        _opened[settings] = engines.load_engine(settings)
    return _opened[settings]


def settled(settings: InferSettings) -> InferSettings:
    """Return settings that name the weights and the engine that these choose here; raise as `engine_of`."""
    weights = precision.settled(settings)
    engine = engine_of(weights)
    if settings.engine != AUTO or engine.name not in engines.ENGINES:
        return weights
    device = "cuda" if engine.device.startswith("cuda") else "cpu"
    named = weights.model_copy(update={"engine": engine.name, "device": device})
    _opened[named] = engine
    return named
