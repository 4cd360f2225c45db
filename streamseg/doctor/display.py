"""Check of the display that the preview window needs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from streamseg.doctor.finding import Finding
from streamseg.doctor.machine import Machine, pip_install

WITHOUT_WINDOW = "streamseg webcam --out http  # the picture on a page in the browser"


def check_display(machine: Machine) -> Iterator[Finding]:
    """Tell whether `--out window` can open, which OpenCV draws."""
    import cv2

    if not (toolkit := cv2.currentUIFramework()):
        reinstall = f"{pip_install('opencv-python')} --force-reinstall --no-deps"
        detail = "this build of OpenCV has no windows; opencv-python-headless may lie over opencv-python"
        yield Finding("display", "warning", detail, f"{reinstall}\n{WITHOUT_WINDOW}")
    elif missing := _missing(machine):
        yield Finding("display", "warning", f"{missing}: no --out window", WITHOUT_WINDOW)
    else:
        shown = [f"{name}={machine.environ[name]}" for name in _VARIABLES if machine.environ.get(name)]
        place = ", ".join(shown) if machine.is_linux else "this system's own"
        yield Finding("display", "ok", f"{place}, through OpenCV's {toolkit}")


_VARIABLES = ("WAYLAND_DISPLAY", "DISPLAY")


def _missing(machine: Machine) -> str:
    """Return what is missing on Linux; empty if a display server can be reached."""
    named = [name for name in _VARIABLES if machine.environ.get(name)]
    if not machine.is_linux or any(_is_reached(name, machine) for name in named):
        return ""
    if not named:
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    return f"no display server answers at {' or '.join(f'{name}={machine.environ[name]}' for name in named)}"


def _is_reached(variable: str, machine: Machine) -> bool:
    """Return whether the display's socket is there; displays of other machines, such as SSH's, count as reached."""
    value = machine.environ[variable]
    if variable == "WAYLAND_DISPLAY":
        return Path(machine.environ.get("XDG_RUNTIME_DIR", "/run"), value).exists()
    local = re.fullmatch(r"(?:unix)?:(\d+)(?:\.\d+)?", value)
    return not local or (machine.root / "tmp/.X11-unix" / f"X{local[1]}").exists()
