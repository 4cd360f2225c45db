"""Files that the page's users sent, in a private folder that goes with the run."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from functools import partial
from pathlib import Path

from starlette.requests import Request

from streamseg.live.limited import Background, LimitedProcess, prepare_background, suffix_of
from streamseg.live.refusals import Refused

MAX_PHOTO_BYTES = 32 * 2**20
MAX_VIDEO_BYTES = 256 * 2**20
BODY_SECONDS = 120.0
"""A body arrives within this time."""
MAX_AT_ONCE = 4
"""Files that are received or decoded at the same time."""
MAX_KEPT = 12
MAX_KEPT_BYTES = 512 * 2**20
NAME_LENGTH = 80


@dataclass(frozen=True, slots=True)
class Upload:
    """A background that was sent.

    Attributes:
        name: what the user's file was called; shown, and never part of a path.
        background: what was made of it.
    """

    name: str
    background: Background


class Uploads:
    """Receives files, has them decoded in a limited process, and keeps the newest ones.

    Attributes:
        kept: id -> upload, the oldest first.
    """

    def __init__(self, decoding: LimitedProcess) -> None:
        self._decoding = decoding
        self._folder = _private_folder()
        self._under_way = 0
        self.kept: dict[str, Upload] = {}

    async def add(self, request: Request, in_use: Callable[[], str | None]) -> str:
        """Receive a background in a request's body and return its id.

        Args:
            request: its query has the file's `name`.
            in_use: returns the background that is shown, which is kept; another one may be by the end of the upload.

        Raises:
            Refused: the file is too large, or no image or video.
            InputError: it cannot be decoded.
        """
        async with self.received(request, MAX_VIDEO_BYTES) as path:
            stem = path.with_name(f"background-{secrets.token_hex(8)}")
            try:
                background = await self._decoding.do(partial(prepare_background, path, stem))
            except BaseException:
                for left in stem.parent.glob(f"{stem.name}*"):
                    left.unlink(missing_ok=True)
                raise
        identity = secrets.token_hex(8)
        self.kept[identity] = Upload(_shown_name(request.query_params.get("name", "")), background)
        self._drop_oldest(in_use(), identity)
        return identity

    @asynccontextmanager
    async def received(self, request: Request, most_bytes: int) -> AsyncIterator[Path]:
        """Write a request's body to a file under a random name for the time of the `with` block.

        Raises:
            Refused: there are too many at once, it is too large or slow, or no image or video.
        """
        if self._under_way >= MAX_AT_ONCE:
            raise Refused(503, "too many files are being sent at once; try again in a moment")
        if not _is_own(self._folder):  # Systems clean their temporary folders, and runs last all day and longer.
            self._folder = _private_folder()
        self._under_way += 1
        path = self._folder / secrets.token_hex(8)
        try:
            await _save(request, path, most_bytes)
            suffix = suffix_of(path)
            if suffix is None:
                raise Refused(
                    415,
                    "this is no image or video that is taken here: JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF; "
                    "MP4, MOV, WebM, MKV",
                )
            path = path.rename(path.with_suffix(suffix))
            yield path
        finally:
            self._under_way -= 1
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all files."""
        self.kept.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _drop_oldest(self, *needed: str | None) -> None:
        """Remove the oldest uploads beyond the bounds, except those that are needed."""
        for identity in list(self.kept):
            kept_bytes = sum(_size_bytes(upload.background.path) for upload in self.kept.values())
            if len(self.kept) <= MAX_KEPT and kept_bytes <= MAX_KEPT_BYTES:
                return
            path = self.kept[identity].background.path
            if identity not in needed and str(path) not in needed:
                del self.kept[identity]
                path.unlink(missing_ok=True)


def _private_folder() -> Path:
    """Make a temporary folder that only this user can enter; its name is new each time, so that nobody has it."""
    return Path(tempfile.mkdtemp(prefix="streamseg-"))


def _size_bytes(path: Path) -> int:
    """Return a file's size; 0 if it is gone."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_own(folder: Path) -> bool:
    """Whether a folder is there and this user's: in its place, another one may have made one of the same name."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


async def read_body(request: Request, most_bytes: int) -> bytes:
    """Read a small body.

    Raises:
        Refused: it is too large or too slow.
    """
    body = bytearray()
    await _receive(request, most_bytes, body.extend)
    return bytes(body)


async def _save(request: Request, path: Path, most_bytes: int) -> None:
    """Write a body, or the field `file` of a form, to a file."""
    boundary = _boundary_of(request)
    if boundary:
        path.write_bytes(_field_file(await read_body(request, min(most_bytes, MAX_PHOTO_BYTES)), boundary))
        return
    with path.open("xb") as file:
        await _receive(request, most_bytes, file.write)


async def _receive(request: Request, most_bytes: int, take: Callable[[bytes], object]) -> None:
    """Hand on a body's parts as they come; refuse it as soon as it proves too large, whatever its header said."""
    too_large = Refused(413, f"the body is too large: {most_bytes / 2**20:g} MiB are the most")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > most_bytes:
        raise too_large
    received = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                received += len(chunk)
                if received > most_bytes:
                    raise too_large
                take(chunk)
    except TimeoutError:
        raise Refused(408, f"the body took more than {BODY_SECONDS:g} s to arrive") from None


def _boundary_of(request: Request) -> bytes:
    """Return what separates the fields of a form, or nothing if the body is no form."""
    message = Message()
    message["content-type"] = request.headers.get("content-type", "")
    is_form = message.get_content_type() == "multipart/form-data"
    return (message.get_boundary() or "").encode("latin-1", "replace") if is_form else b""


def _field_file(body: bytes, boundary: bytes) -> bytes:
    """Return the content of a form's field `file`; RFC 7578.

    Raises:
        Refused: there is none.
    """
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary):
        header, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in header:
            return content
    raise Refused(422, 'the form has no field "file"')


def _shown_name(name: str) -> str:
    """Return what a file was called, without what cannot be shown."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(one for one in last if one.isprintable())[:NAME_LENGTH] or "picture"
