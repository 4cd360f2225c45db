"""Download of weights: only on request, resumed after a break, verified by sha256 and moved into place at the end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from streamseg.errors import OutputError, WeightsError
from streamseg.model.weights import RegistryEntry, list_weights, sha256_of

CHUNK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30.0
"""How long a server may be silent before the connection counts as broken."""

HTML = "text/html"


def downloadable(name: str) -> RegistryEntry:
    """Return the registry entry of weights that can be downloaded.

    Raises:
        WeightsError: no weights have this name, or they are packaged.
    """
    entries = {entry.name: entry for entry in list_weights()}
    if name not in entries:
        offered = ", ".join(entry.name for entry in entries.values() if entry.url)
        raise WeightsError(f"no weights are called {name!r}; to download there are: {offered}")
    if not entries[name].url:
        raise WeightsError(f"{name} is packaged already: --model {name} runs it")
    return entries[name]


def download(entry: RegistryEntry, mirror: str | None, progress: Callable[[int], None]) -> Path:
    """Download the file of a registry entry into the user's data folder, unless it is there already.

    A broken connection leaves a `.part` file, from which the next call resumes.

    Args:
        entry: what `downloadable` returned.
        mirror: http or https folder to take the file from, instead of the entry's URL.
        progress: called with the number of bytes downloaded so far.

    Returns:
        Path of the file.

    Raises:
        WeightsError: the server cannot be reached, lacks the file, sends another one or breaks off.
        OutputError: the folder cannot be written to, or the disk is full.
    """
    url = f"{mirror.rstrip('/')}/{entry.file}" if mirror else entry.url
    if not url.lower().startswith(("http://", "https://")):
        raise WeightsError(f"cannot download from {url}: a mirror's address begins with http:// or https://")
    if entry.is_there and sha256_of(entry.path) == entry.sha256:
        return entry.path
    part = entry.path.with_name(f"{entry.file}.part")
    try:
        _fetch(entry, url, part, progress)
        if (digest := sha256_of(part)) != entry.sha256:
            part.unlink()
            raise WeightsError(f"{url} is another file: its sha256 is {digest}, not {entry.sha256}; nothing was kept")
        os.replace(part, entry.path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"cannot write {entry.path}: {error.strerror}") from error
    return entry.path


def _fetch(entry: RegistryEntry, url: str, part: Path, progress: Callable[[int], None]) -> None:
    """Complete `part`, whose hash is verified later; an OSError means that it cannot be written.

    Raises:
        WeightsError: the server cannot be reached, sends another file or breaks off.
    """
    done_bytes = part.stat().st_size if part.exists() else 0
    if done_bytes >= entry.size_bytes:
        return
    with _open(url, done_bytes) as response:
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        if not resumed:  # servers may ignore what was asked for and send all of it
            done_bytes = 0
        _check_response(response, url, entry.size_bytes - done_bytes)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if resumed else "wb") as file:
            while done_bytes < entry.size_bytes:
                progress(done_bytes)
                chunk = _read_chunk(response, min(CHUNK_BYTES, entry.size_bytes - done_bytes))
                if not chunk:
                    raise WeightsError(
                        f"{url} broke off after {done_bytes / 1e6:.1f} of {entry.size_bytes / 1e6:.1f} MB; "
                        "the same command goes on from there"
                    )
                done_bytes += file.write(chunk)
    progress(done_bytes)


def _open(url: str, start_bytes: int) -> HTTPResponse:
    """Request the file from byte `start_bytes` on; raise WeightsError if the server does not send it."""
    headers = {"User-Agent": "streamseg"} | ({"Range": f"bytes={start_bytes}-"} if start_bytes else {})
    try:
        response: HTTPResponse = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        answer = f"{error.code} {error.reason}".splitlines()[0]
        raise WeightsError(f"{url} answers {answer}; name another copy with --mirror URL") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise WeightsError(
            f"{url} cannot be reached: {reason}; look at the connection, or name another copy with --mirror URL"
        ) from error
    return response


def _check_response(response: HTTPResponse, url: str, expected_bytes: int) -> None:
    """Raise WeightsError if the response is a web page or has another length, before any of it is written."""
    if response.headers.get_content_type() == HTML:
        raise WeightsError(f"{url} is a web page, not the weights (a login?); name another copy with --mirror URL")
    if response.length is not None and response.length != expected_bytes:
        raise WeightsError(
            f"{url} is another file: it sends {response.length:,} bytes where {expected_bytes:,} are due; "
            "name another copy with --mirror URL"
        )


def _read_chunk(response: HTTPResponse, limit_bytes: int) -> bytes:
    """Read up to `limit_bytes`; return no bytes if the connection broke."""
    try:
        return response.read(limit_bytes)
    except (OSError, HTTPException):
        return b""
