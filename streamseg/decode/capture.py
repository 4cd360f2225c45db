"""Capture: what a camera is read through, and the thread that reads it and keeps the newest frame alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av

from streamseg.decode.modes import rate_text
from streamseg.errors import StreamsegError

CLOSE_SECONDS = 0.5
"""How long closing waits for a read that is under way."""


@dataclass(frozen=True, slots=True)
class Granted:
    """What a camera delivers.

    Attributes:
        name: of the camera.
        width_px: width.
        height_px: height.
        rate: frames per second, as the driver or the stream states it.
        format: what the frames are sent in, such as MJPEG.
        pixel_aspect: width of a pixel over its height.
    """

    name: str
    width_px: int
    height_px: int
    rate: Fraction
    format: str
    pixel_aspect: Fraction = Fraction(1)

    def __str__(self) -> str:
        size = f"{self.width_px}x{self.height_px} at {rate_text(self.rate)} fps"
        return f"camera {self.name}: {size}, {self.format}"


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A frame of a camera.

    Attributes:
        frame: as decoded.
        captured_seconds: monotonic clock when it arrived, before it was decoded.
    """

    frame: av.VideoFrame
    captured_seconds: float


class Capture(Protocol):
    """An open camera."""

    granted: Granted

    def read(self) -> Shot:
        """Wait for the next frame.

        Raises:
            CameraError: there is none any more.
        """
        ...

    def close(self) -> None:
        """Release the camera."""
        ...


Opener = Callable[[], Capture]
"""Opens a camera, as often as it is called; raises CameraError."""


class Reader(Protocol):
    """Opens a camera and reads it until it is closed."""

    granted: Granted | None

    def newest(self, timeout_seconds: float) -> Shot | None:
        """Return the newest frame that has not been returned yet; wait for one, but no longer than the timeout.

        Raises:
            StreamsegError: the camera did not open or was lost.
        """
        ...

    def close(self) -> None:
        """Release the camera."""
        ...


class CaptureThread:
    """Opens and reads a camera on a thread of its own, so that nobody waits for a device or a server that hangs.

    Attributes:
        granted: what the camera delivers, from its first frame on.
    """

    def __init__(self, open_capture: Opener) -> None:
        self.granted: Granted | None = None
        self._open = open_capture
        self._changed = threading.Condition()
        self._newest: Shot | None = None
        self._error: BaseException | None = None
        self._is_closing = False
        # A daemon, since a driver that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name="streamseg-camera", daemon=True)
        self._thread.start()

    def newest(self, timeout_seconds: float) -> Shot | None:
        """See `Reader`."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest or self._error, timeout_seconds)
            shot, self._newest = self._newest, None
            if shot is None and self._error:
                raise self._error
            return shot

    def close(self) -> None:
        """See `Reader`; a read that hangs is left to itself and releases the camera when it returns."""
        self._is_closing = True
        self._thread.join(CLOSE_SECONDS)
        self._newest = self._error = None  # The error knows the frames that it was raised in, and they this object.

    def _run(self) -> None:
        try:
            capture = self._open()
            try:
                while not self._is_closing:
                    shot = capture.read()
                    with self._changed:
                        self.granted, self._newest = capture.granted, shot
                        self._changed.notify_all()
            finally:
                capture.close()
        except StreamsegError as error:
            # Its traceback would hold the closed camera and its last frames in a circle, which Python frees late.
            error.__cause__ = error.__context__ = None
            self._fail(error.with_traceback(None))
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()


class Pace:
    """Holds back frames that arrive in blocks, as the segments of HLS do, to the distances of their pts."""

    MAX_SECONDS_OFF = 1.0
    """A frame further than this from its time, in either direction, sets the clock anew."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._origin: float | None = None

    def wait_for(self, pts_seconds: float) -> None:
        """Sleep until the time of a frame."""
        now = self._clock()
        if self._origin is None or abs(self._origin + pts_seconds - now) > self.MAX_SECONDS_OFF:
            self._origin = now - pts_seconds
        self._sleep(max(0.0, self._origin + pts_seconds - now))
