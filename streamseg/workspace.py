"""Arrays that a stage needs for a moment of every frame.

One of a whole frame's size costs more to get from the system than the work that it is for takes.
"""

from __future__ import annotations

import math
import threading
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_own = threading.local()

Number = TypeVar("Number", bound=np.generic)


def workspace(purpose: str, shape: tuple[int, ...], kind: type[Number]) -> npt.NDArray[Number]:
    """An array of any content, which is this thread's until it asks for the same purpose again."""
    kept: dict[tuple[str, type[Number]], npt.NDArray[Number]] = _own.__dict__.setdefault("arrays", {})
    key, size = (purpose, kind), math.prod(shape)
    if key not in kept or kept[key].size < size:
        kept[key] = np.empty(size, kind)
    return kept[key][:size].reshape(shape)
