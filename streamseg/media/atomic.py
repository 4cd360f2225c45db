"""Atomic file writes: write beside the final name, then rename, so that a file is complete or absent."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from streamseg.errors import OutputError
from streamseg.media.storage import AnyPath, RemotePath


def atomic_write(path: AnyPath, content: bytes) -> None:
    """Write a file atomically; an existing file is replaced, or kept if writing fails.

    Raises:
        OutputError: the folder is missing, cannot be written to, or the disk is full.
    """
    if isinstance(path, RemotePath):
        path.write_bytes(content)
        return
    try:
        replace_file(followed(path), content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def followed(path: Path) -> Path:
    """Return the target of a symbolic link, or the path itself, so that replacing a file keeps links to it.

    Raises:
        OutputError: the path is a pipe or a device, cannot be accessed, or its links lead in a circle.
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


def move(path: AnyPath, target: AnyPath) -> None:
    """Give a file another name on the same disk or storage; an existing file of that name is replaced.

    Raises:
        OutputError: it cannot be moved.
    """
    if isinstance(path, RemotePath) and isinstance(target, RemotePath):
        path.move_to(target)
        return
    try:
        os.replace(str(path), str(target))
    except OSError as error:
        raise OutputError(f"cannot move {path} to {target}: {error.strerror}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file atomically, without following links.

    Raises:
        OSError: the file cannot be written; an existing one is kept.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
