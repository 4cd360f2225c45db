"""The preview window on a real, if virtual, screen: keys are typed, and what the screen shows is looked at."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.image import Pixels
from streamseg.sink.window import HELD_FRAMES
from tests.synthetic import write_clip

MISSING = [tool for tool in ("Xvfb", "xdotool", "import") if not shutil.which(tool)]

pytestmark = [
    pytest.mark.display,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]

CHECKOUT = Path(__file__).parents[1]
DEADLINE_SECONDS = 90
BLUE, RED, YELLOW = (0, 0, 200), (200, 0, 0), (200, 200, 0)


class Screen:
    """A virtual screen and a live run on it."""

    def __init__(self, display: str, folder: Path, *settings: str) -> None:
        self.folder = folder
        # A Wayland session, where OpenCV's Qt complains most.
        session = {"XDG_SESSION_TYPE": "wayland", "XDG_CURRENT_DESKTOP": "GNOME"}
        self._environment = {**os.environ, **session, "DISPLAY": display, "PYTHONPATH": str(CHECKOUT)}
        for name in ("WAYLAND_DISPLAY", "XDG_RUNTIME_DIR"):
            self._environment.pop(name, None)
        command = [sys.executable, "-m", "tests.live_window", str(folder / "clip.mp4"), *settings]
        self.run = subprocess.Popen(
            command,
            env=self._environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def xdotool(self, *words: str) -> str:
        done = subprocess.run(["xdotool", *words], env=self._environment, capture_output=True, text=True)
        return done.stdout.strip()

    def screenshot(self) -> Pixels:
        """What the screen shows, in RGB."""
        command = ["import", "-window", "root", "png:-"]
        png = subprocess.run(command, env=self._environment, capture_output=True, check=True).stdout
        return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def until(self, shows: Callable[[Pixels], bool], what: str) -> Pixels:
        """Looks at the screen until it shows something."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not shows(pixels := self.screenshot()):
            if self.run.poll() is not None:
                pytest.fail(f"it ended before {what}: {self.run.communicate()}")
            assert time.monotonic() < deadline, f"the screen never showed {what}"
            time.sleep(0.05)
        return pixels

    def frames_shown(self) -> int:
        return int((self.folder / "shown").read_text() or 0)

    def press(self, key: str) -> None:
        # A key that comes again with the next frames is one that is held down.
        wanted = self.frames_shown() + HELD_FRAMES + 1
        self.until(lambda _: self.frames_shown() >= wanted, "more frames")
        # Keys go to the window below the pointer, as there is no window manager.
        self.xdotool("mousemove", "200", "300", "key", key)

    def window(self) -> str:
        """The window's number, once it is open."""
        self.until(lambda _: bool(self.xdotool("search", "--name", "^streamseg")), "a window")
        return self.xdotool("search", "--name", "^streamseg").splitlines()[-1]

    def size(self) -> tuple[int, int]:
        geometry = self.xdotool("getwindowgeometry", "--shell", self.window())
        values = dict(line.split("=") for line in geometry.splitlines())
        return int(values["WIDTH"]), int(values["HEIGHT"])

    def click_on_the_cross(self) -> None:
        """Asks the window to close, as a window manager does."""
        x11 = ctypes.CDLL("libX11.so.6")
        x11.XOpenDisplay.restype = ctypes.c_void_p
        x11.XInternAtom.restype = ctypes.c_ulong
        x11.XInternAtom.argtypes = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        x11.XSendEvent.argtypes = ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p
        x11.XCloseDisplay.argtypes = (ctypes.c_void_p,)
        display = x11.XOpenDisplay(self._environment["DISPLAY"].encode())
        protocols, delete = (x11.XInternAtom(display, name, False) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
        window, client_message = int(self.window()), 33
        # XClientMessageEvent, filled up to the size of XEvent.
        event = struct.pack("@iLiPLLi5l96x", client_message, 0, 1, display, window, protocols, 32, delete, 0, 0, 0, 0)
        x11.XSendEvent(display, window, False, 0, event)
        x11.XCloseDisplay(display)

    def end(self) -> list[str]:
        """Waits for the end; returns the lines on the terminal."""
        out, complaints = self.run.communicate(timeout=DEADLINE_SECONDS)
        assert complaints == ""
        assert self.run.returncode == 0
        return out.splitlines()


@contextmanager
def screen(size: str, folder: Path, clip_size: tuple[int, int], *settings: str) -> Iterator[Screen]:
    """Starts a virtual screen and a live run on it."""
    write_clip(folder / "clip.mp4", 6, *clip_size, rate=Fraction(12), sound=False)
    theirs, ours = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(ours), "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=(ours,),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(ours)
    try:
        with os.fdopen(theirs) as number:
            live = Screen(f":{number.readline().strip()}", folder, *settings)
        try:
            yield live
        finally:
            live.run.kill()
            live.run.communicate()
    finally:
        server.kill()
        server.wait()


def is_near(pixels: Pixels, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixels.reshape(-1, 3).mean(0) - colour).max() < 12)


