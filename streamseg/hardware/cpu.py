"""CPU: number of cores and int8 instructions."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
"""PyTorch's names of instruction sets with int8 dot products."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplies_int8() -> bool:
    """Return whether the CPU has int8 dot products; without them int8 networks are neither faster nor as accurate.

    Versions of PyTorch that do not report capabilities count as no.
    """
    tell = getattr(torch.cpu, "get_capabilities", None)
    facts: Mapping[str, object] = tell() if tell else {}
    return any(facts.get(name) for name in INT8_INSTRUCTIONS)
