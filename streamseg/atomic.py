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
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
