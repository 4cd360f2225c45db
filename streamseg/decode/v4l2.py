"""Cameras of Linux: Video4Linux devices with their modes, and the programs that hold them open."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from struct import Struct
from typing import Any

from streamseg.decode.cameras import CameraDevice
from streamseg.decode.modes import Mode

CAPABILITY = Struct("=16s32s32sIII12x")
"""struct v4l2_capability: driver, card, bus, version, capabilities, device capabilities."""
FORMAT = Struct("=III32s4s16x")
"""struct v4l2_fmtdesc: index, buffer type, flags, description, four letters of the format."""
FRAME_SIZE = Struct("=I4sI6I8x")
"""struct v4l2_frmsizeenum: index, format, type, then width and height, or least, greatest and step of both."""
FRAME_INTERVAL = Struct("=I4sIII6I8x")
"""struct v4l2_frmivalenum: index, format, width, height, type, then seconds as fractions: one, or least, greatest and
step."""

READ, READ_WRITE = 2, 3


def _request(direction: int, number: int, layout: Struct) -> int:
    """Return the number of a V4L2 ioctl (asm-generic/ioctl.h)."""
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


QUERYCAP = _request(READ, 0, CAPABILITY)
ENUM_FMT = _request(READ_WRITE, 2, FORMAT)
ENUM_FRAMESIZES = _request(READ_WRITE, 74, FRAME_SIZE)
ENUM_FRAMEINTERVALS = _request(READ_WRITE, 75, FRAME_INTERVAL)

VIDEO_CAPTURE = 0x1
DEVICE_CAPS = 0x8000_0000
"""Capability: the device capabilities are those of this node, the others those of all nodes of the device."""
CAPTURE_BUFFER = 1
DISCRETE = 1
"""Type of an enumerated size or interval that stands for itself; others are ranges."""

CODECS = {
    "MJPG": "mjpeg",
    "JPEG": "mjpeg",
    "YUYV": "yuyv422",
    "UYVY": "uyvy422",
    "NV12": "nv12",
    "YU12": "yuv420p",
    "422P": "yuv422p",
    "RGB3": "rgb24",
    "BGR3": "bgr24",
    "GREY": "gray",
    "H264": "h264",
}
"""V4L2's four letters -> FFmpeg's name of the codec or pixel format."""

USUAL_SIZES = ((320, 240), (640, 360), (640, 480), (960, 540), (1280, 720), (1920, 1080), (3840, 2160))
"""Sizes that stand for a range of them."""
MOST_ENTRIES = 256
"""Entries after which a list without end is cut."""

NO_PERMISSION = "no permission: sudo usermod -aG video $USER, then log in again"

Ioctl = Callable[[int, int, bytearray], Any]


@dataclass(frozen=True, slots=True)
class VideoDevices:
    """The Video4Linux devices of a system.

    Attributes:
        sysfs: folder with an entry for each device.
        dev: folder of the devices.
        proc: folder of the processes.
        ioctl: asks a device's driver; fills the buffer.
    """

    sysfs: Path = Path("/sys/class/video4linux")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    ioctl: Ioctl = fcntl.ioctl

    def cameras(self) -> list[CameraDevice]:
        """List the devices that capture video, by number; outputs and metadata are left out."""
        entries = (entry for entry in self.sysfs.glob("video*") if entry.name.removeprefix("video").isdecimal())
        numbers = sorted(int(entry.name.removeprefix("video")) for entry in entries)
        return [camera for camera in map(self._camera, numbers) if camera]

    def holders(self, device: str) -> list[str]:
        """Return the names of the other programs that hold a device open, as far as the user may see them."""
        path, names = str(Path(device).resolve()), set()
        for process in self.proc.glob("[0-9]*"):
            with suppress(OSError):  # Another user's process, or one that has ended.
                is_holder = any(str(link.readlink()) == path for link in (process / "fd").iterdir())
                if is_holder and process.name != str(os.getpid()):
                    names.add((process / "comm").read_text(errors="replace").strip())
        return sorted(names)

    def _camera(self, number: int) -> CameraDevice | None:
        """Describe a device; None if it is no camera or has just been unplugged."""
        device = self.dev / f"video{number}"
        try:
            descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                return CameraDevice(self._name(number), str(device), number, "", note=NO_PERMISSION)
            return None
        try:
            capability = self._ask(descriptor, QUERYCAP, CAPABILITY)
            if capability is None:
                return None
            driver, card, _, _, of_all_nodes, of_this_node = capability
            if not (of_this_node if of_all_nodes & DEVICE_CAPS else of_all_nodes) & VIDEO_CAPTURE:
                return None
            modes = tuple(self._modes(descriptor))
            return CameraDevice(_text(card) or self._name(number), str(device), number, _text(driver), modes)
        finally:
            os.close(descriptor)

    def _name(self, number: int) -> str:
        """Return the name that sysfs tells, which needs no permission."""
        try:
            return (self.sysfs / f"video{number}" / "name").read_text(errors="replace").strip()
        except OSError:
            return f"video{number}"

    def _modes(self, descriptor: int) -> Iterator[Mode]:
        formats = (
            self._ask(descriptor, ENUM_FMT, FORMAT, index, CAPTURE_BUFFER, 0, b"", b"") for index in range(MOST_ENTRIES)
        )
        for entry in _until_none(formats):
            letters: bytes = entry[4]
            name = _format_name(letters)
            codec = CODECS.get(name, name)
            for width, height in dict.fromkeys(self._sizes(descriptor, letters)):
                yield Mode(codec, width, height, self._rates(descriptor, letters, width, height))

    def _sizes(self, descriptor: int, letters: bytes) -> Iterator[tuple[int, int]]:
        """Yield the sizes of a format; of a range, the usual ones in it and the greatest."""
        sizes = (
            self._ask(descriptor, ENUM_FRAMESIZES, FRAME_SIZE, index, letters, 0, *[0] * 6)
            for index in range(MOST_ENTRIES)
        )
        for _, _, kind, *numbers in _until_none(sizes):
            if kind == DISCRETE:
                yield numbers[0], numbers[1]
                continue
            least_width, greatest_width, width_step, least_height, greatest_height, height_step = numbers
            for width, height in USUAL_SIZES:
                fits_width = _is_in_range(width, least_width, greatest_width, width_step)
                if fits_width and _is_in_range(height, least_height, greatest_height, height_step):
                    yield width, height
            yield greatest_width, greatest_height
            return

    def _rates(self, descriptor: int, letters: bytes, width: int, height: int) -> tuple[Fraction, ...]:
        """Return the frame rates of a size, highest first; of a range, the highest one."""
        intervals = (
            self._ask(descriptor, ENUM_FRAMEINTERVALS, FRAME_INTERVAL, index, letters, width, height, 0, *[0] * 6)
            for index in range(MOST_ENTRIES)
        )
        rates = set()
        for _, _, _, _, kind, numerator, denominator, *_ in _until_none(intervals):
            if numerator and denominator:
                rates.add(Fraction(denominator, numerator))
            if kind != DISCRETE:
                break
        return tuple(sorted(rates, reverse=True))

    def _ask(self, descriptor: int, request: int, layout: Struct, *values: Any) -> tuple[Any, ...] | None:
        """Send an ioctl with a structure of `values`, or zeros, and return the driver's; None if it refuses."""
        buffer = bytearray(layout.size)
        if values:
            layout.pack_into(buffer, 0, *values)
        try:
            self.ioctl(descriptor, request, buffer)
        except OSError:
            return None
        return layout.unpack(buffer)


def _has_open(process: Path, device: str) -> bool:
    with os.scandir(process / "fd") as descriptors:
        for descriptor in descriptors:
            with suppress(OSError):  # Closed since it was listed.
                if os.readlink(descriptor) == device:  # noqa: PTH115 - a browser has thousands; a Path each is slow
                    return True
    return False


def _until_none(entries: Iterator[tuple[Any, ...] | None]) -> Iterator[tuple[Any, ...]]:
    for entry in entries:
        if entry is None:
            return
        yield entry


def _is_in_range(value: int, least: int, greatest: int, step: int) -> bool:
    return least <= value <= greatest and (value - least) % (step or 1) == 0


def _format_name(letters: bytes) -> str:
    """Return a format's four letters; the highest bit says that its samples are big-endian."""
    is_big_endian = letters[3] & 0x80
    return _text(letters[:3] + bytes([letters[3] & 0x7F])) + ("-BE" if is_big_endian else "")


def _text(letters: bytes) -> str:
    return letters.partition(b"\0")[0].decode(errors="replace").strip()
