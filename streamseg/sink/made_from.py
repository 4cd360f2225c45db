"""What the frames of an output are made from, for a later run to tell whether it can go on with them."""

from __future__ import annotations

from typing import Any

import av

import streamseg
from streamseg.decode import TimeRange
from streamseg.decode.time_range import WHOLE
from streamseg.hardware.cuda import chosen_device
from streamseg.media.storage import AnyPath, RemotePath, path_of
from streamseg.model import precision
from streamseg.model.weights import digest_of
from streamseg.settings import Settings


def made_from(source: str | AnyPath | None, settings: Settings, time_range: TimeRange = WHOLE) -> dict[str, Any]:
    """Return all that the frames depend on: settings, versions, and size and date of the files that are read.

    Args:
        source: what `open_source` takes; None for a source of one's own, which is taken to stay the same.
        settings: of the pipeline.
        time_range: the part of the source that is matted.

    Raises:
        InputError: a remote file cannot be reached.
        WeightsError: the weights are missing, or do not exist in the precision that is asked for.
        EngineError: there is no such device.
    """
    infer = precision.settled(settings.infer)
    infer = infer.model_copy(update={"device": chosen_device(infer.device).type})
    named = settings.model_copy(update={"infer": infer})
    return {
        "streamseg": streamseg.__version__,
        "av": av.__version__,
        "source": _identity(source),
        "start": str(time_range.start),
        "end": str(time_range.end),
        "background": _identity(settings.composite.bg),
        "weights": digest_of(infer.model),
        # Sound is written anew by a run that goes on, and when segments are joined.
        **named.model_dump(mode="json", exclude={"live": True, "batch": True, "composite": {"bg_sound"}}),
    }


def _identity(name: str | AnyPath | None) -> dict[str, int | str]:
    """Return size and date of a file or of a folder's files, or a remote file's version; nothing if there is none."""
    if not name:
        return {}
    path = name if isinstance(name, RemotePath) else path_of(name)
    if isinstance(path, RemotePath):
        return {"version": path.version()}
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    facts = [file.stat() for file in files]
    if not facts:
        return {}
    return {"bytes": sum(one.st_size for one in facts), "modified": max(one.st_mtime_ns for one in facts)}
