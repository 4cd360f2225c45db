"""Virtual cameras of macOS and Windows: OBS's, or Unity Capture's, through the optional package pyvirtualcam."""

from __future__ import annotations

import importlib
from typing import Any

from streamseg.errors import MissingExtraError, OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.sink.base import BaseSink
from streamseg.sink.images import opaque

HOW_TO_GET_ONE = "install OBS Studio, which brings one, and start it once"


class PyVirtualCam(BaseSink):
    """A virtual camera on macOS and Windows; the driver repeats the last frame by itself."""

    def __init__(self, info: VideoInfo, name: str = "") -> None:
        """Open a camera.

        Args:
            info: size and rate of the frames to write.
            name: the camera's, such as `OBS Virtual Camera`; empty for the first that opens.

        Raises:
            MissingExtraError: pyvirtualcam is not installed.
            OutputError: none opens; the message gives the reason of each kind.
        """
        try:
            pyvirtualcam: Any = importlib.import_module("pyvirtualcam")
        except ImportError as error:
            raise MissingExtraError("a virtual camera on this system", "pyvirtualcam", "virtualcam") from error
        try:
            self._camera = pyvirtualcam.Camera(info.width_px, info.height_px, float(info.rate), device=name or None)
        except (RuntimeError, ValueError) as error:
            # Each kind of camera that it tried gets a line of its own.
            reasons = "; ".join(str(error).splitlines())
            raise OutputError(f"no virtual camera opens ({reasons}); {HOW_TO_GET_ONE}") from error

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return f"virtual camera {self._camera.device} closed"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        self._camera.send(opaque(frame.image).rgb)

    def complete(self) -> None:
        """Close the camera."""
        self._camera.close()

    discard = complete
