"""Whether any program reads a virtual camera, so that the real one need be open only then (`--on-demand`).

v4l2loopback 0.13 and newer send an event when reading begins or ends. Older versions (Debian 12, Ubuntu 24.04: 0.12.7)
tell nothing; there, a program that has the device open counts as a reader, as far as /proc shows the user's programs.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Protocol

from streamseg.decode.v4l2 import VideoDevices
from streamseg.sink.virtual.device import READ, WRITE, Ioctl, request

SUBSCRIPTION = Struct("=III20x")
"""struct v4l2_event_subscription: type, id, flags."""
EVENT = Struct("=I4xI60xII16xI36x")
"""struct v4l2_event of a 64-bit system: type, the event's data (v4l2loopback's count of readers), pending, sequence,
time, id."""

DQEVENT = request(READ, 89, EVENT)
SUBSCRIBE_EVENT = request(WRITE, 90, SUBSCRIPTION)
UNSUBSCRIBE_EVENT = request(WRITE, 91, SUBSCRIPTION)

CLIENT_USAGE = 0x0800_0000 + 0x08E0_0000 + 1
"""v4l2loopback's event V4L2_EVENT_PRI_CLIENT_USAGE: V4L2_EVENT_PRIVATE_START, the module's offset, and 1."""
SEND_INITIAL = 1
"""Flag of a subscription: an event with the present state is sent at once."""

INTERVAL_SECONDS = 0.5
"""Time between two looks; one through /proc takes some milliseconds."""
LINGER_SECONDS = 3.0
"""A camera stays on this long after the last reader: programs close and open it again when a setting changes."""


class Readers(Protocol):
    """Knows whether any program reads a virtual camera now."""

    how: str
    """What it goes by, for the user."""

    def is_read(self) -> bool:
        """Look."""
        ...

    def close(self) -> None:
        """Release the device."""
        ...


class ReaderWatch:
    """Tells whether a virtual camera is wanted: some program reads it, or did so a moment ago.

    Attributes:
        how: what it goes by, for the user.
    """

    def __init__(self, readers: Readers, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch a camera.

        Args:
            readers: closed with the watch.
            clock: time in seconds.
        """
        self.how = readers.how
        self._readers, self._clock = readers, clock
        self._looked = self._last_read = -math.inf

    def wanted(self) -> bool:
        """Whether the real camera should be open; cheap enough to ask for every frame, on one thread."""
        now = self._clock()
        if now >= self._looked + INTERVAL_SECONDS:
            self._looked = now
            if self._readers.is_read():
                self._last_read = now
        return now < self._last_read + LINGER_SECONDS

    def close(self) -> None:
        """Release the device."""
        self._readers.close()


class Subscription:
    """Readers by v4l2loopback's event, over a descriptor of its own."""

    how = "v4l2loopback's events"

    def __init__(self, path: Path, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Subscribe.

        Raises:
            OSError: the device does not open, or its driver knows no such event.
        """
        self._ioctl = ioctl
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._latest = self._ask()
        except OSError:
            self.close()
            raise

    def is_read(self) -> bool:
        """See `Readers`; of a device that was removed, the last that was known."""
        with suppress(OSError):
            self._latest = self._ask()
        return self._latest

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)

    def _ask(self) -> bool:
        """Subscribe anew, which sends the present state: no event that went missing can mislead for long."""
        subscription = bytearray(SUBSCRIPTION.pack(CLIENT_USAGE, 0, SEND_INITIAL))
        self._ioctl(self._descriptor, UNSUBSCRIBE_EVENT, subscription)
        self._ioctl(self._descriptor, SUBSCRIBE_EVENT, subscription)
        event = bytearray(EVENT.size)
        self._ioctl(self._descriptor, DQEVENT, event)
        _, count, *_ = EVENT.unpack(event)
        return bool(count)


class OpenPrograms:
    """Readers by the programs that have the device open, whether they read it or not."""

    how = "the programs that have it open, since this v4l2loopback sends no events (0.13 and newer do)"

    def __init__(self, path: Path, devices: VideoDevices) -> None:
        self._path, self._devices = path, devices

    def is_read(self) -> bool:
        """See `Readers`."""
        return bool(self._devices.holders(str(self._path)))

    def close(self) -> None:
        """Nothing is held."""


def watch(path: Path) -> ReaderWatch:
    """Watch a device by events where its driver sends them, else by the programs that have it open."""
    try:
        return ReaderWatch(Subscription(path))
    except OSError:
        return ReaderWatch(OpenPrograms(path, VideoDevices()))
