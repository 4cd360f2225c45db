"""Stage 1: a video file, animation, photo, image folder, camera or test pattern becomes frames."""

from __future__ import annotations

from pathlib import Path

from streamseg.decode.animation import ANIMATION_FORMATS, Animation
from streamseg.decode.base import BaseSource, SeekableSource, Source, check_seekable
from streamseg.decode.camera import Camera, Paced
from streamseg.decode.images import IMAGE_SUFFIXES, ImageFiles, animation_format
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.decode.video import VideoFile, is_test_pattern, open_test_pattern
from streamseg.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "BaseSource", "SeekableSource", "Source", "TimeRange", "open_camera", "open_source"]


def open_source(spec: str, time_range: TimeRange = WHOLE) -> BaseSource:
    """Open a video file, animation, photo, folder of photos, or the test pattern (`testsrc` or `testsrc=1280x720`).

    Args:
        spec: a path, or the name of the test pattern.
        time_range: the part to read; ignored for the test pattern, which has no end.

    Raises:
        InputError: `spec` does not exist, holds no images, or has none in `time_range`; the message says what was
            found.
    """
    if is_test_pattern(spec):
        return open_test_pattern(spec)
    path = Path(spec)
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


def open_camera(spec: str) -> BaseSource:
    """Open a camera by number or device path, or play a file or the test pattern in real time in its place.

    Raises:
        CameraError: there is no such camera, or it delivers no frame.
        InputError: `spec` is neither a camera nor a file that holds video.
    """
    if spec.isdecimal() or spec.startswith("/dev/"):
        return Camera(spec)
    return Paced(open_source(spec))