def corner(pixels: Pixels) -> Pixels:
    """A part of the background that nothing is drawn over."""
    return pixels[300:340, 580:620]


def disc(pixels: Pixels) -> Pixels:
    return pixels[160:200, 200:230]


def mirrored_disc(pixels: Pixels) -> Pixels:
    return pixels[160:200, 410:440]


def is_green(pixels: Pixels) -> bool:
    red, green, blue = pixels.reshape(-1, 3).mean(0)
    return bool(green > red + 60 and green > blue + 60)


def test_keys_change_what_the_screen_shows(tmp_path: Path) -> None:
    backgrounds = tmp_path / "backgrounds"
    backgrounds.mkdir()
    for name, colour in {"1_red.png": RED, "2_yellow.png": YELLOW}.items():
        cv2.imwrite(str(backgrounds / name), np.full((90, 160, 3), colour[::-1], np.uint8))
    settings = "bg=#0000c8", f"backgrounds={backgrounds}"
    with screen("800x600", tmp_path, (640, 360), *settings) as live:
        live.until(lambda shown: is_near(corner(shown), BLUE) and is_green(disc(shown)), "the start")
        assert live.size() == (640, 360)

        for key, colour in {"Right": RED, "n": YELLOW, "Left": RED}.items():
            live.press(key)
            live.until(lambda shown, colour=colour: is_near(corner(shown), colour), f"{key}: a background")  # type: ignore[misc]

        live.press("m")
        live.until(lambda shown: is_green(mirrored_disc(shown)) and is_near(disc(shown), RED), "it mirrored")
        live.press("m")
        live.until(lambda shown: is_green(disc(shown)), "it as it was")

        live.press("v")
        live.until(lambda shown: is_near(corner(shown), (0, 0, 0)) and disc(shown).min() > 200, "the matte")
        live.press("v")
        live.until(lambda shown: is_near(corner(shown), RED), "the composite again")

        live.press("h")
        live.until(lambda shown: shown[100:260, 300:330].mean() < 60, "help")
        live.press("question")
        live.until(lambda shown: shown[100:260, 300:330].max() > 150 and is_green(disc(shown)), "no help")

        figures = slice(8, 34), slice(10, 120)
        live.until(lambda shown: shown[figures].min(-1).max() > 200, "figures")
        live.press("o")
        live.until(lambda shown: is_near(shown[figures], RED) and shown[figures].min(-1).max() < 30, "no figures")

        live.press("r")
        live.until(lambda shown: is_rec(shown[8:36, 560:600]), "REC")
        live.press("space")
        live.until(lambda shown: corner(shown)[..., 0].mean() < 130 and not is_green(disc(shown)), "a card")
        live.press("space")
        live.until(lambda shown: is_green(disc(shown)) and is_near(corner(shown), RED), "an end of the pause")
        live.press("r")
        live.until(lambda shown: not is_rec(shown[8:36, 560:600]), "an end of the recording")
        live.until(lambda _: bool(list(tmp_path.glob("streamseg-*.mp4"))), "a recording")

        live.press("s")
        live.until(lambda _: any(path.stat().st_size for path in tmp_path.glob("streamseg-*.png")), "a snapshot")
        live.press("plus")
        live.until(lambda shown: is_near(corner(shown), (96, 96, 96)), "the blur")
        live.press("q")
        lines = live.end()
    (image,) = tmp_path.glob("streamseg-*.png")
    pixels = cv2.imread(str(image))
    assert pixels.shape == (360, 640, 3)
    assert is_near(corner(pixels[..., ::-1]), RED)
    (video,) = tmp_path.glob("streamseg-*.mp4")
    assert lines[:2] == ["window closed", f"snapshots: 1, the last one {image.name}"]
    assert lines[2].startswith(f"recordings: 1, the last one {video.name}")
    assert len(lines) == 3


def is_rec(pixels: Pixels) -> bool:
    """Whether the red dot stands on its dark band: redder than the red background behind it."""
    red, green, blue = pixels.reshape(-1, 3).astype(int).T
    return bool(((red > 215) & (green < 90) & (blue < 90)).sum() > 20)


def test_a_small_screen_a_window_of_another_shape_and_its_cross(tmp_path: Path) -> None:
    with screen("1024x600", tmp_path, (1280, 720), "bg=#0000c8") as live:
        live.until(lambda shown: is_near(shown[440:500, 850:900], BLUE), "the start")
        assert live.size() == (924, 520)
        live.xdotool("windowsize", live.window(), "900", "300")
        live.until(lambda shown: is_between_bars(shown) and is_near(shown[250:290, 650:700], BLUE), "bars")
        live.click_on_the_cross()
        assert live.end() == ["window closed"]


def is_between_bars(pixels: Pixels) -> bool:
    """Whether a picture of 16:9 stands in the middle of a window of 900x300."""
    found = cv2.boundingRect(pixels[:300, :900].max(-1))
    return bool(np.abs(np.subtract(found, (183, 0, 533, 300))).max() <= 1)
