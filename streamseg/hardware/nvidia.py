"""Whether FFmpeg has a GPU to decode and encode on, asked without PyTorch: importing that takes seconds."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


@cache
def has_gpu() -> bool:
    """Whether NVIDIA's driver has a GPU for this process, and PyTorch can use it too."""
    if not _driver_counts_gpus():
        return False
    from streamseg.hardware import cuda

    return cuda.best_device().type == "cuda"


def _driver_counts_gpus() -> int:
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:  # There is no driver.
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
