"""Ctrl-C: silent and at once while nothing is begun, an exception once there is something to finish."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130
"""The exit code."""


def leave_at_once() -> None:
    """From here on Ctrl-C ends the process without a word.

    An exception amid imports would show where it struck, or be taken for a library that is missing.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))


def raise_again() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt, as Python does by itself."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
