"""Sink for a file by URL: written on this machine, then uploaded in parts, and removed here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from streamseg.errors import OutputError
from streamseg.frames import Frame
from streamseg.media.storage import RemotePath
from streamseg.sink.base import BaseSink
from streamseg.sink.parts import JoiningSink, Part
from streamseg.sink.sidecar import matte_path


class UploadedFile(BaseSink):
    """A video or animation on remote storage, with its sidecar matte if it has one.

    Containers are finished by going back in them, which object storage does not allow: the file is written in the
    user's cache folder first. There an interrupted run leaves its part file, which `--resume` on the same machine
    goes on with; and a lock, so that two runs of one machine do not write the same file.
    """

    def __init__(self, target: RemotePath, open_here: Callable[[Path], BaseSink]) -> None:
        """Check that the storage can be reached, and open the file on this machine.

        Args:
            target: where the finished file goes.
            open_here: opens a sink for a file of this machine.

        Raises:
            OutputError: the storage cannot be written to, or the file not on this machine.
        """
        target.check_writable()
        self._target, self._here = target, _place_on_this_machine(target)
        self._sink = open_here(self._here)
        self.claim, self.resume_at = self._sink.claim, self._sink.resume_at
        self._is_uploaded = False
        self._left = {path: _identity(path) for path in self._files() if path.exists()}  # Of an upload that failed.

    @property
    def summary(self) -> str:
        """See `Sink`; names the file on this machine until it has been uploaded."""
        if not self._is_uploaded:
            return self._sink.summary
        own, shown = (path.parent / path.stem for path in (self._here, self._target))
        return self._sink.summary.replace(str(own), str(shown))

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        self._sink.write(frame)

    def take(self, part: Part) -> None:
        """See `JoiningSink`; for a sink that joins parts."""
        assert isinstance(self._sink, JoiningSink)
        self._sink.take(part)

    def complete(self) -> None:
        """Complete the file and upload it.

        Raises:
            OutputError: it cannot be completed, or not uploaded: then the finished file stays on this machine.
        """
        self._sink.complete()
        self._upload()

    def cut_short(self) -> None:
        """See `BaseSink`."""
        self._sink.cut_short()
        self._upload()

    def discard(self) -> None:
        """See `BaseSink`; the part file stays on this machine."""
        self._sink.discard()

    def _upload(self) -> None:
        """Upload the matte and its video, or neither; then remove what is here, an earlier run's too."""
        found = [path for path in self._files() if path.exists()]
        written = [path for path in found if _identity(path) != self._left.get(path)]
        uploaded: list[RemotePath] = []
        try:
            for path in written:
                self._remote_of(path).upload(path)
                uploaded.append(self._remote_of(path))
        except OutputError as error:
            for remote in uploaded:
                with suppress(OutputError):
                    remote.unlink()
            raise OutputError(f"{error}; what was to be uploaded is in {' and '.join(map(str, written))}") from error
        for path in found:
            with suppress(OSError):
                path.unlink()
        self._is_uploaded = True

    def _files(self) -> list[Path]:
        return [matte_path(self._here), self._here]

    def _remote_of(self, path: Path) -> RemotePath:
        return self._target.with_name(path.name.replace(self._here.stem, self._target.stem, 1))


def _identity(path: Path) -> tuple[int, int]:
    """Return what changes when a file is replaced."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _place_on_this_machine(target: RemotePath) -> Path:
    """Return the same file for the same URL, so that a later run finds what an earlier one left."""
    folder = user_cache_path("streamseg", appauthor=False) / "uploads"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: it is written in {folder} first, which cannot be made: {error.strerror}"
        ) from error
    return folder / f"{hashlib.sha256(target.url.encode()).hexdigest()[:12]}-{target.name}"
