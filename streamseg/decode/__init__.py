"""Stage 1: a video file, animation, photo, image folder, camera or test pattern becomes frames."""

from __future__ import annotations

from pathlib import Path

from streamseg.decode.animation import READ_HERE, Animation
from streamseg.decode.base import BaseSource, SeekableSource, Source, check_seekable
from streamseg.decode.camera import Camera, Paced
from streamseg.decode.images import IMAGE_SUFFIXES, ImageFiles, animation_format
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.decode.video import VideoFile, is_test_pattern, open_test_pattern
from streamseg.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "BaseSource", "SeekableSource", "Source", "TimeRange", "open_camera", "open_source"]


def open_source(spec: str, time_range: TimeRange = WHOLE) -> BaseSource:
    """Opens a video file, animation, photo, folder of photos, or the test pattern (`testsrc` or `testsrc=1280x720`).

    Args:
        spec: a path, or the name of the test pattern.
        time_range: the part that is wanted; the test pattern has no parts.

    Raises:
        InputError: there is nothing at `spec` that holds pictures, or nothing in that stretch of it; the message says
            what was found.
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
        moving = animation_format(path)
        if not moving:
            return ImageFiles(path, time_range)
        if moving in READ_HERE:
            return Animation(path, time_range)
    return VideoFile(spec, time_range=time_range)


def open_camera(spec: str) -> BaseSource:
    """Opens a camera by number or device path; a file or the test pattern stands in for one, at its own pace.

    Raises:
        CameraError: no such camera, or it gives no picture.
        InputError: `spec` is a file that holds no video.
    """
    if spec.isdecimal() or spec.startswith("/dev/"):
        return Camera(spec)
    return Paced(open_source(spec))
