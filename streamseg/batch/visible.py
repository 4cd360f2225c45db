"""What every machine of a cluster has to have and to see before work is begun: versions, weights, sources, outputs."""

from __future__ import annotations

import platform
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import av

import streamseg
from streamseg.batch.tasks import Work
from streamseg.errors import StreamsegError
from streamseg.media.storage import AnyPath, RemotePath, path_of
from streamseg.model.precision import chosen_model
from streamseg.model.weights import digest_of

MARK_PREFIX = ".streamseg-"
REMEDY = "give a path that every node has, such as a shared folder's, or a URL such as s3://bucket/file"


@dataclass(frozen=True)
class Needs:
    """What a machine is asked for.

    Attributes:
        weights: name or file of the network's weights.
        sizes: files and folders that are read, and their size where the driver runs.
        marks: files in the folders that are written, which the driver has put there; URLs of such folders.
    """

    weights: str
    sizes: Mapping[str, int]
    marks: tuple[AnyPath, ...]


@dataclass(frozen=True)
class Seen:
    """What a machine has and sees.

    Attributes:
        host: its name.
        versions: of what has to be the same everywhere.
        problems: what it cannot see or write, a line each.
    """

    host: str
    versions: Mapping[str, str]
    problems: tuple[str, ...]


@contextmanager
def needs_of(works: Iterable[Work]) -> Iterator[Needs]:
    """Yield what the work on files needs; remove the marks at the end.

    What cannot be read here is left out: its file fails alone, with its own line.

    Raises:
        WeightsError: there are no such weights.
    """
    works = list(works)
    sizes: dict[str, int] = {}
    for name in dict.fromkeys(name for work in works for name in (work.source, work.settings.composite.bg) if name):
        with suppress(StreamsegError, OSError):
            sizes[name] = _size(path_of(name))
    marks = []
    for folder in dict.fromkeys(work.folder.path.parent for work in works):
        mark = folder if isinstance(folder, RemotePath) else folder / f"{MARK_PREFIX}{uuid.uuid4().hex[:8]}"
        with suppress(OSError):
            if isinstance(mark, Path):
                mark.touch()
            marks.append(mark)
    try:
        yield Needs(chosen_model(works[0].settings.infer) if works else "", sizes, tuple(marks))
    finally:
        for mark in marks:
            if isinstance(mark, Path):
                mark.unlink(missing_ok=True)


def look(needs: Needs) -> Seen:
    """Look at what this machine has and sees."""
    host = socket.gethostname()
    problems = [problem for name, size in needs.sizes.items() if (problem := _source_problem(name, size))]
    problems += [problem for mark in needs.marks if (problem := _folder_problem(mark))]
    return Seen(host, _versions(needs.weights), tuple(problems))


def everywhere(work: Work) -> Work:
    """Return the work with absolute paths: workers run in other folders than the driver."""
    settings = work.settings
    composite = settings.composite.model_copy(update={"bg": settings.composite.bg and _absolute(settings.composite.bg)})
    infer = settings.infer.model_copy(update={"model": _absolute(settings.infer.model)})
    return replace(
        work,
        source=_absolute(work.source),
        out=work.out.absolute() if isinstance(work.out, Path) else work.out,
        settings=settings.model_copy(update={"composite": composite, "infer": infer}),
    )


def _versions(weights: str) -> dict[str, str]:
    major, minor, _ = platform.python_version_tuple()
    try:
        digest = digest_of(weights)[:12] if weights else ""
    except StreamsegError as error:
        digest = f"none ({error})"
    return {
        "streamseg": streamseg.__version__,
        "Python": f"{major}.{minor}",
        "PyAV": av.__version__,
        f"weights {weights}": digest,
    }


def _source_problem(name: str, size: int) -> str:
    try:
        found = _size(path_of(name))
    except StreamsegError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {name}: {error.strerror}; {REMEDY}"
    return "" if found == size else f"another file is at {name}, of {found} and not {size} bytes; {REMEDY}"


def _folder_problem(mark: AnyPath) -> str:
    """Tell why a folder cannot be written, or is not the one that the driver has."""
    if isinstance(mark, RemotePath):
        try:
            mark.check_writable()
        except StreamsegError as error:
            return str(error)
        return ""
    if not mark.exists():
        return f"cannot see the folder {mark.parent} that the driver has; {REMEDY}"
    own = mark.with_name(f"{mark.name}-{uuid.uuid4().hex[:8]}")
    try:
        own.touch()
        own.unlink()
    except OSError as error:
        return f"cannot write into the folder {mark.parent}: {error.strerror}; {REMEDY}"
    return ""


def _size(path: AnyPath) -> int:
    """Return the size of a file whose first byte can be read, or the number of what is in a folder."""
    if isinstance(path, RemotePath):
        return len(path.files()) if path.is_dir() else path.size_bytes()
    if path.is_dir():
        return len(list(path.iterdir()))
    with path.open("rb") as file:
        file.read(1)
    return path.stat().st_size


def _absolute(name: str) -> str:
    """Return the absolute path of what is a file or folder here, and any other name as it is, such as of a colour."""
    path = path_of(name)
    is_path = isinstance(path, Path) and (path.suffix or len(path.parts) > 1) and path.exists()
    return str(path.absolute()) if isinstance(path, Path) and is_path else name
