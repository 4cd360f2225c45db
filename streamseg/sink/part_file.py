"""Part file: the unfinished video on disk, made once it holds complete frames and plays."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from streamseg.media.atomic import replace_file
from streamseg.sink.record import MadeFrom, recorded
from streamseg.sink.resume import is_playable


class PartFile:
    """File object that FFmpeg writes a video into.

    Data before the first complete fragment stays in memory, so that a killed run leaves a file that plays, or none. It
    is small: encoders and containers hold back some 40 frames at most before the first fragment is complete.
    """

    def __init__(self, path: Path, made_from: MadeFrom | None = None, older: Path | None = None) -> None:
        """Begin in memory; older files stay until this one replaces them.

        Args:
            path: of the file; there may be an older one.
            made_from: what the file is made from, to be recorded beside it.
            older: another file that is removed when this one is on disk.
        """
        self._path, self._made_from, self._older = path, made_from, older
        self._memory: BytesIO | None = BytesIO()
        self._file: BinaryIO = self._memory

    @property
    def is_on_disk(self) -> bool:
        """Whether the data has been moved to the disk, as frames were complete at the last `synchronize`."""
        return self._memory is None

    def synchronize(self) -> None:
        """Move the data to the disk once it plays.

        Raises:
            OSError: the file cannot be written.
        """
        if self._memory is not None and is_playable(BytesIO(self._memory.getvalue())):
            self.keep()

    def keep(self) -> None:
        """Move the data to the disk, whether it plays or not.

        Raises:
            OSError: the file cannot be written.
        """
        if self._memory is None:
            return
        with recorded(self._path, self._made_from):
            # Atomically, so that no truncated file appears.
            replace_file(self._path, self._memory.getvalue())
        if self._older:
            self._older.unlink(missing_ok=True)
        self._file = self._path.open("r+b")
        self._file.seek(self._memory.tell())
        self._memory = None

    def write(self, data: bytes) -> int:
        """Write and flush the data, as FFmpeg buffers itself; return the number of bytes."""
        count = self._file.write(data)
        self._file.flush()
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to an offset, as `io.IOBase.seek`."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the offset, as `io.IOBase.tell`."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file; a short video is complete, and moved to the disk, only now."""
        if not self._file.closed:
            self.synchronize()
            self._file.close()
