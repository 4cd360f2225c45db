"""Files that are whole or not there: written beside their final name and renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from streamseg.errors import OutputError


def atomic_write(path: Path, content: bytes) -> None:
    """Writes a file in one move; an existing one is replaced, or kept when that fails.

    Raises:
        OutputError: the folder is missing, cannot be written to, or the disk is full.
    """
    try:
        replace_file(followed(path), content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def followed(path: Path) -> Path:
    """Where a file is really written: what a symbolic link leads to, so that the link stays.

    Raises:
        OutputError: there is something else than a file.
    """
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        is_special = target.exists() and not (target.is_file() or target.is_dir())
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    if target.is_symlink():
        raise OutputError(f"cannot write {path}: its symbolic links lead in a circle")
    if is_special:
        raise OutputError(f"cannot write {path}: it is a pipe or a device; give the name of a file")
    return target


def replace_file(path: Path, content: bytes) -> None:
    """As `atomic_write`; raises OSError instead."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
