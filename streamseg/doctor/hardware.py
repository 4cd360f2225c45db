"""Checks of hardware: processor, memory and GPU."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator

from streamseg.doctor.finding import Finding
from streamseg.doctor.machine import Machine, pip_install

NEEDED_MEMORY_BYTES = 1_000_000_000
"""Free memory below which there is a warning; a 1080p video held up to 832 MB (bench/README.md)."""

CUDA_ON_LINUX = f"{pip_install('torch')} --force-reinstall"
CUDA_ON_WINDOWS = (
    "# PyPI's build for Windows has no CUDA: copy the command from https://pytorch.org/get-started/locally"
)


def check_processor(machine: Machine) -> Iterator[Finding]:
    """Tell the processor's name, cores and int8 instructions."""
    from streamseg.hardware import cpu

    number = cpu.cores()
    int8 = "int8 instructions" if cpu.multiplies_int8() else "no int8 instructions, so that networks run in float32"
    yield Finding("processor", "ok", f"{_processor_name(machine)}, {number} core{'s' * (number != 1)}, {int8}")


def check_memory(machine: Machine) -> Iterator[Finding]:
    """Tell how much memory there is, and on Linux how much is free."""
    facts = {key: 1024 * int(size) for key, size in re.findall(r"(\w+):\s+(\d+) kB", machine.read("proc/meminfo"))}
    if "MemAvailable" not in facts:
        yield Finding("memory", "ok", _total_memory())
        return
    free, total = facts["MemAvailable"], facts["MemTotal"]
    detail = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free"
    if free >= NEEDED_MEMORY_BYTES:
        yield Finding("memory", "ok", detail)
    else:
        yield Finding(
            "memory", "warning", f"{detail}; a 1080p video takes 0.8", "ps aux --sort=-rss | head  # close one"
        )


def check_gpu(machine: Machine) -> Iterator[Finding]:
    """Tell the GPU that PyTorch uses, with its decoder and encoder, or why a GPU that is there is not used."""
    import torch

    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        size = f"{facts.total_memory / 1e9:.0f} GB"
        yield Finding("GPU", "ok", f"{facts.name}, {size}, PyTorch's build for CUDA {torch.version.cuda}")
        yield Finding("GPU video", "ok", "; ".join(_gpu_codecs()))
    elif not shutil.which("nvidia-smi", path=machine.environ.get("PATH", "")):
        yield Finding("GPU", "ok", "no NVIDIA GPU; the processor runs the network")
    elif torch.version.cuda:
        detail = f"NVIDIA's driver is there, but PyTorch {torch.__version__} finds no GPU through it"
        yield Finding("GPU", "warning", detail, "nvidia-smi  # tells what ails the driver")
    else:
        detail = f"NVIDIA's driver is there, but PyTorch {torch.__version__} is built without CUDA"
        yield Finding("GPU", "warning", detail, CUDA_ON_WINDOWS if machine.platform == "win32" else CUDA_ON_LINUX)


def _gpu_codecs() -> Iterator[str]:
    """Tell whether the GPU decodes and encodes video."""
    import av
    from av.codec.hwaccel import HWAccel

    from streamseg.doctor.encoders import why_video_does_not_open
    from streamseg.sink.encoder import NVENC, NVENC_OPTIONS

    try:
        HWAccel("cuda").create(av.Codec("h264", "r"))
        yield "decodes video (NVDEC)"
    except (av.FFmpegError, RuntimeError, NotImplementedError):
        yield "NVDEC does not open, so that the processor decodes"
    closed = why_video_does_not_open(NVENC, "yuv420p", NVENC_OPTIONS)
    yield "NVENC does not open, so that the processor encodes" if closed else "encodes H.264 (NVENC)"


def _processor_name(machine: Machine) -> str:
    named = re.search(r"^model name\s*:\s*(.+)$", machine.read("proc/cpuinfo"), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _total_memory() -> str:
    """Return the size of the memory where POSIX tells it."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.1f} GB"
    except (AttributeError, ValueError, OSError):
        return "this system does not tell its size"
