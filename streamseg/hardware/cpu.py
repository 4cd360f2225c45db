"""What this machine's processor has; `cuda` asks the same of a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch

INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
"""PyTorch's names of the instruction sets that add up products of bytes without a detour."""


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplies_int8() -> bool:
    """Whether int8 networks are faster here than float32 ones, and as good: without these instructions they are not.

    Versions of PyTorch that do not tell count as no.
    """
    tell = getattr(torch.cpu, "get_capabilities", None)
    facts: Mapping[str, object] = tell() if tell else {}
    return any(facts.get(name) for name in INT8_INSTRUCTIONS)
