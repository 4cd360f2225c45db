"""What the command line makes of errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from streamseg.errors import OUT_OF_MEMORY, StreamsegError
from streamseg.interrupt import INTERRUPTED

USER_ERROR = 2
DAMAGED = 3
"""Written, but the source was damaged."""


@contextmanager
def errors_reported() -> Iterator[None]:
    """One line and exit code 2 for what the user can put right, 130 for Ctrl-C; anything else is our bug."""
    try:
        yield
    except StreamsegError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(USER_ERROR) from error
    except MemoryError as error:
        print(f"error: {OUT_OF_MEMORY}", file=sys.stderr)
        raise typer.Exit(USER_ERROR) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt
