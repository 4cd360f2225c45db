"""Inference engines: the network on OpenVINO, ONNX Runtime or PyTorch; `open_engine` picks one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from streamseg.errors import EngineError
from streamseg.fallback import log_fallback
from streamseg.hardware import cpu, cuda
from streamseg.infer.engines.base import Engine
from streamseg.model.foreign import ForeignNet
from streamseg.model.onnx_graph import last_line
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
"""Opens an engine with a network, a number of CPU threads (None: all) and a device.

Raises ImportError or RuntimeError if the engine cannot open; `open_engine` then tells the reason."""


def register_engine(name: str, opener: EngineOpener) -> None:
    """Register an engine under a name for settings and `open_engine`; it replaces an engine of that name."""
    ENGINES[name] = opener


def open_engine(name: str, net: Model, threads: int | None = None, device: str = "auto") -> Engine:
    """Open an engine by name; `auto` takes PyTorch on a GPU, else the first of `AUTO_ENGINES` that opens.

    PyTorch runs neither int8 networks nor third-party ONNX graphs.

    Args:
        name: of `ENGINES`, or `auto`.
        net: the network.
        threads: of the engine on a CPU; None for all cores.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        EngineError: the name is unknown, or no engine opens; with the reason of each.
    """
    if name != "auto" and name not in ENGINES:
        raise EngineError(f"unknown engine {name!r}; known are auto, {', '.join(ENGINES)}")
    torch_device = cuda.chosen_device(device)
    names = [name] if name != "auto" else list(AUTO_ENGINES)
    if name == "auto" and torch_device.type == "cuda" and not isinstance(net, QuantizedNet | ForeignNet):
        names = ["torch"]
    reasons: list[str] = []
    for candidate in names:
        try:
            engine = ENGINES[candidate](net, threads, torch_device)
        except (ImportError, RuntimeError) as error:
            first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            reasons.append(f"{candidate}: {first_line}")
            continue
        if reasons:
            log_fallback(__name__, f"the network runs on {candidate}, since others do not open: {'; '.join(reasons)}")
        return engine
    raise EngineError("no inference engine opens: " + "; ".join(reasons))


def load_engine(settings: InferSettings, live: bool = False, threads: int | None = None) -> Engine:
    """Open the engine and the weights that the settings name.

    The model `auto` is that of files and photos; `select.engine_for` chooses one for a live source. For a live source
    one core is left to the other stages, which have to keep the camera's pace; on two busy cores the engine is hardly
    slower.

    Args:
        settings: of inference.
        live: leave one core to the other stages.
        threads: of the engine on a CPU, in place of what `live` says.

    Raises:
        EngineError: as `open_engine`.
        WeightsError: as `load_model` and `chosen_model`.
    """
    threads = threads or (max(1, cpu.cores() - 1) if live else None)
    return open_engine(settings.engine, load_model(chosen_model(settings)), threads, settings.device)


def _openvino(net: Model, threads: int | None, device: torch.device) -> Engine:
    from streamseg.infer.engines.openvino_engine import OpenVinoEngine

    return _open_runtime(OpenVinoEngine, net, threads)


def _onnx(net: Model, threads: int | None, device: torch.device) -> Engine:
    try:
        from streamseg.infer.engines.onnx_engine import OnnxEngine

        return _open_runtime(OnnxEngine, net, threads)
    except ImportError as error:
        raise ImportError(f"{error.name} is not installed: pip install 'streamseg[onnx]'") from error


def _open_runtime(engine: type[OpenVinoEngine] | type[OnnxEngine], net: Model, threads: int | None) -> Engine:
    """Open a runtime with one of our networks, or a `ForeignEngine` around it for a third-party graph."""
    from streamseg.infer.engines.foreign_engine import ForeignEngine

    try:
        return ForeignEngine(engine, net, threads) if isinstance(net, ForeignNet) else engine(net, threads)
    except ImportError:
        raise
    except Exception as error:  # The runtimes' own errors, such as of a damaged file, share no other base.
        raise RuntimeError(last_line(error)) from error


def _torch(net: Model, threads: int | None, device: torch.device) -> TorchEngine:
    from streamseg.infer.engines.torch_engine import StreamedEngine, TorchEngine

    return StreamedEngine(net, device) if device.type == "cuda" else TorchEngine(net, device, threads)


def _torch_compile(net: Model, threads: int | None, device: torch.device) -> Engine:
    engine = _torch(net, threads, device)
    engine.compile()
    return engine


AUTO_ENGINES = ("openvino", "onnx", "torch")
"""Engines that `auto` tries on a CPU, in this order."""

ENGINES: dict[str, EngineOpener] = {
    "openvino": _openvino,
    "onnx": _onnx,
    "torch": _torch,
    "torch-compile": _torch_compile,
}
