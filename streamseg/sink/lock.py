"""Lock on output files: a second run that would write the same file is refused at its start."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from streamseg.errors import OutputError
from streamseg.sink.resume import part_of


class Claim:
    """Exclusive lock on outputs, held until `release` or the end of the process.

    The lock is an empty file `NAME.part.lock` that the operating system locks. The lock file of a killed run is no
    longer locked, and the next run takes it over.
    """

    def __init__(self, *outputs: Path) -> None:
        """Lock all outputs, or none.

        Raises:
            OutputError: another run is writing one of the outputs.
        """
        self._locks: list[FileLock] = []
        try:
            for output in outputs:
                self._lock(output)
        except OutputError:
            self.release()
            raise

    def release(self) -> None:
        """Release the locks and remove the lock files."""
        for lock in self._locks:
            with suppress(OSError):  # Windows keeps a locked file; there, releasing it removes it.
                Path(lock.lock_file).unlink()
            lock.release()
        self._locks.clear()

    def _lock(self, output: Path) -> None:
        path = lock_of(output)
        if not path.parent.is_dir():  # FileLock would make the folder; the sink reports that it is missing.
            return
        lock = FileLock(path, blocking=False, thread_local=False)
        # The sink reports a folder without write permission; file systems without locks go unlocked.
        with suppress(OSError, NotImplementedError):
            try:
                lock.acquire()
            except Timeout as timeout:
                raise OutputError(f"another run is writing {output}: wait for it, or give another name") from timeout
            self._locks.append(lock)


def lock_of(output: Path) -> Path:
    """Return the path of the lock file of an output."""
    part = part_of(output)
    return part.with_name(part.name + ".lock")
