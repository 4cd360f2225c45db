"""Which weights run: what `auto` stands for, and float32 or, where the processor is made for it, int8."""

from __future__ import annotations

from pathlib import Path

from streamseg.errors import WeightsError
from streamseg.fallback import log_fallback
from streamseg.hardware import cpu, cuda
from streamseg.model.quantized import SUFFIX, is_quantized
from streamseg.model.weights import list_weights
from streamseg.settings import AUTO, InferSettings

INT8_NAME = "-int8"
"""What the name of packaged int8 weights ends in; before it stands that of the float32 ones."""

AUTO_MODELS = ("lite", "nano")
"""What `auto` stands for, the best first: files and photos get the first, a live source the first that keeps pace."""


def named(settings: InferSettings, auto: str = AUTO_MODELS[0]) -> InferSettings:
    """The settings with a name in the place of `auto`: that of files and photos if no other is given."""
    return settings.model_copy(update={"model": auto}) if settings.model == AUTO else settings


def live_models(precision: str) -> tuple[str, ...]:
    """Those of `AUTO_MODELS` that are packaged, in int8 where that is asked for."""
    packaged = {entry.name for entry in list_weights() if not entry.url}
    form = INT8_NAME if precision == "int8" else ""
    return tuple(name for name in AUTO_MODELS if name + form in packaged)


def chosen_model(settings: InferSettings) -> str:
    """The name or file of the weights in the precision that the settings ask for.

    Raises:
        WeightsError: they ask for a precision that these weights are not in.
    """
    model, wanted = named(settings).model, settings.precision
    if model.endswith(INT8_NAME) or is_quantized(Path(model)):
        if wanted == "fp32":
            raise WeightsError(f"{model} is int8; for --precision fp32 name float32 weights, such as lite")
        return model
    if wanted != "auto" and model.lower().endswith(".onnx"):
        raise WeightsError(f"{model} runs in the precision that it was exported in; leave --precision {wanted} out")
    form = _packaged_int8(model)
    if wanted == "int8" and not form:
        raise WeightsError(
            f"{model} is not packaged in int8; make it: python -m train export {model} -o x{SUFFIX} --calibrate IMAGES "
            f"--check OTHERS, then --model x{SUFFIX}"
        )
    if not form or wanted == "fp32":
        return model
    if wanted == "int8" or _is_faster_in_int8(settings):
        return form
    log_fallback(__name__, f"{model} runs in float32: no engine is faster for its int8 form on this processor")
    return model


def _packaged_int8(model: str) -> str | None:
    names = (entry.name for entry in list_weights() if entry.is_there)
    return next((name for name in names if name == model + INT8_NAME), None)


def _is_faster_in_int8(settings: InferSettings) -> bool:
    """OpenVINO alone makes use of it: ONNX Runtime is no faster for it, and PyTorch does not take it."""
    on_cpu = cuda.chosen_device(settings.device).type == "cpu"
    return cpu.multiplies_int8() and (settings.engine == "openvino" or (settings.engine == "auto" and on_cpu))
