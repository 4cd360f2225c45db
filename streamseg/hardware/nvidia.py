"""NVIDIA driver check for FFmpeg's GPU codecs, without importing PyTorch, which takes seconds."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@cache
def has_gpu() -> bool:
    """Return whether NVIDIA's driver shows this process a GPU that PyTorch can use too."""
    if not _driver_gpu_count():
        return False
    from streamseg.hardware import cuda

    return cuda.best_device().type == "cuda"


def _driver_gpu_count() -> int:
    """Return the number of GPUs that the driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:  # There is no driver.
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
