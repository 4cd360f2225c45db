"""Virtual camera sinks: v4l2loopback through FFmpeg on Linux, OBS's camera through pyvirtualcam elsewhere."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import av

from streamseg.errors import MissingExtraError, OutputError
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.image import even
from streamseg.sink.base import BaseSink
from streamseg.sink.images import opaque
from streamseg.yuv import LAYOUT

SYSTEM_DEVICES = Path("/sys/devices/virtual/video4linux")
HOW_TO_GET_ONE = (
    "install v4l2loopback (Debian, Ubuntu: sudo apt install v4l2loopback-dkms) and run "
    "sudo modprobe v4l2loopback exclusive_caps=1 card_label=streamseg"
)


def open_virtual_camera(info: VideoInfo) -> BaseSink:
    """Open v4l2loopback on Linux, or OBS's camera through pyvirtualcam elsewhere.

    Raises:
        OutputError: there is no virtual camera; the message says how to get one.
    """
    return LoopbackCamera(info) if sys.platform.startswith("linux") else PyVirtualCam(info)


class LoopbackCamera(BaseSink):
    """The first v4l2loopback device that can be written to."""

    def __init__(self, info: VideoInfo) -> None:
        self._device = find_loopback(SYSTEM_DEVICES)
        try:
            self._output = av.open(str(self._device), "w", format="v4l2")
        except (av.FFmpegError, OSError) as error:
            raise OutputError(self._message(error)) from error
        try:
            self._video = self._output.add_stream("rawvideo", rate=info.rate)
            self._video.width, self._video.height = even(info.width_px), even(info.height_px)
            self._video.pix_fmt = LAYOUT
            self._output.start_encoding()
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise OutputError(self._message(error)) from error
        self._count = 0

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return f"{counted(self._count, 'frame')} to the virtual camera {self._device}"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        converted = opaque(frame.image).as_frame(LAYOUT)
        converted.pts = self._count
        try:
            self._output.mux(self._video.encode(converted))
        except (av.FFmpegError, OSError) as error:
            raise OutputError(self._message(error)) from error
        self._count += 1

    def complete(self) -> None:
        """Close the device."""
        # A device that was removed fails once more here; all frames have been delivered.
        with suppress(av.FFmpegError, OSError):
            self._output.close()

    discard = complete

    def _message(self, error: Exception) -> str:
        return f"cannot write to the virtual camera {self._device}: {getattr(error, 'strerror', None) or error}"


class PyVirtualCam(BaseSink):
    """A virtual camera on macOS and Windows, through the optional package pyvirtualcam."""

    def __init__(self, info: VideoInfo) -> None:
        try:
            pyvirtualcam: Any = importlib.import_module("pyvirtualcam")
        except ImportError as error:
            raise MissingExtraError("a virtual camera on this system", "pyvirtualcam", "virtualcam") from error
        try:
            self._camera = pyvirtualcam.Camera(info.width_px, info.height_px, float(info.rate))
        except RuntimeError as error:
            hint = "install OBS Studio, which brings one, and start it once"
            raise OutputError(f"no virtual camera opens ({error}); {hint}") from error

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return f"virtual camera {self._camera.device} closed"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        self._camera.send(opaque(frame.image).rgb)

    def complete(self) -> None:
        """Close the camera."""
        self._camera.close()

    discard = complete


def find_loopback(devices: Path) -> Path:
    """Return the first v4l2loopback device under `devices` (sysfs) that the user may write to.

    Raises:
        OutputError: there is none; the message says how to get one, or how to get permission.
    """
    found = [Path("/dev", entry.name) for entry in sorted(devices.glob("video*"))]
    usable = [device for device in found if os.access(device, os.W_OK)]
    if usable:
        return usable[0]
    if found:
        raise OutputError(f"no permission to write to {found[0]}: add your user to the group video and log in again")
    raise OutputError(f"there is no virtual camera on this machine: {HOW_TO_GET_ONE}")
