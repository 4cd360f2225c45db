"""Fallbacks are logged: something better was not to be had here, and why."""

from __future__ import annotations

import logging
from functools import cache


@cache
def log_fallback(module: str, message: str) -> None:
    """Log a fallback at INFO, once a process.

    Args:
        module: the `__name__` of who falls back, which is the logger's.
        message: what runs instead, and the reason.
    """
    logging.getLogger(module).info(message)
