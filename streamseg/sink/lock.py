"""One run at a time writes a file: a second one is refused when it begins."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from streamseg.errors import OutputError
from streamseg.sink.resume import part_of


class Claim:
    """The right to write outputs, until `release` or the end of the process, however that comes.

    Beside each output's `.part` lies an empty file that the system keeps locked. One that a killed run left is locked
    by nobody: the next run takes it over.
    """

    def __init__(self, *outputs: Path) -> None:
        """Claims all or none.

        Raises:
            OutputError: another run is writing one of them.
        """
        self._locks: list[FileLock] = []
        try:
            for output in outputs:
                self._lock(output)
        except OutputError:
            self.release()
            raise

    def release(self) -> None:
        """Gives the outputs back and removes the files."""
        for lock in self._locks:
            with suppress(OSError):  # Windows keeps a locked file; there, the lock removes it itself.
                Path(lock.lock_file).unlink()
            lock.release()
        self._locks.clear()

    def _lock(self, output: Path) -> None:
        part = part_of(output)
        if not part.parent.is_dir():  # The lock would make the folder; the sink says that there is none.
            return
        lock = FileLock(part.with_name(part.name + ".lock"), blocking=False, thread_local=False)
        # Into a folder that is not ours to write to the sink says so; file systems without locks do without.
        with suppress(OSError, NotImplementedError):
            try:
                lock.acquire()
            except Timeout as timeout:
                raise OutputError(f"another run is writing {output}: wait for it, or give another name") from timeout
            self._locks.append(lock)
