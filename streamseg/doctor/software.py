"""Checks of software: Python, and the packages that streamseg and its extras need."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version

from streamseg.doctor.finding import Finding
from streamseg.doctor.machine import Machine, pip_install

MODULES = {"opencv-python": "cv2", "pillow": "PIL", "pillow-heif": "pillow_heif"}
"""Modules of packages whose name is another."""

EXTRAS = {
    "cluster": (("fsspec", "s3fs", "ray"), "--cluster, s3:// and other storage than the file system"),
    "serve": (("starlette", "uvicorn", "aiortc"), "the page and its feeds, --out http"),
    "heic": (("pillow-heif",), "HEIC photos"),
    "onnx": (("onnx", "onnxruntime"), "the engine for machines that OpenVINO does not install on"),
    "quality": (("pymatting",), "--foreground ml"),
    "virtualcam": (("pyvirtualcam",), "a virtual camera on macOS and Windows"),
}
"""Packages of streamseg's extras, and what needs them."""

OPENCV_LIBRARIES = {
    "apt": "sudo apt install libgl1 libglib2.0-0",
    "dnf": "sudo dnf install mesa-libGL glib2",
    "pacman": "sudo pacman -S libglvnd glib2",
}
"""Commands that install the system's libraries that OpenCV needs."""


def check_python(machine: Machine) -> Iterator[Finding]:
    """Tell Python's version and where it is; what is too old could not have been installed for."""
    yield Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def check_packages(machine: Machine) -> Iterator[Finding]:
    """Import every package that streamseg requires, and compare its version with what is required."""
    try:
        required = [line for line in requires("streamseg") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        yield Finding("packages", "warning", "streamseg runs from a folder and is not installed", pip_install("."))
        return
    faults = [fault for line in required if (fault := _fault(line, machine))]
    yield from faults
    if not faults:
        names = [_name(line) for line in required]
        yield Finding("packages", "ok", ", ".join(f"{name} {version(name)}" for name in names))


def check_extras(machine: Machine) -> Iterator[Finding]:
    """Tell which extras are installed, and what the others are for."""
    for extra, (packages, purpose) in EXTRAS.items():
        if extra == "virtualcam" and machine.is_linux:  # FFmpeg writes to v4l2loopback.
            continue
        installed = {name: found for name in packages if (found := _version(name))}
        missing = [name for name in packages if name not in installed]
        if missing:
            yield Finding(f"extra {extra}", "ok", f"not installed, for {purpose}", pip_install(*missing))
        elif broken := [error for name in packages if (error := _import_error(name))]:
            yield Finding(f"extra {extra}", "warning", broken[0], f"{pip_install(*packages)} --force-reinstall")
        else:
            yield Finding(f"extra {extra}", "ok", ", ".join(f"{name} {found}" for name, found in installed.items()))


def satisfies(installed: str, requirement: str) -> bool:
    """Return whether a version is within the bounds `>=` and `<` of a requirement such as `av>=18,<19`."""
    found = _numbers(installed)
    bounds = re.findall(r"(>=|<)\s*([0-9.]+)", requirement)
    return all(found >= _numbers(bound) if sign == ">=" else found < _numbers(bound) for sign, bound in bounds)


def _fault(requirement: str, machine: Machine) -> Finding | None:
    """Return what is wrong with a required package, or None."""
    name = _name(requirement)
    installed = _version(name)
    if not installed:
        return Finding(f"package {name}", "problem", "not installed, and required", pip_install(requirement))
    if not satisfies(installed, requirement):
        detail = f"version {installed} is installed, {requirement} is required"
        return Finding(f"package {name}", "problem", detail, pip_install(requirement))
    if error := _import_error(name):
        reinstall = f"{pip_install(requirement)} --force-reinstall"
        is_library = machine.is_linux and name == "opencv-python" and ".so" in error
        remedy = machine.command(OPENCV_LIBRARIES, reinstall) if is_library else reinstall
        return Finding(f"package {name}", "problem", error, remedy)
    return None


def _import_error(package: str) -> str:
    """Return why a package cannot be imported, in one line; empty if it can."""
    try:
        import_module(MODULES.get(package, package))
    except Exception as error:  # A damaged package may raise anything.
        return f"cannot be imported: {next(iter(str(error).splitlines()), type(error).__name__)}"
    return ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: `2.13.0+cpu` -> (2, 13)."""
    numbers = [int(number) for number in re.match(r"[0-9.]*", text)[0].split(".") if number]  # type: ignore[index]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
