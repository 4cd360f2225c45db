"""The command `streamseg`, which is also `python -m streamseg`."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from streamseg.interrupt import leave_at_once


def main() -> None:
    """Runs the command line."""
    leave_at_once()
    for stream in (sys.stdout, sys.stderr):
        # Files are called as their makers please, and consoles show what they can of it.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from streamseg.cli.app import app

    app()


if __name__ == "__main__":
    main()
