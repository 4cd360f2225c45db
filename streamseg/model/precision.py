"""Choice of weights: the models that `auto` stands for, and float32 or int8 by what the processor runs faster."""

from __future__ import annotations

from pathlib import Path

from streamseg.errors import WeightsError
from streamseg.fallback import log_fallback
from streamseg.hardware import cpu, cuda
from streamseg.model.quantized import SUFFIX, is_quantized
from streamseg.model.weights import list_weights
from streamseg.settings import AUTO, InferSettings

INT8_NAME = "-int8"
"""Ending of the names of packaged int8 weights, after the name of the float32 weights."""

FILE_MODEL, LIVE_MODEL = "lite", "nano"
"""What `auto` stands for: in files and photos the subject may be anything; before a camera it is people, of whom nano
finds more, in a fifth of the time, and it leaves empty rooms empty."""

AUTO_MODELS = (FILE_MODEL, LIVE_MODEL)


def named(settings: InferSettings, auto: str = FILE_MODEL) -> InferSettings:
    """Return the settings with `auto` replaced by a model's name, by default that of files and photos."""
    return settings.model_copy(update={"model": auto}) if settings.model == AUTO else settings


def packaged_models(precision: str) -> tuple[str, ...]:
    """Return the names in `AUTO_MODELS` that are packaged, for `int8` those that are packaged in int8."""
    packaged = {entry.name for entry in list_weights() if not entry.url}
    int8_name = INT8_NAME if precision == "int8" else ""
    return tuple(name for name in AUTO_MODELS if name + int8_name in packaged)


def chosen_model(settings: InferSettings) -> str:
    """Return the name or file of the weights in the precision that the settings ask for.

    Raises:
        WeightsError: these weights do not exist in that precision.
    """
    model, precision = named(settings).model, settings.precision
    if model.endswith(INT8_NAME) or is_quantized(Path(model)):
        if precision == "fp32":
            raise WeightsError(f"{model} is int8; for --precision fp32 name float32 weights, such as lite")
        return model
    if precision != "auto" and model.lower().endswith(".onnx"):
        raise WeightsError(f"{model} runs in the precision that it was exported in; leave --precision {precision} out")
    int8_name = _packaged_int8(model)
    if precision == "int8" and not int8_name:
        raise WeightsError(
            f"{model} is not packaged in int8; make it: python -m train export {model} -o x{SUFFIX} --calibrate IMAGES "
            f"--check OTHERS, then --model x{SUFFIX}"
        )
    if not int8_name or precision == "fp32":
        return model
    if precision == "int8" or _is_faster_in_int8(settings):
        return int8_name
    log_fallback(__name__, f"{model} runs in float32: no engine is faster for its int8 form on this processor")
    return model


def settled(settings: InferSettings) -> InferSettings:
    """Return settings that choose the same weights as these do here, whatever processor they are used on.

    Raises:
        WeightsError: as `chosen_model`.
    """
    model = chosen_model(settings)
    return settings.model_copy(
        update={"model": model, "precision": "fp32" if _packaged_int8(model) else settings.precision}
    )


def _packaged_int8(model: str) -> str | None:
    """Return the name of a model's packaged int8 weights, or None."""
    names = (entry.name for entry in list_weights() if entry.is_there)
    return next((name for name in names if name == model + INT8_NAME), None)


def _is_faster_in_int8(settings: InferSettings) -> bool:
    """Return whether int8 is faster here: only on OpenVINO, since ONNX Runtime gains nothing and PyTorch lacks it."""
    on_cpu = cuda.chosen_device(settings.device).type == "cpu"
    return cpu.multiplies_int8() and (settings.engine == "openvino" or (settings.engine == "auto" and on_cpu))
