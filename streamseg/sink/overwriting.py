"""Check that a run overwrites none of its inputs, and the files that a run writes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from streamseg.errors import OutputError
from streamseg.frames import Kind
from streamseg.media.atomic import followed
from streamseg.media.storage import AnyPath, is_same_file, path_of
from streamseg.settings import OutputSettings
from streamseg.sink.images import sequence_pattern
from streamseg.sink.resume import unfinished
from streamseg.sink.sidecar import matte_path


def outputs_of(out: str, kind: Kind, output: OutputSettings) -> list[AnyPath]:
    """Return what a run writes to `out`, as `open_sink` takes it: a file, its sidecar matte, or a folder of images."""
    pattern = sequence_pattern(out)
    return [pattern.parent] if pattern else files_of(path_of(out), kind, output)


def files_of(path: AnyPath, kind: Kind, output: OutputSettings) -> list[AnyPath]:
    """Return the files that a run writes where `path` is a video or an animation: itself, and its sidecar matte."""
    has_sidecar = kind == "foreground" and output.alpha == "sidecar"
    return [path, matte_path(path)] if has_sidecar else [path]


def refuse_overwriting(outputs: Iterable[AnyPath], *inputs: str | AnyPath | None) -> None:
    """Raise OutputError if an output, or its unfinished file, is one of the inputs; before anything is written.

    Args:
        outputs: files and folders.
        inputs: names of sources and backgrounds, of which some are colours and the like.
    """
    for output in outputs:
        target = followed(output) if isinstance(output, Path) else output
        written = [target]
        if isinstance(target, Path) and target.name:  # The folder `.` has none.
            written += unfinished(target)
        for name in filter(None, inputs):
            with suppress(OSError):  # A name that the system rejects is no file.
                source = path_of(str(name))
                if any(is_same_file(one, source) for one in written):
                    raise OutputError(f"the output {output} is an input too; give another name")
