"""Stage 1: a video file, animation, photo, image folder, camera or test pattern becomes frames."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from streamseg.controls import Controls
from streamseg.decode.animation import ANIMATION_FORMATS, Animation
from streamseg.decode.base import BaseSource, SeekableSource, Source, check_seekable
from streamseg.decode.camera import LiveCamera
from streamseg.decode.cameras import AUTO, CameraDevice
from streamseg.decode.devices import device_opener, list_cameras
from streamseg.decode.images import IMAGE_SUFFIXES, ImageFiles, animation_format
from streamseg.decode.paced import Paced
from streamseg.decode.rest import always
from streamseg.decode.streams import StreamOpener, is_address
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.decode.video import VideoFile, is_test_pattern, open_test_pattern
from streamseg.errors import InputError
from streamseg.media.storage import path_of

__all__ = [
    "IMAGE_SUFFIXES",
    "BaseSource",
    "CameraDevice",
    "LiveCamera",
    "SeekableSource",
    "Source",
    "TimeRange",
    "list_cameras",
    "open_camera",
    "open_source",
]


def open_source(spec: str, time_range: TimeRange = WHOLE) -> BaseSource:
    """Open a video file, animation, photo, folder of photos, or the test pattern (`testsrc` or `testsrc=1280x720`).

    Args:
        spec: a path, a URL such as s3://bucket/talk.mp4, or the name of the test pattern.
        time_range: the part to read; ignored for the test pattern, which has no end.

    Raises:
        InputError: `spec` does not exist, holds no images, or has none in `time_range`; the message says what was
            found.
    """
    if is_test_pattern(spec):
        return open_test_pattern(spec)
    path = path_of(spec)
    check_seekable(path)
    if not path.exists():
        raise InputError(f"no such file or folder: {spec}")
    if path.is_dir():
        return ImageFiles(path, time_range)
    if path.suffix.lower() in IMAGE_SUFFIXES:
        animated = animation_format(path)
        if not animated:
            return ImageFiles(path, time_range)
        if animated in ANIMATION_FORMATS:
            return Animation(path, time_range)
    return VideoFile(spec, time_range=time_range)


def open_camera(
    spec: str = AUTO,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    controls: Controls | None = None,
    wanted: Callable[[], bool] = always,
) -> LiveCamera | Paced:
    """Open a camera or a live stream, or play a file or the test pattern in real time in its place.

    Args:
        spec: `auto` for the first camera; a number, a device path, a camera's name or a unique part of one; an address
            (rtsp, http, https); a file, or the test pattern, as `open_source` takes them.
        size: wanted width and height in pixels; the nearest that the camera has, not smaller if possible. None for
            1280x720.
        fps: wanted frame rate; None for 30.
        controls: mirror the image, and pause: the camera is closed and a card shown, see `Frame.card`.
        wanted: whether anybody watches; while it returns False the camera is closed and a card shown.

    Raises:
        CameraError: there is no such camera or server, or it delivers no frame.
        InputError: `spec` is neither a camera nor a file that holds video.
    """
    if is_address(spec):
        return LiveCamera(StreamOpener(spec), controls, wanted)
    if is_test_pattern(spec) or _means_file(spec):
        return Paced(open_source(spec), controls=controls, wanted=wanted)
    return LiveCamera(device_opener(spec, size, fps), controls, wanted)


def _means_file(spec: str) -> bool:
    """Whether a camera's `spec` is that of a file or folder: it exists, or names a folder that it should be in."""
    path = Path(spec)
    with suppress(OSError):  # A name that the system rejects is no file.
        if spec == AUTO or spec.isdecimal() or spec.startswith("/dev/") or path.is_char_device():
            return False
        return path.exists() or path.parent != Path()
    return False
