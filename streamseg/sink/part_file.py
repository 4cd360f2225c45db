"""The unfinished file beside the finished one: it is there from the moment at which it plays."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from streamseg.media.atomic import replace_file
from streamseg.sink.resume import is_playable


class PartFile:
    """What FFmpeg writes a video into.

    The beginning, which holds no picture yet, stays in memory, so that a run that is killed leaves a file that plays
    or none. It is small: encoders and containers hold back some 40 frames at most before the first piece is complete.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is made on the disk yet; an older `path` stays until this one takes its place."""
        self._path = path
        self._memory: BytesIO | None = BytesIO()
        self._file: BinaryIO = self._memory

    @property
    def is_on_disk(self) -> bool:
        """Whether pictures were complete at the last `synchronize`, and the file is there."""
        return self._memory is None

    def synchronize(self) -> None:
        """Moves what was written to the disk if that plays by now.

        Raises:
            OSError: it cannot be written.
        """
        if self._memory is not None and is_playable(BytesIO(self._memory.getvalue())):
            self.keep()

    def keep(self) -> None:
        """Moves what was written to the disk whether it plays or not.

        Raises:
            OSError: it cannot be written.
        """
        if self._memory is None:
            return
        # In one move: it is not there half.
        replace_file(self._path, self._memory.getvalue())
        self._file = self._path.open("r+b")
        self._file.seek(self._memory.tell())
        self._memory = None

    def write(self, data: bytes) -> int:
        """As a file's, but nothing waits in a buffer: FFmpeg has one."""
        count = self._file.write(data)
        self._file.flush()
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As a file's."""
        return self._file.tell()

    def close(self) -> None:
        """As a file's; a short video is complete only now."""
        if not self._file.closed:
            self.synchronize()
            self._file.close()
