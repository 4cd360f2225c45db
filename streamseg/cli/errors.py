"""Exit codes and error lines of the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from streamseg.errors import OUT_OF_MEMORY, StreamsegError
from streamseg.interrupt import INTERRUPTED

USER_ERROR = 2
"""Exit code for what the user can put right."""
DAMAGED = 3
"""Exit code if the output is written but the source was damaged."""


@contextmanager
def errors_reported() -> Iterator[None]:
    """Turn errors into one line on standard error and exit code 2, and Ctrl-C into 130; let bugs raise."""
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
