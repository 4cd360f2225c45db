"""Debian's kernel for the virtual machine, with the camera modules; nothing is installed on the host."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

KERNEL = "linux-image-amd64"
HEADERS = "linux-headers-amd64"
LOOPBACK = "v4l2loopback-dkms"
TOOLS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "depmod": "kmod",
    "make": "make",
    "gcc": "gcc",
    "cpio": "cpio",
    "qemu-system-x86_64": "qemu-system-x86",
}
"""Programs that the host needs, with the Debian packages that bring them."""

NEWER_SUITE = "trixie"
"""Debian's release whose v4l2loopback sends events; that of Debian 12 does not."""

NEWER_SOURCE = (
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian {suite} main\n"
)


class Missing(Exception):
    """The host lacks something that the machine is made of; the message says what, and how to get it."""


@dataclass(frozen=True)
class Kernel:
    """What the virtual machine boots.

    Attributes:
        image: the compressed kernel.
        busybox: a statically linked busybox.
        modules: folder of the kernel's modules, with modules.dep.
        loopbacks: v4l2loopback built for this kernel, by version.
    """

    image: Path
    busybox: Path
    modules: Path
    loopbacks: dict[str, Path]

    def needed(self, *names: str) -> list[Path]:
        """List the files of modules and of all that they depend on, in the order in which they must be loaded."""
        dependencies: dict[str, list[str]] = {}
        for line in (self.modules / "modules.dep").read_text().splitlines():
            file, _, others = line.partition(":")
            dependencies[Path(file).name.partition(".")[0]] = [file, *others.split()]
        ordered = [file for name in names for file in reversed(dependencies[name])]
        return [self.modules / file for file in dict.fromkeys(ordered)]


def get_kernel(folder: Path) -> Kernel:
    """Download and unpack the packages and build v4l2loopback; what is in `folder` already is kept.

    Raises:
        Missing: a program, a package or the network is missing, or the module does not build.
    """
    check_tools()
    version = _dependency(KERNEL).removeprefix("linux-image-")
    root = folder / version
    if not (root / "complete").exists():
        shutil.rmtree(root, ignore_errors=True)
        headers = _dependency(HEADERS)
        common, kbuild = (_dependency(headers, part) for part in ("-common", "linux-kbuild"))
        _unpack(root, _download(folder / "packages", f"linux-image-{version}", headers, common, kbuild))
        _unpack(root / "busybox", _download(folder / "packages", "busybox-static"))
        # The packages expect to be installed at the root of the file system.
        makefile = root / "usr/src" / headers / "Makefile"
        makefile.write_text(makefile.read_text().replace("/usr/", f"{root}/usr/"))
        _run("depmod", "-b", str(root), version)
        (root / "complete").touch()
    loopbacks = {}
    for suite in (None, NEWER_SUITE):
        module = _build_loopback(root, version, suite, folder / "packages")
        loopbacks[module.parent.name.removeprefix("v4l2loopback-")] = module
    return Kernel(
        root / "boot" / f"vmlinuz-{version}", root / "busybox/bin/busybox", root / "lib/modules" / version, loopbacks
    )


def check_tools() -> None:
    """Check that the host has the programs that the machine is made with.

    Raises:
        Missing: some are not installed.
    """
    missing = {package for program, package in TOOLS.items() if not shutil.which(program)}
    if missing:
        raise Missing(f"not installed: apt-get install {' '.join(sorted(missing))}")


def _build_loopback(root: Path, version: str, suite: str | None, packages: Path) -> Path:
    """Build v4l2loopback as a suite of Debian has it (None: the host's own suite)."""
    unpacked = root / "loopback" / (suite or "own")
    built = sorted(unpacked.glob("usr/src/v4l2loopback-*/v4l2loopback.ko"))
    if built:
        return built[0]
    _unpack(unpacked, _download(packages / (suite or "own"), LOOPBACK, suite=suite))
    source = next(unpacked.glob("usr/src/v4l2loopback-*"))
    headers = root / "usr/src" / f"linux-headers-{version}"
    _run("make", "-C", str(headers), f"M={source}", "CC=gcc", "modules")
    return source / "v4l2loopback.ko"


def _dependency(package: str, part: str = "") -> str:
    """Return the first package that one depends on and whose name holds `part`."""
    listed = _run("apt-cache", "depends", "--important", package)
    names = [line.split()[-1] for line in listed.splitlines() if "Depends:" in line]
    found = [name for name in names if part in name]
    if not found:
        raise Missing(f"apt knows no {package} with a {part or 'kernel'}: run apt-get update on a Debian for amd64")
    return found[0]


def _download(folder: Path, *packages: str, suite: str | None = None) -> list[Path]:
    """Download packages by name into a folder of their own."""
    files = []
    for package in packages:
        into = folder / package
        into.mkdir(parents=True, exist_ok=True)
        if not list(into.glob("*.deb")):
            options = _options_of(folder / "apt", suite) if suite else ["-o", "APT::Sandbox::User=root"]
            _run("apt-get", *options, "download", package, cwd=into)
        files += into.glob("*.deb")
    return files


def _options_of(folder: Path, suite: str) -> list[str]:
    """Return options with which apt-get takes a suite that the host is not set up for, after updating its lists."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text(NEWER_SOURCE.format(suite=suite))
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "-",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [text for name, value in settings.items() for text in ("-o", f"{name}={value}")]
    _run("apt-get", *options, "update")
    return options


def _unpack(root: Path, packages: list[Path]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for package in packages:
        _run("dpkg-deb", "-x", str(package), str(root))


def _run(*command: str, cwd: Path | None = None) -> str:
    """Run a program; return what it printed.

    Raises:
        Missing: it failed.
    """
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Missing(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout
