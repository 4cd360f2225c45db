"""The only file that names torch.cuda; everything else asks here."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """The GPU where there is one that this build of PyTorch can use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def inference_dtype(device: torch.device) -> torch.dtype:
    """Half precision on a GPU, whose error in the matte is a sixth of bfloat16's; float32 on a CPU."""
    return torch.float16 if device.type == "cuda" else torch.float32
