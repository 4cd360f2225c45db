"""A request to stop between two steps instead of inside one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REPEAT_SECONDS = 2.0
"""Within this time a second signal is the same request: torchrun passes on a Ctrl-C that its processes have already."""


@contextmanager
def stop_as_event() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C or SIGTERM into an event, so that no step is cut in half; a later one stops at once."""
    asked = threading.Event()
    first_seconds = 0.0

    def on_request(number: int, _: FrameType | None) -> None:
        nonlocal first_seconds
        if not asked.is_set():
            first_seconds = time.monotonic()
            asked.set()
        elif time.monotonic() - first_seconds > REPEAT_SECONDS:
            restore()
            signal.raise_signal(number)

    before = {number: signal.signal(number, on_request) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield asked
    finally:
        restore()
