"""Camera capture through OpenCV, and files played in real time in place of a camera."""

from __future__ import annotations

import errno
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from streamseg.decode.base import BaseSource
from streamseg.errors import CameraError
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.yuv import RgbImage

DEFAULT_RATE = Fraction(30)


class Camera(BaseSource):
    """A camera opened by OpenCV; the pts of a frame is its arrival, in seconds since the first read."""

    def __init__(self, spec: str) -> None:
        check_camera(spec)
        # OpenCV would print its own warnings above the one-line error.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._name = spec
        self._capture = cv2.VideoCapture(int(spec) if spec.isdecimal() else spec)
        is_read, bgr = self._capture.read() if self._capture.isOpened() else (False, None)
        if not is_read or bgr is None:
            self.close()
            raise CameraError(f"camera {spec} gives no image: close other programs that may be using it and try again")
        self.info = VideoInfo(bgr.shape[1], bgr.shape[0], _rate(self._capture.get(cv2.CAP_PROP_FPS)), live=True)

    def __iter__(self) -> Iterator[Frame]:
        index, started = 0, time.monotonic()
        while True:
            is_read, bgr = self._capture.read()
            if not is_read:
                raise CameraError(f"camera {self._name} was unplugged or stopped after {counted(index, 'frame')}")
            now = time.monotonic()
            rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
            yield Frame(index, Fraction(now - started).limit_denominator(1_000_000), RgbImage(rgb), now)
            index += 1

    def close(self) -> None:
        """Release the device."""
        self._capture.release()


class Paced(BaseSource):
    """A source whose frames are delivered in real time, at their pts, as by a camera."""

    def __init__(
        self,
        source: BaseSource,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source, self._clock, self._sleep = source, clock, sleep
        # Without a path there is no sound: it could not follow frames that are dropped.
        self.info = replace(source.info, path=None, live=True)

    def __iter__(self) -> Iterator[Frame]:
        started: float | None = None
        for frame in self._source:
            if started is None:
                started = self._clock() - float(frame.pts)
            self._sleep(max(0.0, started + float(frame.pts) - self._clock()))
            yield replace(frame, captured_seconds=self._clock())
        self.decode_error = self._source.decode_error

    def close(self) -> None:
        """Close the wrapped source."""
        self._source.close()


def _rate(fps: float) -> Fraction:
    """Return the frame rate that the driver states, or 30 where it states 0, -1 or NaN."""
    return Fraction(fps).limit_denominator(1001) if 1 <= fps < math.inf else DEFAULT_RATE


def check_camera(spec: str) -> None:
    """Check on Linux that the device exists and opens, before OpenCV prints warnings about it.

    Raises:
        CameraError: there is no such device, it is in use, or the user may not open it.
    """
    if not sys.platform.startswith("linux"):
        return
    path = Path(f"/dev/video{spec}" if spec.isdecimal() else spec)
    if not path.exists():
        found = ", ".join(str(p) for p in sorted(Path("/dev").glob("video*"))) or "none"
        raise CameraError(
            f"no camera at {path}; cameras found: {found}. Give --camera N, a device path or a video file"
        )
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        busy = "is in use by another program" if error.errno == errno.EBUSY else f"cannot be opened: {error.strerror}"
        raise CameraError(f"camera {path} {busy}") from error
