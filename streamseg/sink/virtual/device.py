"""A Video4Linux output device: the requests to its driver that FFmpeg's writer lacks, and frames written to it.

FFmpeg states no frame rate, does not look at the size that the driver granted, and cannot have it repeat frames.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from struct import Struct, calcsize
from typing import Any, NamedTuple

from streamseg.image import Pixels

Ioctl = Callable[[int, int, bytearray], Any]

CAPABILITY = Struct("=16s32s32sIII12x")
"""struct v4l2_capability: driver, card, bus, version, capabilities of all nodes, capabilities of this one."""
FORMAT = Struct(f"=I{calcsize('P') - 4}xII4s9I152x")
"""struct v4l2_format of a picture: buffer type, width, height, four letters of the format, and what is left at 0."""
PARAMETERS = Struct("=IIIII184x")
"""struct v4l2_streamparm of an output: buffer type, capability, mode, seconds of a frame as a fraction."""
CONTROL = Struct("=Ii")
"""struct v4l2_control: control, value."""

WRITE, READ, READ_WRITE = 1, 2, 3


def request(direction: int, number: int, layout: Struct) -> int:
    """Return the number of a V4L2 ioctl (asm-generic/ioctl.h)."""
    return direction << 30 | layout.size << 16 | ord("V") << 8 | number


QUERYCAP = request(READ, 0, CAPABILITY)
S_FMT = request(READ_WRITE, 5, FORMAT)
S_PARM = request(READ_WRITE, 22, PARAMETERS)
G_CTRL = request(READ_WRITE, 27, CONTROL)
S_CTRL = request(READ_WRITE, 28, CONTROL)

OUTPUT_BUFFER = 2
CAPTURES, OUTPUTS = 0x1, 0x2
"""Capabilities of a node: it is read from, it is written to."""
RATE_IS_SET = 0x1000
PLANAR_420 = b"YU12"
SUSTAIN_FRAMERATE = 0x0098_F901
"""v4l2loopback's control: the driver repeats the last frame at the stated rate while the writer is silent."""


class Capability(NamedTuple):
    """What a device is: its driver, whether it can be read from and written to now."""

    driver: str
    captures: bool
    outputs: bool


class OutputDevice:
    """A device that is open for writing; every method raises OSError if the driver refuses."""

    def __init__(self, path: Path, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Open the device.

        Args:
            path: such as `/dev/video10`.
            ioctl: asks the driver; fills the buffer with its answer.
        """
        self.path, self._ioctl = path, ioctl
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def capability(self) -> Capability:
        """Ask what the device is."""
        driver, _, _, _, _, of_this_node = self._ask(QUERYCAP, CAPABILITY, b"", b"", b"", 0, 0, 0)
        name = driver.partition(b"\0")[0].decode(errors="replace")
        return Capability(name, bool(of_this_node & CAPTURES), bool(of_this_node & OUTPUTS))

    def set_format(self, width_px: int, height_px: int) -> tuple[int, int, bytes]:
        """Ask for 4:2:0 planes of a size; return width, height and the format's four letters as granted."""
        asked = (OUTPUT_BUFFER, width_px, height_px, PLANAR_420, *[0] * 9)
        _, width_px, height_px, letters, *_ = self._ask(S_FMT, FORMAT, *asked)
        return width_px, height_px, letters

    def set_rate(self, rate: Fraction) -> None:
        """State the frames per second, which readers are told."""
        self._ask(S_PARM, PARAMETERS, OUTPUT_BUFFER, RATE_IS_SET, 0, rate.denominator, rate.numerator)

    def set_repeating(self, is_repeating: bool) -> bool:
        """Have the driver repeat the last frame while none is written; return whether it did so before."""
        _, before = self._ask(G_CTRL, CONTROL, SUSTAIN_FRAMERATE, 0)
        self._ask(S_CTRL, CONTROL, SUSTAIN_FRAMERATE, int(is_repeating))
        return bool(before)

    def write(self, planes: Pixels) -> None:
        """Write one frame of the format that was set, contiguous uint8."""
        os.write(self._descriptor, planes.data)

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)

    def _ask(self, number: int, layout: Struct, *values: Any) -> tuple[Any, ...]:
        buffer = bytearray(layout.pack(*values))
        self._ioctl(self._descriptor, number, buffer)
        return layout.unpack(buffer)
