"""Files by path or by URL: object storage such as S3, read in ranges and written whole.

Whatever fsspec knows can be named where a path can: `s3://bucket/talk.mp4`, `gs://`, `abfs://`, `sftp://`; `https://`
to read. `file://` is a path. Credentials and endpoints come from where the storage's own tools take them, for S3 from
AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on, or from fsspec's configuration (FSSPEC_S3_ANON=true).

A source is never copied to this machine: its readers share blocks of 2 MiB, of which the last 16 are kept. A file is
uploaded in parts, and appears under its name when all of them are there.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias
from urllib.request import url2pathname
from weakref import WeakValueDictionary

from streamseg.errors import InputError, MissingExtraError, OutputError, StreamsegError

SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
"""Begin of a URL; one letter is a drive of Windows."""

WEB = ("http", "https")
OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci")
"""Schemes of storage where a file appears once all of it has been uploaded; elsewhere it gets its name then."""

BLOCK_BYTES = 2 << 20
"""Bytes of one request: as many as come in the time that S3 takes to answer, about 30 ms."""
KEPT_BLOCKS = 16
"""Blocks kept of a file: sound is read a few seconds behind the video that is stored beside it."""
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 4
OPTIONS: dict[str, dict[str, Any]] = {"s3": {"max_concurrency": PARTS_AT_ONCE}}

VERSION_KEYS = ("size", "ETag", "etag", "LastModified", "mtime", "updated", "last_modified")
"""What file systems tell of a file's version, each in its own words."""

NO_BUCKET = "bucket does not exist"
"""What S3 and Google Cloud Storage answer; without a file in a bucket, fsspec names only the file."""
NO_RANGES = "its server sends no parts of a file, only the whole; download it first"
NO_CREDENTIALS = (
    "there are no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; or FSSPEC_S3_ANON=true "
    "for what is public"
)


