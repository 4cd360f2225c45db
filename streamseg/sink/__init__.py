"""Stage 5: finished frames become a file, an animation, an image sequence, a window or a virtual camera."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from streamseg.controls import Controls
from streamseg.errors import OutputError
from streamseg.frames import Kind, VideoInfo
from streamseg.media.atomic import followed
from streamseg.media.storage import AnyPath, RemotePath, path_of
from streamseg.settings import OutputSettings
from streamseg.sink.animation import ANIMATIONS, AnimationSink
from streamseg.sink.base import BaseSink, Sink, SinkClosed
from streamseg.sink.encoder import on_gpu
from streamseg.sink.first_frame import FirstFrameSink
from streamseg.sink.formats import Encoding, at_width, check_size, choose_encoding
from streamseg.sink.images import ImageSequence, sequence_pattern
from streamseg.sink.lock import Claim
from streamseg.sink.mix import check_holds_sound
from streamseg.sink.record import MadeFrom, MadeOtherwise, check_record
from streamseg.sink.resume import BEGINNING, left_over, resume_point, unfinished
from streamseg.sink.sidecar import SidecarSink, matte_path
from streamseg.sink.upload import UploadedFile
from streamseg.sink.video import VideoSink, check_folder
from streamseg.sink.virtual import VIRTUAL_CAMERA, is_virtual_camera, open_virtual_camera
from streamseg.sink.window import PreviewWindow

__all__ = [
    "VIRTUAL_CAMERA",
    "WINDOW",
    "BaseSink",
    "MadeFrom",
    "MadeOtherwise",
    "Sink",
    "SinkClosed",
    "check_format",
    "open_apart",
    "open_file",
    "open_sink",
]

STANDARD = OutputSettings()
WINDOW = "window"


def open_sink(
    out: str,
    info: VideoInfo,
    kind: Kind | None = None,
    output: OutputSettings = STANDARD,
    resume: bool = False,
    overlay: Callable[[], str] = str,
    controls: Controls | None = None,
    made_from: MadeFrom | None = None,
) -> BaseSink:
    """Open an output: a video, an animation, an image sequence (`x_%05d.png` or a folder), `window` or `virtual`.

    Args:
        out: a path or URL, `window`, `virtual`, `virtual:/dev/video10` or `virtual:NAME`.
        info: size, rate and clock of the frames to write.
        kind: what a video file holds: composites, foregrounds with alpha, or mattes; None takes the kind of the first
            frame. Frames of another kind are refused.
        output: how a video file stores alpha, and its quality.
        resume: continue the file that an interrupted run left of this video, if there is one.
        overlay: returns the text to draw over the preview, such as `Statistics.live_text`.
        controls: what the keys of the preview change.
        made_from: what the frames are made from (see `made_from`), which is kept beside a video file until it is
            complete; to `resume` one that is made from something else is refused. None keeps and checks nothing.

    Raises:
        MadeOtherwise: what an interrupted run left of this video is made from something else.
        OutputError: the output is not available, or cannot hold the frames; the message says what can.
    """
    if out == WINDOW:
        return PreviewWindow(info, controls, overlay)
    if is_virtual_camera(out):
        return open_virtual_camera(info, out)
    pattern = sequence_pattern(out)
    if pattern:
        check_holds_sound(out, info.background_sound)
        if resume:
            raise OutputError(
                f"{out} is a sequence of images and cannot be resumed; name a video file, or give --start"
            )
        images = ImageSequence(pattern, output.straight)
        if not isinstance(pattern, RemotePath):  # Object storage has no locks.
            images.claim = Claim(pattern)
        return images
    return open_file(path_of(out), info, kind, output, resume, made_from)


def open_file(
    path: AnyPath,
    info: VideoInfo,
    kind: Kind | None = None,
    output: OutputSettings = STANDARD,
    resume: bool = False,
    made_from: MadeFrom | None = None,
) -> BaseSink:
    """Open one video or animation file as `open_sink` does, even where its name looks like a pattern.

    Raises:
        MadeOtherwise: as `open_sink`.
        OutputError: the format cannot hold the frames; the message says which can.
    """
    check_format(path, kind, output)
    if isinstance(path, RemotePath):
        return UploadedFile(path, lambda here: open_file(here, info, kind, output, resume, made_from))
    claim = Claim(followed(path))
    try:
        if path.suffix.lower() in ANIMATIONS:
            sink: AnimationSink | FirstFrameSink = _open_animation(path, info, kind, output, resume)
        else:
            sink = _open_video(path, info, kind, output, resume, made_from)
    except BaseException:
        claim.release()
        raise
    sink.claim = claim
    return sink


def open_apart(
    path: AnyPath, info: VideoInfo, kind: Kind, output: OutputSettings, as_images: bool = False
) -> VideoSink | SidecarSink | ImageSequence | UploadedFile:
    """Open a part of an output, or the output that parts are joined to; the caller locks it.

    The CPU encodes even where a GPU could, so that the parts of different machines go into one stream.

    Args:
        path: a video file, or the pattern of an image sequence.
        info: as for `open_sink`; without a `path`, there is neither sound nor metadata.
        kind: what the file holds.
        output: how it stores alpha, and its quality.
        as_images: `path` is a pattern.

    Raises:
        OutputError: the output cannot be written, or cannot hold the frames.
    """
    if as_images:
        check_holds_sound(path, info.background_sound)
        return ImageSequence(path, output.straight)
    check_size(path, info)
    if isinstance(path, RemotePath):
        return UploadedFile(path, lambda here: _open_for(here, info, kind, output, BEGINNING))
    return _open_for(path, info, kind, output, BEGINNING)


def check_format(path: AnyPath, kind: Kind | None, output: OutputSettings) -> None:
    """Check that the format named by a file's suffix can hold frames of a kind.

    Raises:
        OutputError: the format is unknown or cannot store alpha as asked.
    """
    if path.suffix.lower() not in ANIMATIONS:
        choose_encoding(path, kind or "composite", output)
    elif kind == "foreground" and output.alpha != "embedded":
        raise OutputError(f"{path} holds alpha itself: leave out --alpha {output.alpha}, or name a video file")


def _open_animation(
    path: Path, info: VideoInfo, kind: Kind | None, output: OutputSettings, resume: bool
) -> AnimationSink:
    check_holds_sound(path, info.background_sound)
    form = ANIMATIONS[path.suffix.lower()]
    if resume:
        raise OutputError(f"{path} is an animation and cannot be resumed; name a video file, or give --start")
    return AnimationSink(followed(path), info, form, output.quality == "high")


def _open_video(
    path: Path,
    info: VideoInfo,
    kind: Kind | None,
    output: OutputSettings,
    resume: bool,
    made_from: MadeFrom | None,
) -> FirstFrameSink:
    check_size(path, info)
    check_folder(path)
    if resume and made_from is not None:
        _check_records(path, kind, output, made_from)
    resume_at = _resume_point(path, kind, output) if resume else BEGINNING

    def open_for(kind: Kind) -> VideoSink | SidecarSink:
        return _open_for(path, info, kind, output, resume_at, on_gpu, made_from)

    return FirstFrameSink(path, open_for, kind, resume_at)


def _open_for(
    path: Path,
    info: VideoInfo,
    kind: Kind,
    output: OutputSettings,
    resume_at: Fraction,
    adapt: Callable[[Encoding, VideoInfo], Encoding] = lambda encoding, _: encoding,
    made_from: MadeFrom | None = None,
) -> VideoSink | SidecarSink:
    """Open the video file for a kind of frames; `adapt` may replace the encoding of a single file."""
    if kind == "foreground" and output.alpha == "sidecar":
        colour, matte = (choose_encoding(path, part, output) for part in ("composite", "matte"))
        return SidecarSink(followed(path), followed(matte_path(path)), info, colour, matte, resume_at, made_from)
    encoding = at_width(choose_encoding(path, kind, output), info.width_px)
    return VideoSink(followed(path), info, adapt(encoding, info), resume_at, made_from)


def _check_records(path: Path, kind: Kind | None, output: OutputSettings, made_from: MadeFrom) -> None:
    """Raise MadeOtherwise if what is left of a file, or of its sidecar matte, is made from something else."""
    has_matte = output.alpha == "sidecar" and kind in {None, "foreground"}
    for one in [path, matte_path(path)] if has_matte else [path]:
        part, aside = unfinished(followed(one))
        if part.exists() or aside.exists():
            check_record(part, made_from)


def _resume_point(path: Path, kind: Kind | None, output: OutputSettings) -> Fraction:
    """Return the time, in seconds, at which the file, and its sidecar matte if any, can be continued."""
    paths = [followed(path)]
    if output.alpha == "sidecar" and (
        kind == "foreground" or (not kind and left_over(followed(matte_path(path))).exists())
    ):
        paths.append(followed(matte_path(path)))
    return resume_point([left_over(one) for one in paths])
