"""Arrays that a station needs for a moment of every frame.

One of a whole frame's size costs more to get from the system than the work that it is for takes.
"""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

_own = threading.local()


def scratch(purpose: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """An array of any content, which is this thread's until it asks for the same purpose again."""
    kept: dict[str, npt.NDArray[np.float32]] = _own.__dict__.setdefault("arrays", {})
    if purpose not in kept or kept[purpose].shape != shape:
        kept[purpose] = np.empty(shape, np.float32)
    return kept[purpose]
