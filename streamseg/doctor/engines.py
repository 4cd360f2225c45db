"""Checks of inference: the speed of each engine, and what a webcam would run on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

from streamseg.doctor.finding import Finding
from streamseg.doctor.machine import Machine, pip_install

if TYPE_CHECKING:
    from streamseg.frames import VideoInfo
    from streamseg.image import Pixels
    from streamseg.infer.engines.base import Engine

TEST_SECONDS = 0.5
"""Time for which each engine is called, after a first call: long enough for two figures."""

PACKAGES = {"openvino": ("openvino",), "onnx": ("onnx", "onnxruntime"), "torch": ("torch",)}
"""Packages of engines."""


def check_engine(name: str) -> Callable[[Machine], Iterator[Finding]]:
    """Return the check that measures an engine with the network of files and photos, as `--engine NAME` runs it."""

    def check(machine: Machine) -> Iterator[Finding]:
        from streamseg.errors import EngineError
        from streamseg.infer.engines import load_engine
        from streamseg.infer.letterbox import black_images
        from streamseg.model.precision import chosen_model
        from streamseg.settings import InferSettings

        settings = InferSettings(engine=name)
        try:
            engine = load_engine(settings)
        except EngineError as error:
            is_extra = "is not installed" in str(error)
            reason = str(error).partition(f"{name}: ")[2] or str(error)
            remedy = pip_install(*PACKAGES[name]) + (" --force-reinstall" if not is_extra else "")
            yield Finding(f"engine {name}", "ok" if is_extra else "warning", reason.partition(": pip")[0], remedy)
            return
        rate = calls_per_second(engine, black_images(_webcam(), settings.input_size))
        model = chosen_model(settings)
        yield Finding(f"engine {name}", "ok", f"{rate:.1f} calls a second of {model} at 1280x720, on {engine.device}")

    return check


def check_live(machine: Machine) -> Iterator[Finding]:
    """Tell the engine and the network that `auto` takes for a webcam of 1280x720 at 30 frames a second."""
    from streamseg.infer.select import engine_for
    from streamseg.settings import InferSettings

    chosen = engine_for(InferSettings(), _webcam())
    yield Finding("engine auto", "ok", f"{chosen.engine.name}; for a webcam at 1280x720, 30 fps: {chosen.pace}")


def calls_per_second(engine: Engine, small: Pixels, clock: Callable[[], float] = time.perf_counter) -> float:
    """Call a warm engine for `TEST_SECONDS`, at least once.

    Args:
        engine: what `load_engine` returned.
        small: network inputs, RGB `(N, h, w, 3)` uint8.
        clock: returns the time in seconds.
    """
    from streamseg.infer.engines.base import predict_one

    predict_one(engine, small)
    started, count, elapsed = clock(), 0, 0.0
    while elapsed < TEST_SECONDS:
        predict_one(engine, small)
        count, elapsed = count + 1, clock() - started
    return count / elapsed


def _webcam() -> VideoInfo:
    from streamseg.frames import VideoInfo

    return VideoInfo(1280, 720, Fraction(30), live=True)
