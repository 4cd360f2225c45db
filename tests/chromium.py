"""Chromium, headless, for tests: pages are opened, scripts evaluated, keys pressed and screenshots taken."""

from __future__ import annotations

import base64
import json
import os
import select
import shlex
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from streamseg.image import Pixels
from tests.waiting import WAIT_SECONDS, wait_for

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

SILENCE_SECONDS = 120
"""A browser that says nothing for so long, though it was asked something, hangs."""

MAX_NAVIGATIONS = 10
"""Pages that may follow one another while a condition is waited for."""

KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Space": (" ", 32, " "),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
}
"""Name -> key, code and text of a key, as DevTools wants them."""


class BrowserEnded(Exception):
    """The browser ended by itself."""


class NavigatedAway(Exception):
    """The page that was asked has been left."""


class Browser:
    """Chromium, spoken to through two pipes (the DevTools protocol)."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        assert BROWSER
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=400,400"]
        # The shell puts the pipes where the browser looks for them.
        command = f"{shlex.join([BROWSER, '--remote-debugging-pipe', f'--user-data-dir={profile}', *options])}"
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command} 3<&{theirs_in} 4>&{theirs_out}"],
            pass_fds=(theirs_in, theirs_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._unread, self._count, self._session = b"", 0, {}

    def open(self, url: str) -> None:
        """Shows a page; returns when it has loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        self.ask("Page.enable")
        self.ask("Page.setLifecycleEventsEnabled", enabled=True)
        self.go(url)

    def go(self, url: str) -> None:
        """Shows another page in the same tab; returns when it has loaded."""
        loader = self.ask("Page.navigate", url=url)["loaderId"]

        def is_end(message: dict[str, Any]) -> bool:
            about = message.get("params", {})
            return (about.get("name"), about.get("loaderId")) == ("load", loader)

        self._until(is_end)

    def evaluate(self, expression: str) -> Any:
        """What a script answers; a promise is awaited."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = WAIT_SECONDS) -> Any:
        """Waits until a script's expression is true in the page, or in the one after it, and returns its value."""
        script = f"""new Promise((resolve, reject) => {{
          const end = performance.now() + {seconds * 1000};
          const look = () => {{
            const value = {condition};
            if (value) resolve(value);
            else if (performance.now() > end) reject(new Error({json.dumps("never true: " + condition)}));
            else setTimeout(look, 20);
          }};
          look();
        }})"""
        for _ in range(MAX_NAVIGATIONS):
            with suppress(NavigatedAway):
                return self.evaluate(script)
        raise AssertionError("the page is left again and again")

    def until(self, shows: Callable[[Pixels], bool]) -> Pixels:
        """Waits until a screenshot shows something, and returns it."""
        shots: list[Pixels] = []
        wait_for(lambda: shots.append(self.screenshot()) or shows(shots[-1]), "the page never shows it")
        return shots[-1]

    def press(self, name: str) -> None:
        """Presses and releases a key of `KEYS`."""
        key, code, text = KEYS[name]
        common = {"key": key, "code": name, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, x_px: float, y_px: float) -> None:
        """Presses and releases the mouse at a place of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self.ask("Input.dispatchMouseEvent", type=kind, x=x_px, y=y_px, button="left", clickCount=1)

    def show_as(self, width_px: int, height_px: int, scheme: str) -> None:
        """Takes on the size of a screen, and light or dark."""
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": width_px < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, whole: bool = False) -> Pixels:
        """What is shown, or the whole page, as RGB."""
        png = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        return cv2.imdecode(np.frombuffer(base64.b64decode(png), np.uint8), cv2.IMREAD_COLOR_RGB).astype(np.uint8)

    def ask(self, method: str, **parameters: Any) -> Any:
        """One command's result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda answer: answer.get("id") == self._count)
        if "error" in answer:
            raise NavigatedAway(answer["error"]["message"])
        return answer["result"]

    def _until(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not is_wanted(message := json.loads(self._next())):
            pass
        return message

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _next(self) -> bytes:
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._from], [], [], SILENCE_SECONDS)
            more = os.read(self._from, 1 << 16) if ready else b""
            if not more:
                raise BrowserEnded
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return message
