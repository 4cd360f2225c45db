"""The checks of `streamseg doctor`, in the order in which they are told."""

from __future__ import annotations

from streamseg.doctor.cameras import check_cameras
from streamseg.doctor.display import check_display
from streamseg.doctor.encoders import check_encoders
from streamseg.doctor.engines import check_engine, check_live
from streamseg.doctor.examine import Check
from streamseg.doctor.hardware import check_gpu, check_memory, check_processor
from streamseg.doctor.software import check_extras, check_packages, check_python
from streamseg.doctor.storage import check_cache, check_temporary, check_weights
from streamseg.doctor.virtual_camera import check_virtual_camera

SLOW_SECONDS = 60.0
"""Limit of checks that import large libraries or compile a network, which takes long on a cold disk."""

CHECKS = (
    Check("Python", check_python, essential=True),
    Check("packages", check_packages, essential=True, limit_seconds=SLOW_SECONDS),
    Check("extras", check_extras, limit_seconds=SLOW_SECONDS),
    Check("processor", check_processor),
    Check("memory", check_memory),
    Check("GPU", check_gpu, limit_seconds=SLOW_SECONDS),
    Check("weights", check_weights, essential=True),
    Check("cache", check_cache),
    Check("temporary files", check_temporary),
    Check("engine openvino", check_engine("openvino"), limit_seconds=SLOW_SECONDS),
    Check("engine onnx", check_engine("onnx"), limit_seconds=SLOW_SECONDS),
    Check("engine torch", check_engine("torch"), limit_seconds=SLOW_SECONDS),
    Check("engine auto", check_live, essential=True, limit_seconds=SLOW_SECONDS),
    Check("encoders", check_encoders, essential=True),
    Check("cameras", check_cameras),
    Check("virtual camera", check_virtual_camera),
    Check("display", check_display),
)
"""`torch-compile` is left out: it compiles for a minute."""
