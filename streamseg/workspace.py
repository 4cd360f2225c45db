"""Scratch arrays that a stage reuses from frame to frame.

Allocating an array of a whole frame costs more than the work that is done in it.
"""

from __future__ import annotations

import math
import threading
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_thread_local = threading.local()

Scalar = TypeVar("Scalar", bound=np.generic)


def workspace(purpose: str, shape: tuple[int, ...], dtype: type[Scalar]) -> npt.NDArray[Scalar]:
    """Return an array with undefined content, valid until this thread asks for the same purpose and dtype again.

    Args:
        purpose: name of the use.
        shape: of the array.
        dtype: a NumPy scalar type.
    """
    arrays: dict[tuple[str, type[Scalar]], npt.NDArray[Scalar]] = _thread_local.__dict__.setdefault("arrays", {})
    key, size = (purpose, dtype), math.prod(shape)
    if key not in arrays or arrays[key].size < size:
        arrays[key] = np.empty(size, dtype)
    return arrays[key][:size].reshape(shape)
