"""Station 5: finished frames become a file, an animation, a picture sequence, a window or a virtual camera."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

from streamseg.config import OutputSettings
from streamseg.errors import OutputError
from streamseg.frames import Kind, VideoInfo
from streamseg.sink.animation import ANIMATIONS, AnimationSink
from streamseg.sink.base import Sink
from streamseg.sink.encoder import on_gpu
from streamseg.sink.formats import choose_encoding
from streamseg.sink.pictures import PictureSequence
from streamseg.sink.resume import BEGINNING, left_over, resume_point
from streamseg.sink.sidecar import SidecarSink, matte_path
from streamseg.sink.video import VideoSink
from streamseg.sink.virtual import open_virtual_camera
from streamseg.sink.window import PreviewWindow

__all__ = ["VIRTUAL_CAMERA", "WINDOW", "Sink", "open_sink"]

STANDARD = OutputSettings()
WINDOW = "window"
VIRTUAL_CAMERA = "virtual"


def open_sink(
    out: str, info: VideoInfo, kind: Kind = "picture", output: OutputSettings = STANDARD, resume: bool = False
) -> Sink:
    """Opens what `out` names: a video, an animation, a sequence (`x_%05d.png` or a folder), `window` or `virtual`.

    Args:
        out: a path, `window` or `virtual`.
        info: the frames that will come.
        kind: pictures, cut-outs with alpha, or grey mattes.
        output: where in a video file the alpha goes, and how good it is.
        resume: go on with what an interrupted run left of that video file, if it left something.

    Raises:
        OutputError: there is no such output here, or it cannot hold the frames; the message says what can.
    """
    if out == WINDOW:
        return PreviewWindow()
    if out == VIRTUAL_CAMERA:
        return open_virtual_camera(info)
    path = Path(out)
    if "%" in path.name or path.is_dir() or out.endswith(("/", os.sep)):
        if resume:
            raise OutputError(
                f"{out} is a sequence of pictures and cannot be resumed; name a video file, or give --start"
            )
        return PictureSequence(path)
    if path.suffix.lower() in ANIMATIONS:
        return _open_animation(path, info, kind, output, resume)
    return _open_video(path, info, kind, output, resume)


def _open_animation(path: Path, info: VideoInfo, kind: Kind, output: OutputSettings, resume: bool) -> Sink:
    form = ANIMATIONS[path.suffix.lower()]
    if resume:
        raise OutputError(f"{path} is an animation and cannot be resumed; name a video file, or give --start")
    if kind == "cut-out" and output.alpha != "embedded":
        raise OutputError(f"{path} holds alpha itself: leave out --alpha {output.alpha}, or name a video file")
    return AnimationSink(path, info, form, output.quality == "high")


def _open_video(path: Path, info: VideoInfo, kind: Kind, output: OutputSettings, resume: bool) -> Sink:
    if kind == "cut-out" and output.alpha == "sidecar":
        colour, matte = (choose_encoding(path, part, output) for part in ("picture", "matte"))
        return SidecarSink(path, info, colour, matte, _resume_point(resume, path, matte_path(path)))
    encoding = on_gpu(choose_encoding(path, kind, output), info)
    return VideoSink(path, info, encoding, _resume_point(resume, path))


def _resume_point(resume: bool, *paths: Path) -> Fraction:
    return resume_point([left_over(path) for path in paths]) if resume else BEGINNING
