"""The allocator's settings for long runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys, threading
from streamseg.hardware.memory import share_heaps
if sys.argv[1] == "shared":
    share_heaps()
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
heaps, all_there = set(), threading.Barrier(6)
def allocate():
    all_there.wait()
    heaps.add(malloc(1000) >> 26)  # glibc's further heaps are aligned to 64 MiB
    all_there.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(heaps))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
@pytest.mark.parametrize(("form", "most", "least"), [("shared", 2, 1), ("as it is", 6, 3)])
def test_threads_share_two_heaps(form: str, most: int, least: int) -> None:
    if not hasattr(__import__("ctypes").CDLL(None), "gnu_get_libc_version"):
        pytest.skip("another C library than glibc")
    found = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True).stdout
    assert least <= int(found) <= most