@dataclass(frozen=True, order=True, slots=True)
class RemotePath:
    """A file or folder by URL, with the members of `pathlib.Path` that are needed here.

    Attributes:
        url: without a slash at its end.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    @property
    def scheme(self) -> str:
        """What is before `://`, in small letters."""
        return self.url.partition("://")[0].lower()

    @property
    def name(self) -> str:
        """The last part, without the query of a web address."""
        last = self.url.rpartition("/")[2]
        return last.partition("?")[0] if self.scheme in WEB else last

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot on."""
        return Path(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder or bucket that it is in; a bucket is in itself."""
        above = self.url.rpartition("/")[0]
        return self if above.endswith("/") else RemotePath(above)

    def with_name(self, name: str) -> RemotePath:
        """Return another file of the same folder."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is such a file or folder; raises InputError, as the next ones, if that cannot be found out."""
        return self._kind() is not None

    def is_dir(self) -> bool:
        """Whether it is a folder: files have names that begin with its own."""
        return self._kind() == "directory"

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._kind() == "file"

    def size_bytes(self) -> int:
        """Return the size of the file.

        Raises:
            InputError: there is no such file, or it cannot be reached.
        """
        with _reported(f"cannot read {self}"):
            file_system, path = self._file_system()
            return int(file_system.info(path)["size"])

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader:
        """Open the file to read parts of it.

        Raises:
            InputError: there is no such file, or it cannot be read; later too, when a part is read.
        """
        return io.BufferedReader(_Reader(self))

    def read_bytes(self) -> bytes:
        """Read all of a small file.

        Raises:
            InputError: there is no such file, or it cannot be read.
        """
        with _reported(f"cannot read {self}"):
            file_system, path = self._file_system()
            return bytes(file_system.cat_file(path))

    def write_bytes(self, content: bytes) -> None:
        """Write a small file, which appears complete or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        self._write(lambda file_system, path: file_system.pipe_file(path, content))

    def upload(self, file: Path) -> None:
        """Upload a file in parts; it appears complete or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        self._write(lambda file_system, path: file_system.put_file(str(file), path, chunksize=PART_BYTES))

    def unlink(self) -> None:
        """Remove the file.

        Raises:
            OutputError: it cannot be removed.
        """
        with _reported(f"cannot remove {self}", OutputError):
            file_system, path = self._file_system()
            file_system.rm_file(path)

    def remove_folder(self) -> None:
        """Remove the folder with all that is in it, if there is one.

        Raises:
            OutputError: it cannot be removed.
        """
        with _reported(f"cannot remove {self}", OutputError):
            file_system, path = self._file_system()
            with suppress(FileNotFoundError):
                file_system.rm(path, recursive=True)

    def move_to(self, target: RemotePath) -> None:
        """Give the file another name on the same storage, which copies it where it cannot be renamed.

        Raises:
            OutputError: it cannot be moved.
        """
        with _reported(f"cannot move {self} to {target}", OutputError):
            file_system, path = self._file_system()
            file_system.mv(path, target._file_system()[1])

    def version(self) -> str:
        """Return a text that is another one when the file has been replaced.

        Raises:
            InputError: there is no such file, or it cannot be reached.
        """
        with _reported(f"cannot read {self}"):
            file_system, path = self._file_system()
            facts = file_system.info(path)
            return " ".join(str(facts[key]) for key in VERSION_KEYS if key in facts)

    def files(self) -> list[RemotePath]:
        """List the files of the folder, without those of folders in it.

        Raises:
            InputError: there is no such folder, or it cannot be read.
        """
        with _reported(f"cannot read the folder {self}"):
            file_system, path = self._file_system()
            listed = [entry["name"] for entry in file_system.ls(path, detail=True) if entry["type"] == "file"]
            names = [name.rpartition("/")[2] for name in listed if name.strip("/") != path.strip("/")]
            return [self / name for name in names if name]

    def check_writable(self) -> None:
        """Check, before work is begun, that the storage can be reached and lets us look at it.

        Raises:
            OutputError: it is no storage, there is no such bucket, or access is denied.
        """
        if self.scheme in WEB:
            raise OutputError(f"cannot write {self}: web addresses are only read; give a path, or a URL such as s3://")
        try:
            self._kind()
        except InputError as error:
            raise OutputError(str(error)) from error

    def _kind(self) -> str | None:
        """Return `file` or `directory`, or None if there is neither."""
        with _reported(f"cannot reach {self}"):
            file_system, path = self._file_system()
            try:
                return str(file_system.info(path)["type"])
            except FileNotFoundError as error:
                if NO_BUCKET in str(error):
                    raise
                return None

    def _write(self, write: Callable[[Any, str], object]) -> None:
        with _reported(f"cannot write {self}", OutputError):
            file_system, path = self._file_system()
            if self.scheme in OBJECT_STORES:
                write(file_system, path)
                return
            part = f"{path}.part"
            try:
                write(file_system, part)
                file_system.mv(part, path)
            except BaseException:
                with suppress(Exception):
                    file_system.rm_file(part)
                raise

    def _file_system(self) -> tuple[Any, str]:
        """Return fsspec's file system, which it keeps, and the path in it."""
        from fsspec.core import url_to_fs

        file_system, path = url_to_fs(self.url, use_listings_cache=False, **OPTIONS.get(self.scheme, {}))
        return file_system, path


AnyPath: TypeAlias = Path | RemotePath
"""A file or folder on this machine or elsewhere."""


def path_of(name: str | Path) -> AnyPath:
    """Return the path that a name stands for, or the remote path if it is a URL.

    Raises:
        InputError: the URL is of no storage, or holds a password.
    """
    found = None if isinstance(name, Path) else SCHEME.match(name)
    if not found:
        return Path(name)
    scheme, rest = found[1].lower(), str(name)[found.end() :]
    if scheme == "file":
        return Path(url2pathname(rest.removeprefix("localhost")))
    if ":" in rest.partition("/")[0].rpartition("@")[0]:
        raise InputError(
            f"the {scheme}:// address holds a password, which messages and reports would show; "
            "give it in the storage's own settings or in fsspec's"
        )
    if scheme == "memory":
        raise InputError(f"{name} is in the memory of one process and seen by no other; give a path or another URL")
    if not rest.strip("/"):
        raise InputError(f"{name} names no file or folder; write {scheme}://bucket/folder/file")
    return RemotePath(str(name).rstrip("/"))


def files_in(folder: AnyPath) -> list[AnyPath]:
    """List what is in a folder and is no folder itself.

    Raises:
        InputError: the folder cannot be read.
    """
    if isinstance(folder, RemotePath):
        return list(folder.files())
    try:
        return [path for path in folder.iterdir() if not path.is_dir()]
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error


def is_same_file(one: AnyPath, other: AnyPath) -> bool:
    """Whether two names stand for one existing file or folder; two URLs, whether they are the same."""
    if isinstance(one, RemotePath) or isinstance(other, RemotePath):
        return one == other
    return one.exists() and other.exists() and one.samefile(other)


def size_bytes(path: AnyPath) -> int:
    """Return the size of a file.

    Raises:
        InputError: a remote file cannot be reached.
        OSError: a file of this machine cannot be accessed.
    """
    return path.size_bytes() if isinstance(path, RemotePath) else path.stat().st_size


def for_ffmpeg(path: AnyPath) -> str | BinaryIO:
    """Return what `av.open` reads a file by: its absolute path, or an open remote file.

    FFmpeg takes "12:30.mp4" for a protocol named 12; no absolute path looks like one.

    Raises:
        InputError: a remote file cannot be opened.
    """
    return path.open() if isinstance(path, RemotePath) else str(path.absolute())


class _Blocks:
    """A remote file that is open: the blocks that were read last, for all of its readers."""

    def __init__(self, path: RemotePath) -> None:
        file_system, name = path._file_system()
        options = {"maxblocks": KEPT_BLOCKS}
        self._file = file_system.open(
            name, "rb", block_size=BLOCK_BYTES, cache_type="blockcache", cache_options=options
        )
        if not self._file.seekable():
            raise InputError(f"cannot read {path}: {NO_RANGES}")
        self._lock = threading.Lock()
        self.size_bytes = int(self._file.size)

    def read(self, offset: int, count: int) -> bytes:
        """Read up to `count` bytes."""
        with self._lock:
            self._file.seek(offset)
            return bytes(self._file.read(count))


_opened: WeakValueDictionary[RemotePath, _Blocks] = WeakValueDictionary()
_opening = threading.Lock()


def _blocks_of(path: RemotePath) -> _Blocks:
    with _opening:
        blocks = _opened.get(path)
        if blocks is None:
            blocks = _opened[path] = _Blocks(path)
        return blocks


class _Reader(io.RawIOBase):
    """A position in a remote file.

    After an error it is at its end: FFmpeg reads on before PyAV raises the error, and would only print another one.
    """

    def __init__(self, path: RemotePath) -> None:
        self.name = path.name
        self._path, self._offset, self._has_failed = path, 0, False
        with _reported(f"cannot read {path}"):
            self._blocks = _blocks_of(path)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._has_failed:
            return 0
        try:
            with _reported(f"cannot read {self._path}"):
                data = self._blocks.read(self._offset, len(buffer))
        except InputError:
            self._has_failed = True
            raise
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._offset, io.SEEK_END: self._blocks.size_bytes}[whence]
        if begin + offset < 0:
            raise OSError(f"{self._path} has nothing at {begin + offset} bytes")
        self._offset = begin + offset
        return self._offset

    def tell(self) -> int:
        return self._offset


@contextmanager
def _reported(what: str, kind: type[StreamsegError] = InputError) -> Iterator[None]:
    """Turn any error of a storage's library into one line; each raises exceptions of its own."""
    try:
        yield
    except StreamsegError:
        raise
    except Exception as error:
        if isinstance(error, ImportError) and "s3fs" in str(error):
            raise MissingExtraError("s3://", "s3fs", "cluster") from error
        raise kind(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    said = str(error).partition("\n")[0] or type(error).__name__
    match type(error).__name__:
        case "NoCredentialsError" | "PartialCredentialsError":
            return NO_CREDENTIALS
        case "PermissionError":
            return f"access denied ({said}): the credentials must be right, and allowed to list, read and write there"
        case "FileNotFoundError" if NO_BUCKET not in said:
            return "there is no such file or folder"
        case "ValueError" if said.startswith("Protocol not known"):
            return "this is no storage that fsspec knows, such as s3://"
        case "ValueError" if "range requests" in said:
            return NO_RANGES
    return said
