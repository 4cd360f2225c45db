"""Stand-ins for cameras: one that can be unplugged, and a Video4Linux system of files and a table of answers."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from struct import Struct
from typing import Any

import av

from streamseg.decode.capture import Granted, Opener, Shot
from streamseg.errors import CameraError
from tests.synthetic import picture


class FakeCamera:
    """Opens captures of a moving disc; set `trouble` and they fail."""

    def __init__(self, width_px: int = 128, height_px: int = 96, clock: Clock | None = None) -> None:
        self.size = width_px, height_px
        self.trouble: Exception | None = None
        self.clock = clock
        self.opened = self.closed = 0

    def __call__(self) -> FakeCapture:
        if self.trouble:
            raise self.trouble
        self.opened += 1
        return FakeCapture(self)

    @property
    def is_open(self) -> bool:
        return self.opened > self.closed


class FakeCapture:
    """Gives a frame whenever it is read."""

    def __init__(self, camera: FakeCamera) -> None:
        self.camera, self.taken = camera, 0
        self.granted = Granted("Fake", *camera.size, Fraction(30), "MJPEG")

    def read(self) -> Shot:
        if self.camera.trouble:
            raise self.camera.trouble
        frame = av.VideoFrame.from_ndarray(picture(self.taken, *self.camera.size), format="rgb24")
        self.taken += 1
        return Shot(frame, self.camera.clock.now if self.camera.clock else time.monotonic())

    def close(self) -> None:
        self.camera.closed += 1


class Clock:
    """Moves when something waits for it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class DirectReader:
    """Reads a camera in the calling thread; a frame takes the time that the caller is ready to wait."""

    def __init__(self, open_capture: Opener, clock: Clock, is_silent: Any = lambda: False) -> None:
        self.granted: Granted | None = None
        self._open, self._clock, self._is_silent = open_capture, clock, is_silent
        self._capture: Any = None

    def newest(self, timeout_seconds: float) -> Shot | None:
        self._clock.sleep(min(timeout_seconds, 1 / 30))
        if self._is_silent():
            return None
        self._capture = self._capture or self._open()
        self.granted = self._capture.granted
        return self._capture.read()

    def close(self) -> None:
        if self._capture:
            self._capture.close()


def unplugged() -> CameraError:
    return CameraError("camera Fake (/dev/video0) is unplugged", "camera unplugged: waiting for it")


Rates = Sequence[tuple[int, int]]
"""Seconds of a frame as fractions."""


@dataclass
class Device:
    """What a driver answers: its formats are four letters -> a list of ((width, height), rates)."""

    card: str = "Integrated Webcam"
    driver: str = "uvcvideo"
    capabilities: int = 0x8420_0001
    device_capabilities: int = 0x0420_0001
    formats: dict[str, list[tuple[tuple[int, ...], Rates]]] = field(default_factory=dict)


class System:
    """A Video4Linux system in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.devices: dict[str, Device] = {}
        for name in ("sys", "dev", "proc"):
            (folder / name).mkdir()

    def plug(self, number: int, device: Device) -> Path:
        name = f"video{number}"
        self.devices[name] = device
        (self.folder / "sys" / name).mkdir()
        (self.folder / "sys" / name / "name").write_text(f"{device.card}\n")
        (self.folder / "dev" / name).touch()
        return self.folder / "dev" / name

    def unplug(self, number: int) -> None:
        name = f"video{number}"
        del self.devices[name]
        (self.folder / "sys" / name / "name").unlink()
        (self.folder / "sys" / name).rmdir()
        (self.folder / "dev" / name).unlink()

    def run(self, process: int, name: str, device: Path) -> None:
        """Begin a process that holds a device open."""
        links = self.folder / "proc" / str(process) / "fd"
        links.mkdir(parents=True)
        (links / "0").symlink_to("/dev/null")
        (links / "7").symlink_to(device)
        (links.parent / "comm").write_text(f"{name}\n")

    def ioctl(self, descriptor: int, request: int, buffer: bytearray) -> int:
        device = self.devices[Path(f"/proc/self/fd/{descriptor}").readlink().name]
        number = request & 0xFF
        assert request >> 16 & 0x3FFF == len(buffer)
        answer = {0: self._capability, 2: self._format, 74: self._size, 75: self._interval}[number]
        answer(device, buffer)
        return 0

    @staticmethod
    def _capability(device: Device, buffer: bytearray) -> None:
        layout = Struct("=16s32s32sIII")
        numbers = 0, device.capabilities, device.device_capabilities
        layout.pack_into(buffer, 0, device.driver.encode(), device.card.encode(), b"usb", *numbers)

    @staticmethod
    def _format(device: Device, buffer: bytearray) -> None:
        index, kind = Struct("=II").unpack_from(buffer)
        assert kind == 1
        buffer[44:48] = list_entry(list(device.formats), index).encode("latin-1")

    @staticmethod
    def _size(device: Device, buffer: bytearray) -> None:
        index, letters = Struct("=I4s").unpack_from(buffer)
        size, _ = list_entry(device.formats[letters.decode("latin-1")], index)
        Struct(f"=I{len(size)}I").pack_into(buffer, 8, 1 if len(size) == 2 else 3, *size)

    @staticmethod
    def _interval(device: Device, buffer: bytearray) -> None:
        index, letters, width, height = Struct("=I4sII").unpack_from(buffer)
        sizes = device.formats[letters.decode("latin-1")]
        rates = next(rates for size, rates in sizes if len(size) > 2 or size == (width, height))
        Struct("=III").pack_into(buffer, 16, 1, *list_entry(list(rates), index))


def list_entry(entries: list[Any], index: int) -> Any:
    """As drivers end a list."""
    if index >= len(entries):
        raise OSError(errno.EINVAL, "Invalid argument")
    return entries[index]


LAPTOP = Device(
    formats={
        "MJPG": [
            ((1920, 1080), [(1, 30)]),
            ((1280, 720), [(1, 30), (1, 15)]),
            ((640, 480), [(1, 30)]),
        ],
        "YUYV": [((1280, 720), [(1, 10)]), ((640, 480), [(1, 30), (1, 15)])],
    }
)
INFRARED = Device("Integrated IR", formats={"GREY": [((640, 360), [(1, 15)])]})
METADATA = Device(device_capabilities=0x04A0_0000)
LOOPBACK = Device("streamseg", "v4l2 loopback", formats={"YU12": [((2, 8192, 1, 2, 8192, 1), [(1, 30)])]})
