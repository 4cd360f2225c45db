"""Virtual cameras, which other programs take for a webcam: v4l2loopback on Linux, OBS's through pyvirtualcam elsewhere.

`device` speaks to the driver, `loopback` chooses a device and writes frames to it, `readers` knows whether any program
reads it, `obs` is the camera of macOS and Windows.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from streamseg.errors import OutputError
from streamseg.frames import VideoInfo
from streamseg.sink.base import BaseSink
from streamseg.sink.virtual.obs import PyVirtualCam

if TYPE_CHECKING:
    from streamseg.sink.virtual.readers import ReaderWatch

__all__ = ["VIRTUAL_CAMERA", "PyVirtualCam", "is_virtual_camera", "open_virtual_camera", "watch_readers"]

VIRTUAL_CAMERA = "virtual"
"""What `--out` names a virtual camera with: `virtual`, `virtual:/dev/video10` or `virtual:NAME`."""


def is_virtual_camera(out: str) -> bool:
    """Whether an output names a virtual camera and no file."""
    return out == VIRTUAL_CAMERA or out.startswith(f"{VIRTUAL_CAMERA}:")


def open_virtual_camera(info: VideoInfo, out: str = VIRTUAL_CAMERA) -> BaseSink:
    """Open v4l2loopback on Linux, or OBS's camera through pyvirtualcam elsewhere.

    Args:
        info: size and rate of the frames to write.
        out: `virtual` for the first that opens, `virtual:/dev/video10`, or `virtual:NAME` by a camera's label.

    Raises:
        OutputError: no virtual camera opens; the message gives each one's reason, or says how to get one.
    """
    wanted = _wanted(out)
    if not sys.platform.startswith("linux"):
        return PyVirtualCam(info, wanted)
    from streamseg.sink.virtual.loopback import open_loopback

    return open_loopback(info, wanted)


def watch_readers(out: str = VIRTUAL_CAMERA) -> ReaderWatch:
    """Watch whether a program reads the virtual camera that `open_virtual_camera` is going to open by the same name.

    Raises:
        OutputError: none can be written to, or the system does not tell who reads it.
    """
    if not sys.platform.startswith("linux"):
        raise OutputError("--on-demand needs v4l2loopback, on Linux: other virtual cameras do not tell who reads them")
    from streamseg.sink.virtual.loopback import choose_loopback
    from streamseg.sink.virtual.readers import watch

    return watch(choose_loopback(_wanted(out)))


def _wanted(out: str) -> str:
    """Return the path or name after the prefix."""
    return out.removeprefix(VIRTUAL_CAMERA).removeprefix(":")
