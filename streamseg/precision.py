"""Which form of packaged weights runs: float32, or int8 where the processor is made for it."""

from __future__ import annotations

from pathlib import Path

from streamseg import cpu, cuda
from streamseg.config import InferSettings
from streamseg.errors import WeightsError
from streamseg.quantised import SUFFIX, is_quantised
from streamseg.weights import list_weights

INT8_NAME = "-int8"
"""What the name of packaged int8 weights ends in; before it stands that of the float32 ones."""


def chosen_model(settings: InferSettings) -> str:
    """The name or file of the weights in the precision that the settings ask for.

    Raises:
        WeightsError: they ask for a precision that these weights are not in.
    """
    model, wanted = settings.model, settings.precision
    if model.endswith(INT8_NAME) or is_quantised(Path(model)):
        if wanted == "fp32":
            raise WeightsError(f"{model} is int8; for --precision fp32 name float32 weights, such as lite")
        return model
    form = _packaged_int8(model)
    if wanted == "int8" and not form:
        raise WeightsError(
            f"{model} is not packaged in int8; make it: python -m train export {model} -o x{SUFFIX} --calibrate IMAGES "
            f"--check OTHERS, then --model x{SUFFIX}"
        )
    return form if form and (wanted == "int8" or (wanted == "auto" and _is_faster_in_int8(settings.engine))) else model


def _packaged_int8(model: str) -> str | None:
    names = (entry.name for entry in list_weights() if entry.is_there)
    return next((name for name in names if name == model + INT8_NAME), None)


def _is_faster_in_int8(engine: str) -> bool:
    """OpenVINO alone makes use of it: ONNX Runtime is no faster for it, and PyTorch does not take it."""
    on_cpu = engine == "openvino" or (engine == "auto" and cuda.best_device().type == "cpu")
    return on_cpu and cpu.multiplies_int8()
