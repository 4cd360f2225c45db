"""Cameras of this machine: how they are listed and opened on this operating system."""

from __future__ import annotations

import sys
from fractions import Fraction

from streamseg.decode.cameras import CameraDevice
from streamseg.decode.capture import Opener


def list_cameras() -> list[CameraDevice]:
    """List the cameras of this machine by number.

    Linux tells names and modes without opening a stream; elsewhere OpenCV opens each camera for a moment and tells
    only the mode that it opens in.
    """
    if sys.platform.startswith("linux"):
        from streamseg.decode.v4l2 import VideoDevices

        return VideoDevices().cameras()
    from streamseg.decode.capture_opencv import probe_cameras

    return probe_cameras()


def device_opener(spec: str, size: tuple[int, int] | None = None, fps: float | None = None) -> Opener:
    """Return what opens the camera that `spec` means, at the start and again whenever it was lost.

    Args:
        spec: what `find_camera` takes on Linux; elsewhere a number or `auto`.
        size: wanted width and height in pixels; None for 1280x720.
        fps: wanted frame rate; None for 30.

    Raises:
        CameraError: `spec` is a name where cameras have numbers alone.
    """
    rate = None if fps is None else Fraction(fps).limit_denominator(1001)
    if sys.platform.startswith("linux"):
        from streamseg.decode.capture_v4l2 import DeviceOpener

        return DeviceOpener(spec, size, rate)
    from streamseg.decode.capture_opencv import NumberOpener

    return NumberOpener(spec, size, rate)
