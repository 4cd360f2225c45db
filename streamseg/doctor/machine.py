"""The machine under examination: its system, files, environment and package manager."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from platform import release
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamseg.decode.cameras import CameraDevice

MANAGERS = {"debian": "apt", "ubuntu": "apt", "fedora": "dnf", "rhel": "dnf", "arch": "pacman"}
"""Package managers of Linux, by ID or ID_LIKE of os-release."""


def open_device(path: Path) -> None:
    """Open a device for reading and writing, and close it at once; raise OSError if the system refuses."""
    os.close(os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0)))


def list_cameras() -> list[CameraDevice]:
    """List the cameras of this machine."""
    from streamseg.decode import list_cameras

    return list_cameras()


def list_holders(device: str) -> list[str]:
    """List the programs that hold a device open, where the system tells."""
    if not sys.platform.startswith("linux"):
        return []
    from streamseg.decode.v4l2 import VideoDevices

    return VideoDevices().holders(device)


@dataclass(frozen=True)
class Machine:
    """Facts of the system that checks ask for; the defaults are this machine's.

    Attributes:
        platform: as `sys.platform`.
        root: folder that stands for `/`.
        environ: environment variables.
        kernel: release of the kernel.
        open_device: opens a device file and closes it; raises OSError.
        cameras: lists the cameras.
        holders: lists the programs that hold a device open.
    """

    platform: str = sys.platform
    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    kernel: str = field(default_factory=release)
    open_device: Callable[[Path], None] = open_device
    cameras: Callable[[], list[CameraDevice]] = list_cameras
    holders: Callable[[str], list[str]] = list_holders

    @property
    def is_linux(self) -> bool:
        """Whether the system is Linux."""
        return self.platform.startswith("linux")

    def read(self, path: str, default: str = "") -> str:
        """Read a text file such as `sys/module/x/version`, without space at its ends.

        Args:
            path: relative to `root`.
            default: returned if the file cannot be read.
        """
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return default

    def package_manager(self) -> str:
        """Return apt, dnf, pacman, brew or winget; empty if none of them is known to be this system's."""
        if not self.is_linux:
            return {"darwin": "brew", "win32": "winget"}.get(self.platform, "")
        lines = [line.partition("=") for line in self.read("etc/os-release").splitlines()]
        facts = {key: " ".join(shlex.split(value)) for key, _, value in lines}
        names = [facts.get("ID", ""), *facts.get("ID_LIKE", "").split()]
        return next((MANAGERS[name] for name in names if name in MANAGERS), "")

    def command(self, commands: Mapping[str, str], otherwise: str = "") -> str:
        """Return the command for this system's package manager.

        Args:
            commands: by package manager.
            otherwise: returned where none of them fits.
        """
        return commands.get(self.package_manager(), otherwise)


def pip_install(*packages: str) -> str:
    """Return the command that installs packages beside streamseg, whichever environment is active."""
    found = shutil.which("python")
    python = "python" if found and Path(found) == Path(sys.executable) else f'"{sys.executable}"'
    return " ".join([python, "-m", "pip", "install", *(f'"{package}"' for package in packages)])
