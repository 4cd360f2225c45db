"""The virtual camera of Linux: choice of a v4l2loopback device, and the sink that writes frames to it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from av.video.reformatter import Colorspace

from streamseg.decode.v4l2 import NO_PERMISSION, VideoDevices
from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import even
from streamseg.sink.base import BaseSink
from streamseg.sink.images import opaque
from streamseg.sink.virtual.device import PLANAR_420, OutputDevice
from streamseg.yuv import LAYOUT, AnyImage, YuvImage

SYSTEM_DEVICES = Path("/sys/devices/virtual/video4linux")
DRIVER = "v4l2 loopback"
HOW_TO_GET_ONE = (
    "install v4l2loopback (Debian, Ubuntu: sudo apt install v4l2loopback-dkms) and run "
    "sudo modprobe v4l2loopback exclusive_caps=1 card_label=streamseg"
)
HOW_TO_BE_LISTED = (
    "Chrome and programs built on it list a virtual camera only if v4l2loopback was loaded with exclusive_caps=1: "
    "sudo modprobe -r v4l2loopback; sudo modprobe v4l2loopback exclusive_caps=1 card_label=streamseg"
)

T = TypeVar("T")

MATRIX = Colorspace.ITU601
"""v4l2loopback declares sRGB, as most webcams do, whose Y'CbCr is limited-range BT.601 unless it says otherwise.

Kernel documentation, "Colorspace sRGB (V4L2_COLORSPACE_SRGB)".
"""


@dataclass(frozen=True, slots=True)
class Loopback:
    """A device of v4l2loopback, as sysfs lists it.

    Attributes:
        path: such as `/dev/video10`.
        name: its card label.
    """

    path: Path
    name: str

    def __str__(self) -> str:
        return f"{self.path} ({self.name})"


class LoopbackCamera(BaseSink):
    """A v4l2loopback device that one writer holds open from the first frame to the last.

    Frames are 4:2:0 planes (YU12, I420): Chromium's first choice (media/capture/video/linux/v4l2_capture_delegate.cc,
    kSupportedFormatsAndPlanarity) and known to work in Zoom, where RGB is not (github.com/diddlesnaps/fakecam, issue
    9). Odd sides are padded: Chromium rounds them differently (github.com/v4l2loopback/v4l2loopback, issue 472).

    Attributes:
        hint: what keeps programs from listing the camera, with what to do; empty if nothing does.
    """

    def __init__(self, info: VideoInfo, device: OutputDevice) -> None:
        """Set the format of an open device, which is closed with the sink.

        Args:
            info: size and rate of the frames to write.
            device: a v4l2loopback device, or another that takes 4:2:0 planes.

        Raises:
            OutputError: the device is in use at another size.
            OSError: the driver refuses.
        """
        self._device, self._count, self._was_repeating = device, 0, False
        self._width_px, self._height_px = even(info.width_px), even(info.height_px)
        self._planes = np.empty(self._width_px * self._height_px * 3 // 2, np.uint8)
        capability = device.capability()
        self.hint = HOW_TO_BE_LISTED if capability.captures and capability.outputs else ""
        self._set_format()
        device.set_rate(info.rate)
        # Chromium, for one, gives a camera up that is silent for ten seconds. Other drivers lack the control.
        with suppress(OSError):
            self._was_repeating = device.set_repeating(True)

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return f"{self._count} frames to the virtual camera {self._device.path}"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        start = 0
        for plane in self._converted(frame.image).planes:
            self._planes[start : start + plane.size].reshape(plane.shape)[:] = plane
            start += plane.size
        try:
            self._device.write(self._planes)
        except OSError as error:
            reason = _reason(error, self._device.path)
            raise OutputError(f"cannot write to the virtual camera {self._device.path}: {reason}") from error
        self._count += 1

    def complete(self) -> None:
        """Close the device, and leave it as it was found."""
        with suppress(OSError):  # The device may have been removed; all frames have been delivered.
            self._device.set_repeating(self._was_repeating)
        self._device.close()

    discard = complete

    def _set_format(self) -> None:
        width_px, height_px, letters = self._device.set_format(self._width_px, self._height_px)
        if letters != PLANAR_420 or (width_px, height_px) != (self._width_px, self._height_px):
            kept = f"it is kept at {width_px}x{height_px} {letters.decode(errors='replace')}"
            programs = ", ".join(VideoDevices().holders(str(self._device.path))) or "a program"
            raise OutputError(f"{kept} by {programs}: choose another camera there for a moment, or give that --size")

    def _converted(self, image: AnyImage) -> YuvImage:
        """Convert an image of any kind to the device's matrix; grey and RGBA as the preview shows them."""
        return YuvImage(opaque(image).as_frame(LAYOUT, MATRIX), MATRIX)


