"""Inference engines, one file each; `open_engine` picks one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from streamseg.errors import EngineError
from streamseg.fallback import log_fallback
from streamseg.hardware import cpu, cuda
from streamseg.infer.engines.base import Engine
from streamseg.model.foreign import ForeignNet
from streamseg.model.precision import chosen_model
from streamseg.model.quantized import QuantizedNet
from streamseg.model.weights import load_model
from streamseg.settings import InferSettings

if TYPE_CHECKING:
    from streamseg.infer.engines.onnx_engine import OnnxEngine
    from streamseg.infer.engines.openvino_engine import OpenVinoEngine
    from streamseg.infer.engines.torch_engine import TorchEngine
    from streamseg.model.weights import Model


EngineOpener = Callable[["Model", int | None, torch.device], Engine]
"""Opens an engine with a network, CPU threads (None: all) and a device; raises ImportError or RuntimeError where it
cannot."""


def register_engine(name: str, opener: EngineOpener) -> None:
    """Make an engine of one's own known by name, for settings and `open_engine`; it replaces one of that name."""
    ENGINES[name] = opener


def open_engine(name: str, net: Model, threads: int | None = None, device: str = "auto") -> Engine:
    """Open an engine by name; `auto` takes PyTorch where there is a GPU, else the first of `AUTO_ENGINES` that opens.

    PyTorch does not run int8 networks, nor those from elsewhere.

    Args:
        name: of `ENGINES`, or `auto`.
        net: the network.
        threads: of the engine on a CPU, where not all cores are for it.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        EngineError: the name is unknown; the engine does not open, with the reason; for `auto`, none does, with each
            one's reason.
    """
    if name != "auto" and name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}; known are auto, {', '.join(ENGINES)}")
    place = cuda.chosen_device(device)
    names = [name] if name != "auto" else list(AUTO_ENGINES)
    if name == "auto" and place.type == "cuda" and not isinstance(net, QuantizedNet | ForeignNet):
        names = ["torch"]
    reasons: list[str] = []
    for candidate in names:
        try:
            engine = ENGINES[candidate](net, threads, place)
        except (ImportError, RuntimeError) as error:
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            reasons.append(f"{candidate}: {first_line}")
            continue
        if reasons:
            log_fallback(__name__, f"the network runs on {candidate}, since others do not open: {'; '.join(reasons)}")
        return engine
    raise EngineError("no inference engine opens: " + "; ".join(reasons))


def load_engine(settings: InferSettings, live: bool = False) -> Engine:
    """Open the engine that the settings name, with their weights; raises as `open_engine` and `load_model`.

    The model `auto` is that of files and photos; `select.engine_for` chooses one for a live source.

    For a live source it leaves a core to the other stages, which have to keep the camera's pace. On two cores that
    are busy anyway it is hardly slower for it.
    """
    threads = max(1, cpu.cores() - 1) if live else None
    return open_engine(settings.engine, load_model(chosen_model(settings)), threads, settings.device)


def _openvino(net: Model, threads: int | None, device: torch.device) -> Engine:
    from streamseg.infer.engines.openvino_engine import OpenVinoEngine

    return _fitted(OpenVinoEngine, net, threads)


def _onnx(net: Model, threads: int | None, device: torch.device) -> Engine:
    try:
        from streamseg.infer.engines.onnx_engine import OnnxEngine

        return _fitted(OnnxEngine, net, threads)
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'streamseg[onnx]'") from error


def _fitted(engine: type[OpenVinoEngine] | type[OnnxEngine], net: Model, threads: int | None) -> Engine:
    """The engine itself, or what lies between it and a network from elsewhere."""
    from streamseg.infer.engines.foreign_engine import ForeignEngine

    return ForeignEngine(engine, net, threads) if isinstance(net, ForeignNet) else engine(net, threads)


def _torch(net: Model, threads: int | None, device: torch.device) -> TorchEngine:
    from streamseg.infer.engines.torch_engine import StreamedEngine, TorchEngine

    return StreamedEngine(net, device) if device.type == "cuda" else TorchEngine(net, device, threads)


def _torch_compile(net: Model, threads: int | None, device: torch.device) -> Engine:
    engine = _torch(net, threads, device)
    engine.compile()
    return engine


AUTO_ENGINES = ("openvino", "onnx", "torch")
"""What `auto` tries on a CPU, in this order."""

ENGINES: dict[str, EngineOpener] = {
    "openvino": _openvino,
    "onnx": _onnx,
    "torch": _torch,
    "torch-compile": _torch_compile,
}
