"""Checks of virtual cameras: v4l2loopback on Linux, OBS's camera through pyvirtualcam elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from streamseg.doctor.cameras import JOIN_GROUP
from streamseg.doctor.finding import Finding
from streamseg.doctor.machine import Machine, pip_install
from streamseg.doctor.software import satisfies

NAME = "virtual camera"
LOAD = "sudo modprobe v4l2loopback exclusive_caps=1 card_label=streamseg"
UNLOAD = "sudo modprobe -r v4l2loopback"
INSTALL = {
    "apt": 'sudo apt install v4l2loopback-dkms "linux-headers-$(uname -r)"',
    "dnf": "sudo dnf install "
    "https://mirrors.rpmfusion.org/free/fedora/rpmfusion-free-release-$(rpm -E %fedora).noarch.rpm\n"
    "sudo dnf install akmod-v4l2loopback",
    "pacman": "sudo pacman -S v4l2loopback-dkms linux-headers",
}
"""Commands that install v4l2loopback; Fedora has it in RPM Fusion."""

TELLS_READERS = "v4l2loopback>=0.13"
"""Sends events when programs begin and end to read; else `--on-demand` goes by which have the device open."""

INSTALL_OBS = {"brew": "brew install --cask obs", "winget": "winget install OBSProject.OBSStudio"}
START_OBS_ONCE = "# then start OBS once, press Start Virtual Camera, allow its extension, and close OBS"
FOR_CAMERA_EXTENSION = "pyvirtualcam>=0.14"
"""The version that writes to OBS's camera extension, which OBS 30 brings for macOS 13 and newer."""


def check_virtual_camera(machine: Machine) -> Iterator[Finding]:
    """Tell whether `--out virtual` would find a camera that meeting programs list."""
    yield from _loopback(machine) if machine.is_linux else _obs(machine)


def _loopback(machine: Machine) -> Iterator[Finding]:
    if not (machine.root / "sys/module/v4l2loopback").exists():
        if "v4l2loopback.ko" in machine.read(f"lib/modules/{machine.kernel}/modules.dep"):
            yield Finding(NAME, "warning", "v4l2loopback is installed and not loaded", LOAD)
        else:
            install = machine.command(INSTALL, "# install the kernel module v4l2loopback for your kernel")
            yield Finding(NAME, "warning", "v4l2loopback is not installed: no --out virtual", f"{install}\n{LOAD}")
        return
    version = machine.read("sys/module/v4l2loopback/version", "of unknown version")
    devices = sorted((machine.root / "sys/devices/virtual/video4linux").glob("video*"))
    if not devices:
        yield Finding(NAME, "warning", "v4l2loopback is loaded and has no device", f"{UNLOAD} && {LOAD}")
        return
    exclusive = machine.read("sys/module/v4l2loopback/parameters/exclusive_caps")
    if not exclusive.startswith("Y"):
        detail = "v4l2loopback is loaded without exclusive_caps=1: Chrome, with Meet, and others do not list it"
        yield Finding(NAME, "warning", detail, f"{UNLOAD} && {LOAD}")
    on_demand = "" if satisfies(version, TELLS_READERS) else "; 0.13 and newer tell --on-demand more exactly who reads"
    for device in devices:
        yield _device(device, f"v4l2loopback {version}{on_demand}", machine)


def _device(node: Path, driver: str, machine: Machine) -> Finding:
    label = machine.read(f"sys/devices/virtual/video4linux/{node.name}/name", node.name)
    told = f"{label}, /dev/{node.name}"
    try:
        machine.open_device(machine.root / "dev" / node.name)
    except PermissionError:
        return Finding(NAME, "warning", f"{told}: you have no permission to write to it", JOIN_GROUP)
    except OSError as error:
        detail = f"{told} does not open: {error.strerror}"
        return Finding(NAME, "warning", detail, f"{UNLOAD} && {LOAD}  # after closing what uses it")
    return Finding(NAME, "ok", f"{told}, {driver}")


def _obs(machine: Machine) -> Iterator[Finding]:
    """Open OBS's camera for a moment, which alone tells whether it is there."""
    remedy = "\n".join(filter(None, [machine.command(INSTALL_OBS), START_OBS_ONCE]))
    try:
        pyvirtualcam = import_module("pyvirtualcam")
    except ImportError:
        install = pip_install(FOR_CAMERA_EXTENSION)
        yield Finding(NAME, "warning", "pyvirtualcam is not installed: no --out virtual", f"{install}\n{remedy}")
        return
    try:
        with pyvirtualcam.Camera(1280, 720, 30) as camera:
            yield Finding(NAME, "ok", f"{camera.device}, through pyvirtualcam {pyvirtualcam.__version__}")
    except RuntimeError as error:
        reasons = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        is_old = machine.platform == "darwin" and not satisfies(pyvirtualcam.__version__, FOR_CAMERA_EXTENSION)
        update = f"{pip_install(FOR_CAMERA_EXTENSION)}  # for OBS 30 and newer\n" if is_old else ""
        yield Finding(NAME, "warning", f"does not open: {reasons}", update + remedy)
