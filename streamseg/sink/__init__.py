"""Station 5: finished frames become a file, a picture sequence, a window or a virtual camera."""

from __future__ import annotations

import os
from pathlib import Path

from streamseg.errors import OutputError
from streamseg.frames import VideoInfo
from streamseg.sink.base import Sink
from streamseg.sink.pictures import PictureSequence
from streamseg.sink.video import VideoSink
from streamseg.sink.virtual import open_virtual_camera
from streamseg.sink.window import PreviewWindow

__all__ = ["VIRTUAL_CAMERA", "WINDOW", "Sink", "open_sink"]

WINDOW = "window"
VIRTUAL_CAMERA = "virtual"


def open_sink(out: str, info: VideoInfo, transparent: bool = False) -> Sink:
    """Opens what `out` names: an .mp4 file, a PNG sequence (`x_%05d.png` or a folder), `window` or `virtual`.

    Args:
        out: a path, `window` or `virtual`.
        info: the frames that will come.
        transparent: they carry alpha, which only PNG keeps.

    Raises:
        OutputError: there is no such output here, or it cannot hold the frames; the message says what can.
    """
    if out == WINDOW:
        return PreviewWindow()
    if out == VIRTUAL_CAMERA:
        return open_virtual_camera(info)
    path = Path(out)
    if "%" in path.name or path.is_dir() or out.endswith(("/", os.sep)):
        return PictureSequence(path)
    if path.suffix.lower() != ".mp4":
        raise OutputError(
            f"cannot write {out}: give a name that ends in .mp4, a pattern such as x_%05d.png, or a folder for PNGs"
        )
    if transparent:
        raise OutputError(
            f"{out} cannot hold transparency: give --bg FILE|COLOR|blur, --matte-only, or PNGs such as x_%05d.png"
        )
    return VideoSink(path, info)
