"""Cameras with their modes, and the one of them that a number, path or name means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamseg.decode.modes import PREFERRED_CODECS, Mode
from streamseg.errors import CameraError

AUTO = "auto"
"""Takes the first camera."""

HOW_TO_CHOOSE = "Give --camera N, a name, a device path, a video file or an rtsp:// or http:// address"
HOW_TO_GET_ONE = (
    "no camera found: plug one in (lsusb shows whether the system sees it); --camera also takes a video file, testsrc, "
    "and a phone's or network camera's rtsp:// or http:// address"
)
COLOURLESS = "gray"
"""Format of infrared cameras for face recognition."""


@dataclass(frozen=True, slots=True)
class CameraDevice:
    """A camera of this machine.

    Attributes:
        name: as the driver calls it; cameras of one model have the same name.
        device: path of the device; where there are no paths, the number.
        number: what `--camera N` takes.
        driver: name of the driver, or of OpenCV's backend.
        modes: what it offers, in the driver's order.
        note: what is in the way of using it, with what to do.
    """

    name: str
    device: str
    number: int
    driver: str
    modes: tuple[Mode, ...] = ()
    note: str = ""

    @property
    def is_virtual(self) -> bool:
        """Whether it shows what another program writes, such as our own output."""
        return "loopback" in self.driver

    @property
    def has_colour(self) -> bool:
        """Whether it has a mode in colour that can be read."""
        return any(mode.codec in PREFERRED_CODECS and mode.codec != COLOURLESS for mode in self.modes)


def find_camera(spec: str, cameras: Sequence[CameraDevice]) -> CameraDevice:
    """Return the camera that `spec` means.

    Args:
        spec: a number, a device path, a name or a unique part of one in any case, or `auto`: the first camera with
            colours, virtual ones last.
        cameras: of this machine.

    Raises:
        CameraError: there is none, or there are several.
    """
    if spec == AUTO:
        if not cameras:
            raise CameraError(HOW_TO_GET_ONE)
        return min(cameras, key=lambda camera: (camera.is_virtual, not camera.has_colour, camera.number))
    if spec.isdecimal() or spec.startswith("/"):
        path = f"/dev/video{spec}" if spec.isdecimal() else spec
        device = str(Path(path).resolve())
        found = [camera for camera in cameras if camera.device in (path, device)]
        missing = f"no camera at {path}"
    else:
        words = spec.casefold()
        exact = [camera for camera in cameras if camera.name.casefold() == words]
        found = exact or [camera for camera in cameras if words in camera.name.casefold()]
        missing = f"no camera and no file is named {spec!r}"
    if not found:
        raise CameraError(f"{missing}; cameras found: {_listed(cameras)}. {HOW_TO_CHOOSE}")
    if len(found) > 1:
        raise CameraError(f"several cameras are named {spec!r}: {_listed(found)}. Give --camera N")
    return found[0]


def _listed(cameras: Sequence[CameraDevice]) -> str:
    return ", ".join(f"{camera.name} ({camera.number})" for camera in cameras) or "none"
