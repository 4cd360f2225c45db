"""Files that are whole or not there: written beside their final name and renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from streamseg.errors import OutputError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file in one move; an existing one is replaced, or kept when that fails.

    Raises:
        OutputError: the folder is missing, cannot be written to, or the disk is full.
    """
    try:
        place_whole(path, content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def place_whole(path: Path, content: bytes) -> None:
    """As `write_whole`; raises OSError instead."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
