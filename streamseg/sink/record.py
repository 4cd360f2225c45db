"""Record of what an unfinished file is made from: NAME.part.json, beside NAME.part for as long as that is there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from streamseg.errors import OutputError
from streamseg.media.atomic import replace_file

MadeFrom: TypeAlias = Mapping[str, Any]
"""Settings, versions, and size and date of the files that are read, as JSON; see `made_from`."""


class MadeOtherwise(OutputError):
    """What an interrupted run left is made from something else than what is given now."""


def record_of(part: Path) -> Path:
    """Return the path of the record of an unfinished file."""
    return part.with_name(f"{part.name}.json")


@contextmanager
def recorded(part: Path, made_from: MadeFrom | None) -> Iterator[None]:
    """Make an unfinished file inside `with`; it is never beside a record of something else.

    Args:
        part: the unfinished file.
        made_from: what it is made from; None leaves no record.

    Raises:
        OSError: the record cannot be written, or an earlier one not be removed.
    """
    record = record_of(part)
    content = json.dumps(made_from, indent=1).encode() if made_from is not None else None
    is_there = content is not None and record.is_file() and record.read_bytes() == content
    if not is_there:
        record.unlink(missing_ok=True)
    yield
    if content is not None and not is_there:
        replace_file(record, content)


def check_record(part: Path, made_from: MadeFrom) -> None:
    """Check that an unfinished file is made from what is given now.

    Raises:
        MadeOtherwise: it is not, or has no record; the message says what differs.
    """
    was = None
    with suppress(OSError, ValueError):
        was = json.loads(record_of(part).read_bytes())
    if not isinstance(was, dict):
        raise MadeOtherwise(
            f"cannot resume {part}: there is no record of the settings that it was made with; leave out --resume, to "
            "start over"
        )
    differs = difference(was, made_from)
    if differs:
        raise MadeOtherwise(
            f"cannot resume {part}: it was made with {differs}; give the same, or leave out --resume, to start over"
        )


def difference(was: MadeFrom, now: MadeFrom) -> str:
    """Name the first difference between two records, such as `bg green, not red`; empty if there is none."""
    flat_was, flat_now = dict(_flat(was)), dict(_flat(now))
    for name in (*flat_now, *flat_was):
        if flat_was.get(name) != flat_now.get(name):
            return f"{name.replace('_', '-')} {flat_was.get(name)}, not {flat_now.get(name)}"
    return ""


def _flat(tables: MadeFrom, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested tables by their names, those of sections of the settings by the setting's alone."""
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{name} " if name in {"source", "background"} else "")
        else:
            yield prefix + name, value
