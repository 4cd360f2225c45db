"""The display of a preview window: whether there is one, how much room it has, and an OpenCV that opens it quietly."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2

from streamseg.errors import OutputError

ROOM_PX = (1264, 640)
"""Room for a window where the system does not tell the screen's size: that of a screen of 1280x720."""

AROUND_PX = (16, 80)
"""Width and height that the window's frame and title, and the desktop's bars, take of a screen."""

PYAV_X11 = "av.libs/libxcb-shm"
XINERAMA = "libXinerama.so.1"


def check_display() -> None:
    """Check on Linux that a window can be opened, where OpenCV's toolkit would abort the process or hang.

    Raises:
        OutputError: there is no display, or PyAV was imported before streamseg.
    """
    if not sys.platform.startswith("linux"):
        return
    if _has_pyav_x11():
        raise OutputError(
            "OpenCV cannot open a window with the X11 libraries of PyAV, which was imported first: "
            "import streamseg, or cv2, before av"
        )
    if _opens_x11():
        return
    # OpenCV from PyPI speaks to X11 alone; a distribution's may be built with GTK, which speaks to Wayland too.
    if os.environ.get("WAYLAND_DISPLAY") and not cv2.currentUIFramework().startswith("QT"):
        return
    raise OutputError(
        f"{_what_is_missing()} for the preview window: give --out http and look at the page in a browser, "
        "give --out virtual or --out FILE.mp4, or log in with a screen"
    )


def room_px() -> tuple[int, int]:
    """Return the width and height that a window's content may have on the (first) screen."""
    width, height = 0, 0
    with suppress(OSError, AttributeError):  # A library or a function that this system does not have.
        if sys.platform == "win32":
            # SM_CXFULLSCREEN, SM_CYFULLSCREEN: the screen without the taskbar and a window's title.
            metric = ctypes.windll.user32.GetSystemMetrics
            return metric(16), metric(17)
        width, height = _macos_screen_px() if sys.platform == "darwin" else _x11_screen_px()
    if not width or not height:
        return ROOM_PX
    return width - AROUND_PX[0], height - AROUND_PX[1]


def quieten_toolkit() -> None:
    """Keep the warnings and advice of Qt from the terminal; it reads these variables when the first window opens.

    What the user set stays, except for a platform that this Qt has no plugin for: it would abort the process.
    """
    os.environ.setdefault("QT_LOGGING_RULES", "*.info=false;*.warning=false")
    plugins = Path(os.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH", ""), "platforms")
    if plugins.is_absolute() and not any(
        list(plugins.glob(f"libq{name.partition(':')[0]}*"))
        for name in os.environ.get("QT_QPA_PLATFORM", "").split(";")
        if name
    ):
        # Qt would look for Wayland in a Wayland session, complain that it is missing, and take X11.
        os.environ["QT_QPA_PLATFORM"] = "xcb"


def _has_pyav_x11() -> bool:
    """Whether OpenCV's Qt got PyAV's copy of libxcb-shm in place of its own; see `streamseg._OpenCVFirst`."""
    with suppress(OSError):
        return any(f"/{PYAV_X11}" in line for line in Path("/proc/self/maps").read_text().splitlines())
    return False


def _what_is_missing() -> str:
    name = os.environ.get("DISPLAY")
    return f"the display {name} does not open" if name else "no display"


def _opens_x11() -> bool:
    if not os.environ.get("DISPLAY"):
        return False
    try:
        with _x11() as (_, display):
            return bool(display)
    except OSError:  # Without the library, only opening a window would tell.
        return True


def _x11_screen_px() -> tuple[int, int]:
    """Return the size of the first monitor, or of all together where Xinerama does not tell them apart."""
    with _x11() as (x11, display):
        if not display:
            return 0, 0
        with suppress(OSError):
            xinerama, count = ctypes.CDLL(XINERAMA), ctypes.c_int()
            xinerama.XineramaQueryScreens.restype = ctypes.POINTER(_Monitor)
            xinerama.XineramaQueryScreens.argtypes = ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)
            monitors = xinerama.XineramaQueryScreens(display, ctypes.byref(count))
            if count.value:
                size = monitors[0].width, monitors[0].height
                x11.XFree(monitors)
                return size
        return x11.XDisplayWidth(display, 0), x11.XDisplayHeight(display, 0)


class _Monitor(ctypes.Structure):
    """`XineramaScreenInfo` of Xlib."""

    _fields_ = (("number", ctypes.c_int), *((name, ctypes.c_short) for name in ("x", "y", "width", "height")))


@contextmanager
def _x11() -> Iterator[tuple[ctypes.CDLL, int | None]]:
    """Open Xlib and the display of the environment, whose handle is None where it does not open."""
    x11 = ctypes.CDLL("libX11.so.6")
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XDisplayWidth.argtypes = x11.XDisplayHeight.argtypes = ctypes.c_void_p, ctypes.c_int
    x11.XCloseDisplay.argtypes = x11.XFree.argtypes = (ctypes.c_void_p,)
    display = x11.XOpenDisplay(None)
    try:
        yield x11, display
    finally:
        if display:
            x11.XCloseDisplay(display)


def _macos_screen_px() -> tuple[int, int]:
    graphics = ctypes.CDLL("/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics")
    screen = graphics.CGMainDisplayID()
    graphics.CGDisplayPixelsWide.restype = graphics.CGDisplayPixelsHigh.restype = ctypes.c_size_t
    return graphics.CGDisplayPixelsWide(screen), graphics.CGDisplayPixelsHigh(screen)
