"""Checks of cameras: which there are, whether they may be opened, and which programs hold them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from streamseg.doctor.finding import Finding
from streamseg.doctor.machine import Machine

JOIN_GROUP = 'sudo usermod -aG video "$USER"  # then log out and in again'
OTHER_SOURCES = "streamseg webcam --camera talk.mp4  # a video file stands in for a camera"
ALLOW = {
    "darwin": 'open "x-apple.systempreferences:com.apple.preference.security?Privacy_Camera"  # allow your terminal',
    "win32": "start ms-settings:privacy-webcam  # let desktop apps access the camera",
}
"""How to allow programs the camera."""


@dataclass(frozen=True)
class Camera:
    """A camera of this machine.

    Attributes:
        name: as its driver calls it.
        device: its device file.
    """

    name: str
    device: Path


def check_cameras(machine: Machine) -> Iterator[Finding]:
    """Tell each camera and whether it can be opened."""
    if not machine.is_linux:
        yield _first_camera(machine)
        return
    findings = [_finding(camera, machine) for camera in cameras(machine)]
    if not findings:
        yield Finding("cameras", "warning", "none found, so that only videos and photos run here", _look_for(machine))
    # One camera that works is enough for the main job.
    works = any(finding.status == "ok" for finding in findings)
    for finding in findings:
        yield replace(finding, status="warning") if works and finding.status == "problem" else finding


def cameras(machine: Machine) -> list[Camera]:
    """List the cameras that Linux knows, without virtual ones and without nodes that carry no pictures."""
    nodes = sorted((machine.root / "sys/class/video4linux").glob("video*"), key=lambda node: int(node.name[5:]))
    return [
        Camera(machine.read(f"sys/class/video4linux/{node.name}/name", node.name), machine.root / "dev" / node.name)
        for node in nodes
        if "virtual" not in node.resolve().parts
        and machine.read(f"sys/class/video4linux/{node.name}/index", "0") == "0"
    ]


def holders(device: Path, machine: Machine) -> list[str]:
    """List the programs that hold a device open; those of other users are not told to us."""
    found = []
    for process in sorted((machine.root / "proc").glob("[0-9]*")):
        with suppress(OSError):  # The program ended meanwhile, or is another user's.
            if any(opened.readlink() == device for opened in (process / "fd").iterdir()):
                found.append(f"{machine.read(f'proc/{process.name}/comm', 'a program')} (process {process.name})")
    return found


def _finding(camera: Camera, machine: Machine) -> Finding:
    name, path = f"camera {camera.device.name.removeprefix('video')}", f"/dev/{camera.device.name}"
    told = f"{camera.name}, {path}"
    held_by = holders(camera.device, machine)
    try:
        machine.open_device(camera.device)
    except PermissionError:
        return Finding(name, "problem", f"{told}: you have no permission to open it", JOIN_GROUP)
    except OSError as error:
        if error.errno != errno.EBUSY:
            return Finding(
                name, "problem", f"{told} does not open: {error.strerror}", "sudo dmesg | tail  # then replug it"
            )
        held_by = held_by or ["another program"]
    if held_by:
        others = ", ".join(held_by)
        return Finding(name, "warning", f"{told}: in use by {others}", f"# close {others}")
    return Finding(name, "ok", told)


def _look_for(machine: Machine) -> str:
    install = machine.command({"apt": "sudo apt install usbutils && ", "dnf": "sudo dnf install usbutils && "})
    return f"{install}lsusb  # does the system see the camera?\n{OTHER_SOURCES}"


def _first_camera(machine: Machine) -> Finding:
    """Open the first camera for a picture, since other systems than Linux tell nothing otherwise."""
    from streamseg.decode import open_camera
    from streamseg.errors import CameraError

    try:
        with open_camera("0") as camera:
            info = camera.info
    except CameraError as error:
        return Finding(
            "camera 0", "warning", str(error), "\n".join(filter(None, [ALLOW.get(machine.platform), OTHER_SOURCES]))
        )
    return Finding("camera 0", "ok", f"gives pictures of {info.width_px}x{info.height_px}, {float(info.rate):.0f} fps")
