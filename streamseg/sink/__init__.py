"""Station 5: finished frames become a file, a picture sequence, a window or a virtual camera."""

from __future__ import annotations

import os
from pathlib import Path

from streamseg.config import OutputSettings
from streamseg.frames import Kind, VideoInfo
from streamseg.sink.base import Sink
from streamseg.sink.formats import choose_encoding
from streamseg.sink.pictures import PictureSequence
from streamseg.sink.sidecar import SidecarSink
from streamseg.sink.video import VideoSink
from streamseg.sink.virtual import open_virtual_camera
from streamseg.sink.window import PreviewWindow

__all__ = ["VIRTUAL_CAMERA", "WINDOW", "Sink", "open_sink"]

STANDARD = OutputSettings()
WINDOW = "window"
VIRTUAL_CAMERA = "virtual"


def open_sink(out: str, info: VideoInfo, kind: Kind = "picture", output: OutputSettings = STANDARD) -> Sink:
    """Opens what `out` names: a video file, a picture sequence (`x_%05d.png` or a folder), `window` or `virtual`.

    Args:
        out: a path, `window` or `virtual`.
        info: the frames that will come.
        kind: pictures, cut-outs with alpha, or grey mattes.
        output: where in a video file the alpha goes, and how good it is.

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
    if kind == "cut-out" and output.alpha == "sidecar":
        encodings = (choose_encoding(path, part, output) for part in ("picture", "matte"))
        return SidecarSink(path, info, *encodings)
    return VideoSink(path, info, choose_encoding(path, kind, output))
