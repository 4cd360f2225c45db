"""The command `streamseg cameras`: list the cameras of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamseg.cli.errors import errors_reported

if TYPE_CHECKING:
    from streamseg.decode.cameras import CameraDevice
    from streamseg.decode.modes import Mode


def cameras(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List cameras with their names, devices and modes: `streamseg webcam --camera NAME` takes one."""
    with errors_reported():
        from streamseg.decode import list_cameras
        from streamseg.decode.cameras import HOW_TO_GET_ONE

        found = list_cameras()
        if as_json:
            print(json.dumps([_described(camera) for camera in found], indent=2))
        elif not found:
            print(HOW_TO_GET_ONE)
        else:
            print("\n".join(line for camera in found for line in _lines(camera)))


def _lines(camera: CameraDevice) -> Iterable[str]:
    """Yield a camera's name and device, a line for each format that can be read, and one for the others."""
    from streamseg.decode.modes import PREFERRED_CODECS, format_name

    virtual = ", virtual" if camera.is_virtual else ""
    yield f"{camera.number}  {camera.name}  ({camera.device}{virtual})"
    if camera.note:
        yield f"   {camera.note}"
    unread = []
    for codec, modes in groupby(camera.modes, key=lambda mode: mode.codec):
        if codec in PREFERRED_CODECS:
            yield f"   {format_name(codec):9}  {', '.join(map(_mode_text, modes))}"
        else:
            unread.append(format_name(codec))
    if unread:
        yield f"   not read: {', '.join(unread)}"


def _mode_text(mode: Mode) -> str:
    from streamseg.decode.modes import rate_text

    rates = "/".join(map(rate_text, mode.rates))
    return f"{mode.width_px}x{mode.height_px}" + (f" at {rates} fps" if rates else "")


def _described(camera: CameraDevice) -> dict[str, Any]:
    """Return a camera for JSON."""
    from streamseg.decode.modes import format_name

    return {
        "number": camera.number,
        "name": camera.name,
        "device": camera.device,
        "driver": camera.driver,
        "virtual": camera.is_virtual,
        "note": camera.note,
        "modes": [
            {
                "format": format_name(mode.codec),
                "width_px": mode.width_px,
                "height_px": mode.height_px,
                "fps": [round(float(rate), 3) for rate in mode.rates],
            }
            for mode in camera.modes
        ],
    }
