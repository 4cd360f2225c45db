"""Ctrl-C: exit silently before a command has begun, raise KeyboardInterrupt once there is output to finish."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def leave_at_once() -> None:
    """Exit the process silently at Ctrl-C from here on.

    An exception during imports would print where it struck, or be taken for a missing library.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


def raise_again() -> None:
    """Raise KeyboardInterrupt at Ctrl-C from here on, as Python does by default."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
