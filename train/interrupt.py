"""A request to stop between two steps instead of inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_as_event() -> Iterator[threading.Event]:
    """Turns the first Ctrl-C or SIGTERM into an event, so that no step is cut in half; a second one stops at once."""
    asked = threading.Event()

    def on_request(_: int, __: FrameType | None) -> None:
        asked.set()
        restore()

    before = {number: signal.signal(number, on_request) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield asked
    finally:
        restore()
