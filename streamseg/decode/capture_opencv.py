"""Capture through OpenCV: cameras of macOS and Windows, by number."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import av
import cv2
import numpy as np

from streamseg.decode.cameras import AUTO, CameraDevice
from streamseg.decode.capture import Granted, Shot
from streamseg.decode.modes import DEFAULT_FPS, DEFAULT_SIZE, Mode
from streamseg.errors import CameraError

BGR = "bgr24"
MAX_CAMERAS = 10


class NumberOpener:
    """Opens a camera by its number, at a size and rate that OpenCV only asks the system for."""

    def __init__(self, spec: str, size: tuple[int, int] | None = None, fps: Fraction | None = None) -> None:
        """Choose a camera.

        Args:
            spec: a number, or `auto` for the first.
            size: wanted width and height in pixels; None for 1280x720.
            fps: wanted frame rate; None for 30.

        Raises:
            CameraError: `spec` is a name, and OpenCV knows none.
        """
        if spec != AUTO and not spec.isdecimal():
            raise CameraError(
                f"no file is named {spec!r}, and on this system cameras have numbers alone: give --camera N, of those "
                "that streamseg cameras lists"
            )
        self._number, self._size, self._fps = 0 if spec == AUTO else int(spec), size or DEFAULT_SIZE, fps or DEFAULT_FPS

    def __call__(self) -> OpenCvCapture:
        """Open the camera.

        Raises:
            CameraError: it does not open or gives no frame; OpenCV does not tell why.
        """
        return OpenCvCapture(self._number, self._size, self._fps)


class OpenCvCapture:
    """Frames of a camera that OpenCV has opened.

    Attributes:
        granted: what the camera delivers.
    """

    def __init__(self, number: int, size: tuple[int, int], fps: Fraction) -> None:
        self._number, self._capture = number, _open(number)
        # Windows delivers most cameras' larger sizes as MJPEG alone.
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])
        self._capture.set(cv2.CAP_PROP_FPS, float(fps))
        try:
            frame = self.read().frame
        except CameraError as error:
            self.close()
            raise CameraError(
                f"camera {number} gives no picture: close other programs that may be using it, allow this one to use "
                "the camera in the system's privacy settings, and try again"
            ) from error
        rate = _rate(self._capture.get(cv2.CAP_PROP_FPS))
        name = f"{number} ({self._capture.getBackendName()})"
        self.granted = Granted(name, frame.width, frame.height, rate, "as OpenCV decodes it")

    def read(self) -> Shot:
        """See `Capture`."""
        is_read, bgr = self._capture.read()
        if not is_read or bgr is None:
            raise CameraError(
                f"camera {self._number} was unplugged or stopped", "camera unplugged or in use: waiting for it"
            )
        captured_seconds = time.monotonic()
        return Shot(av.VideoFrame.from_ndarray(bgr.astype(np.uint8, copy=False), format=BGR), captured_seconds)

    def close(self) -> None:
        """See `Capture`."""
        self._capture.release()


def probe_cameras() -> list[CameraDevice]:
    """Open each number for a moment until one does not open, and tell the mode that each opens in."""
    found = []
    for number in range(MAX_CAMERAS):
        capture = _open(number)
        if not capture.isOpened():
            break
        width, height = (int(capture.get(what)) for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        mode = Mode(BGR, width, height, (_rate(capture.get(cv2.CAP_PROP_FPS)),))
        found.append(CameraDevice(f"camera {number}", str(number), number, capture.getBackendName(), (mode,)))
        capture.release()
    return found


def _open(number: int) -> cv2.VideoCapture:
    # OpenCV would print its own warnings above the one-line error.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2.VideoCapture(number)


def _rate(fps: float) -> Fraction:
    """Return the frame rate that the system states, or 30 where it states 0, -1 or NaN."""
    return Fraction(fps).limit_denominator(1001) if 1 <= fps < math.inf else DEFAULT_FPS
