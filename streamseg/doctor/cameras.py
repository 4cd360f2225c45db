"""Check of cameras: which there are, in which mode each would be opened, and which programs hold them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from streamseg.doctor.finding import Finding
from streamseg.doctor.machine import Machine

if TYPE_CHECKING:
    from streamseg.decode.cameras import CameraDevice

JOIN_GROUP = 'sudo usermod -aG video "$USER"  # then log out and in again'
OTHER_SOURCE = "streamseg webcam --camera talk.mp4  # a file in its place"
ALLOW = {
    "darwin": 'open "x-apple.systempreferences:com.apple.preference.security?Privacy_Camera"  # allow your terminal',
    "win32": "start ms-settings:privacy-webcam  # let desktop apps access the camera",
}
"""How to allow programs the camera."""
LOOK_FOR = {
    "apt": "sudo apt install usbutils && lsusb  # does the system see the camera?",
    "dnf": "sudo dnf install usbutils && lsusb  # does the system see the camera?",
    "pacman": "sudo pacman -S --needed usbutils && lsusb  # does the system see the camera?",
}


def check_cameras(machine: Machine) -> Iterator[Finding]:
    """Tell each camera and what is in the way of using it; virtual ones are `check_virtual_camera`'s."""
    findings = [_finding(camera, machine) for camera in machine.cameras() if not camera.is_virtual]
    if not findings:
        look = ALLOW.get(machine.platform) or machine.command(LOOK_FOR, "lsusb  # does the system see the camera?")
        detail = "none found, so that only videos and photos run here"
        yield Finding("cameras", "warning", detail, f"{look}\n{OTHER_SOURCE}")
    # One camera that works is enough for the main job.
    works = any(finding.status == "ok" for finding in findings)
    for finding in findings:
        yield replace(finding, status="warning") if works and finding.status == "problem" else finding


def _finding(camera: CameraDevice, machine: Machine) -> Finding:
    from streamseg.decode.modes import choose_mode, format_name, rate_text

    name, told = f"camera {camera.number}", f"{camera.name} ({camera.device})"
    if camera.note:  # The only one is that the user has no permission.
        return Finding(name, "problem", f"{told} cannot be opened: you have no permission", JOIN_GROUP)
    if held_by := ", ".join(machine.holders(camera.device)):
        return Finding(name, "warning", f"{told} is in use by {held_by}", f"# close {held_by}, or pause its video")
    if not (chosen := choose_mode(camera.modes)):
        return Finding(name, "problem", f"{told} has no format that streamseg reads", OTHER_SOURCE)
    mode, rate = chosen
    size, form = f"{mode.width_px}x{mode.height_px}", format_name(mode.codec)
    return Finding(name, "ok", f"{told}, {size} at {rate_text(rate)} fps, {form}")