def open_loopback(
    info: VideoInfo,
    wanted: str = "",
    devices: Path = SYSTEM_DEVICES,
    open_device: Callable[[Path], OutputDevice] = OutputDevice,
) -> LoopbackCamera:
    """Open the first device that can be written to, among those that are wanted.

    Args:
        info: size and rate of the frames to write.
        wanted: what `find_loopbacks` takes.
        devices: sysfs's folder of virtual video devices.
        open_device: opens a device by its path.

    Raises:
        OutputError: none opens; the message gives each one's reason.
    """
    return _first(wanted, devices, open_device, lambda device: LoopbackCamera(info, device))


def choose_loopback(
    wanted: str = "",
    devices: Path = SYSTEM_DEVICES,
    open_device: Callable[[Path], OutputDevice] = OutputDevice,
) -> Path:
    """Return the path of the device that `open_loopback` is going to open.

    Raises:
        OutputError: none opens; the message gives each one's reason.
    """

    def path_of(device: OutputDevice) -> Path:
        device.close()
        return device.path

    return _first(wanted, devices, open_device, path_of)


def find_loopbacks(wanted: str = "", devices: Path = SYSTEM_DEVICES) -> list[Loopback]:
    """List the virtual cameras that are meant, by number, without opening them.

    Args:
        wanted: a path, a card label or a part of one in any case; empty for all.
        devices: sysfs's folder of virtual video devices.

    Raises:
        OutputError: there is none, or none of that name.
    """
    listed = sorted(devices.glob("video*"), key=lambda entry: (len(entry.name), entry.name))
    found = [Loopback(Path("/dev", entry.name), _label(entry)) for entry in listed]
    if wanted.startswith("/"):
        path = Path(wanted)
        if not path.exists():
            there_are = ", ".join(map(str, found)) or f"none: {HOW_TO_GET_ONE}"
            raise OutputError(f"there is no {path}; virtual cameras found: {there_are}")
        return [one for one in found if one.path == path.resolve()] or [Loopback(path, "no v4l2loopback")]
    if not found:
        raise OutputError(f"there is no virtual camera on this machine: {HOW_TO_GET_ONE}")
    words = wanted.casefold()
    meant = [one for one in found if one.name.casefold() == words] or [
        one for one in found if words in one.name.casefold()
    ]
    if not meant:
        raise OutputError(
            f"no virtual camera is named {wanted!r}; found: {', '.join(map(str, found))}. Give --out virtual, "
            "virtual:NAME or virtual:/dev/videoN"
        )
    return meant


def _first(
    wanted: str, devices: Path, open_device: Callable[[Path], OutputDevice], use: Callable[[OutputDevice], T]
) -> T:
    """Return what `use` makes of the first device that opens and that it accepts; others are closed again."""
    reasons = []
    for loopback in find_loopbacks(wanted, devices):
        try:
            device = open_device(loopback.path)
            with ExitStack() as unless_used:
                unless_used.callback(device.close)
                _check(device)
                used = use(device)
                unless_used.pop_all()
                return used
        except OSError as error:
            reasons.append(f"{loopback}: {_reason(error, loopback.path)}")
        except OutputError as error:
            reasons.append(f"{loopback}: {error}")
    raise OutputError(f"no virtual camera opens: {'; '.join(reasons)}")


def _check(device: OutputDevice) -> None:
    """Raise OutputError if a device takes no pictures, and OSError if it is no video device at all.

    Whether another program writes to it is found out by setting the format, which v4l2loopback 0.13 and newer then
    refuse. Older ones let two programs write, and do not tell a writer from a reader, which must not be in the way.
    """
    driver, _, outputs = device.capability()
    if not outputs and driver != DRIVER:
        raise OutputError(f"it belongs to the driver {driver}, which takes no pictures from programs")


def _label(entry: Path) -> str:
    try:
        return (entry / "name").read_text(errors="replace").strip()
    except OSError:  # Removed since it was listed.
        return entry.name


def _reason(error: OSError, path: Path) -> str:
    """Say why a device does not open or take frames."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return NO_PERMISSION
    if error.errno == errno.EBUSY:
        return _busy(path)
    if error.errno == errno.EINVAL:
        return f"{_busy(path)}, or it takes no pictures in YUV 4:2:0"
    if error.errno == errno.ENOTTY:
        return "it is no device that pictures can be written to"
    return os.strerror(error.errno or errno.EIO)


def _busy(path: Path) -> str:
    programs = ", ".join(VideoDevices().holders(str(path)))
    return f"another program writes to it{f' (open in {programs})' if programs else ''}"
