"""Capture of Linux's cameras: choose the mode, name the program that holds a busy one, find an unplugged one again."""

from __future__ import annotations

import errno
from fractions import Fraction

import av

from streamseg.decode.cameras import CameraDevice, find_camera
from streamseg.decode.capture_ffmpeg import FFmpegCapture, reason_of
from streamseg.decode.modes import choose_mode
from streamseg.decode.v4l2 import NO_PERMISSION, VideoDevices
from streamseg.errors import CameraError

UNPLUGGED = {errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.EIO, errno.ESHUTDOWN, errno.EPIPE}
UNPLUGGED_CARD = "camera unplugged: waiting for it"
FORBIDDEN_CARD = "no permission for the camera"


class DeviceOpener:
    """Opens a camera of Linux in the mode nearest to what is wanted, and finds it again after it was unplugged."""

    def __init__(
        self,
        spec: str,
        size: tuple[int, int] | None = None,
        fps: Fraction | None = None,
        devices: VideoDevices | None = None,
    ) -> None:
        """Choose a camera; it is looked for when it is opened.

        Args:
            spec: what `find_camera` takes.
            size: wanted width and height in pixels; None for 1280x720.
            fps: wanted frame rate; None for 30.
            devices: of the system; None for this machine's.
        """
        self._spec, self._size, self._fps = spec, size, fps
        self._devices = devices or VideoDevices()
        self._opened: CameraDevice | None = None

    def __call__(self) -> FFmpegCapture:
        """Open the camera.

        Raises:
            CameraError: it is missing, busy or forbidden; the message says what to do.
        """
        device = self._find()
        if device.note:
            raise CameraError(f"camera {device.name} ({device.device}): {device.note}", FORBIDDEN_CARD)
        try:
            container = av.open(device.device, format="v4l2", options=self._options(device))
        except (av.FFmpegError, OSError) as error:
            raise self._error(device, error) from error
        self._opened = device
        return FFmpegCapture(container, device.name, lambda error: self._error(device, error), is_device=True)

    def _find(self) -> CameraDevice:
        """Return the camera; once it was open, the one of the same name, which may have another number."""
        cameras = self._devices.cameras()
        if self._opened is None:
            return find_camera(self._spec, cameras)
        same = [camera for camera in cameras if camera.name == self._opened.name]
        same.sort(key=lambda camera: camera.device != self._opened.device)  # type: ignore[union-attr]
        if same:
            return same[0]
        raise _unplugged(self._opened)

    def _options(self, device: CameraDevice) -> dict[str, str]:
        """Return FFmpeg's options for the mode to ask the driver for."""
        chosen = choose_mode(device.modes, self._size, self._fps)
        if chosen:
            mode, rate = chosen
            size = mode.width_px, mode.height_px
            return {"input_format": mode.codec, "video_size": _size_text(size), "framerate": str(rate)}
        options = {"video_size": _size_text(self._size)} if self._size else {}
        return options | ({"framerate": str(self._fps)} if self._fps else {})

    def _error(self, device: CameraDevice, error: Exception) -> CameraError:
        """Say in one line why a camera cannot be opened or read any more."""
        number = getattr(error, "errno", None)
        if number in UNPLUGGED:
            return _unplugged(device)
        where = f"camera {device.name} ({device.device})"
        if number == errno.EBUSY:
            holders = " and ".join(self._devices.holders(device.device)) or "another program"
            return CameraError(
                f"{where} is in use by {holders}; close it there and try again", f"camera in use by {holders}"
            )
        if number in (errno.EACCES, errno.EPERM):
            return CameraError(f"{where}: {NO_PERMISSION}", FORBIDDEN_CARD)
        return CameraError(f"{where} cannot be read: {reason_of(error)}")


def _unplugged(device: CameraDevice) -> CameraError:
    return CameraError(f"camera {device.name} ({device.device}) is unplugged; plug it in again", UNPLUGGED_CARD)


def _size_text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
