"""Waiting for what other threads and processes do: on a condition, for as long as a busy machine may take."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_SECONDS = 60.0
"""A condition that has not come about by then never will."""


def wait_for(condition: Callable[[], object], otherwise: Callable[[], str] | str = "it did not come about") -> None:
    """Waits until something is so; fails with these words if it does not become so."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, otherwise() if callable(otherwise) else otherwise
        time.sleep(0.01)
