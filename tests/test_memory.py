"""The allocator's settings for long runs."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"),
    reason="these are settings of glibc, Linux's usual C library",
)

PROGRAM = """
import ctypes, sys, threading
from streamseg.hardware.memory import tune_allocator
if sys.argv[1] == "tuned":
    tune_allocator()
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


def number_printed_by(program: str, form: str) -> float:
    return float(
        subprocess.run([sys.executable, "-c", program, form], capture_output=True, text=True, check=True).stdout
    )


@pytest.mark.parametrize(("form", "most", "least"), [("tuned", 2, 1), ("as it is", 6, 3)])
def test_threads_share_two_heaps(form: str, most: int, least: int) -> None:
    assert least <= number_printed_by(PROGRAM, form) <= most


FRAMES = """
import ctypes, resource, sys
from streamseg.hardware.memory import tune_allocator
if sys.argv[1] == "tuned":
    tune_allocator()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for frame in range(101):
    if frame == 1:
        first = faults()
    blocks = [libc.malloc(230_000) for _ in range(6)]
    for block in blocks:
        libc.memset(ctypes.c_void_p(block), 1, 230_000)
    for block in blocks:
        libc.free(ctypes.c_void_p(block))
print((faults() - first) / 100)
"""


@pytest.mark.parametrize(("form", "most", "least"), [("tuned", 20, 0), ("as it is", 1000, 200)])
def test_memory_of_a_frame_is_kept_for_the_next(form: str, most: int, least: int) -> None:
    """Pages that are mapped anew for each frame; six blocks have 337."""
    assert least <= number_printed_by(FRAMES, form) <= most
