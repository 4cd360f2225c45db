"""Memory of the process: settings of the system's allocator for runs that last for hours."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt; see `man mallopt`."""

HEAPS = 2
"""Heaps that all threads share."""

MAPPED_BYTES, KEPT_BYTES = 32 << 20, 16 << 20
"""Blocks from the first size on are taken from the system one by one; of what is freed, a heap keeps the second, which
frames of 1080p get by with: of 64 MiB, rare peaks filled some more each hour."""


def tune_allocator() -> None:
    """Have glibc share heaps between threads and keep what is freed; call it before threads are started.

    By default threads have up to eight heaps a core, of which each keeps holes that frames leave when one thread
    allocates and another one frees them: a live run grew by 300 MB in half an hour. And the end of a heap goes back to
    the system as soon as 256 kB of it are free, to be mapped anew for the next frame: at 720p that took a fifth of
    compositing before a blur. Other C libraries stay as they are.
    """
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # Other C libraries have none.
        if mallopt:
            mallopt(M_ARENA_MAX, HEAPS)
            mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
