"""The webm in a real browser: Chromium, headless, over a coloured page."""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamseg.frames import Frame, VideoInfo
from streamseg.sink import open_sink

pytestmark = pytest.mark.browser

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTH_PX, HEIGHT_PX, COUNT = 320, 180, 50
OPAQUE, HALF, NOTHING = 50, 160, 280
"""Where on the line these are."""

PAGE = """<!doctype html>
<style>body { margin: 0; background: rgb(0, 0, 255) } video { display: block }</style>
<video src="x.webm" muted width="320" height="180"></video>
"""

PLAY_THEN_SEEK = """new Promise(async (resolve, reject) => {
  const video = document.querySelector("video");
  video.onerror = () => reject(video.error.message);
  const shown = () => new Promise(done => video.requestVideoFrameCallback((now, frame) => done(frame.mediaTime)));
  await video.play();
  const times = [await shown(), await shown(), await shown()];
  video.pause();
  video.currentTime = 1;
  times.push(await shown());
  requestAnimationFrame(() => requestAnimationFrame(() => resolve(times)));
})"""


class BrowserEnded(Exception):
    """The browser ended by itself."""


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
        # A browser that hangs is ended, and with it the reading below.
        self._end = threading.Timer(120, self._process.kill)
        self._end.start()
        self._unread, self._count, self._session = b"", 0, {}

    def open(self, page: Path) -> None:
        """Shows a page; returns when it has loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        self.ask("Page.enable")
        self.ask("Page.navigate", url=page.as_uri())
        self._until(lambda message: message.get("method") == "Page.loadEventFired")

    def ask(self, method: str, **parameters: Any) -> Any:
        """One command's result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters, **self._session}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._until(lambda answer: answer.get("id") == self._count)["result"]

    def _until(self, is_wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not is_wanted(message := json.loads(self._next())):
            pass
        return message

    def close(self) -> None:
        self._end.cancel()
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _next(self) -> bytes:
        while b"\0" not in self._unread:
            more = os.read(self._from, 1 << 16)
            if not more:
                raise BrowserEnded
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        return message


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A blue page with a red video: opaque, half transparent, and transparent from left to right."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    rgba = np.zeros((HEIGHT_PX, WIDTH_PX, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[:, :107, 3], rgba[:, 107:214, 3] = 255, 128
    info = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(25), Fraction(1, 25), COUNT)
    with open_sink(str(tmp_path / "x.webm"), info, "foreground") as sink:
        for index in range(COUNT):
            sink.write(Frame(index, Fraction(index, 25), rgba))
    (tmp_path / "page.html").write_text(PAGE)
    return tmp_path / "page.html"


def look(page: Path, profile: Path) -> tuple[Any, str]:
    """What the page's script answers, and a screenshot."""
    browser = Browser(profile)
    try:
        browser.open(page)
        answer = browser.ask("Runtime.evaluate", expression=PLAY_THEN_SEEK, awaitPromise=True, returnByValue=True)
        return answer, browser.ask("Page.captureScreenshot")["data"]
    finally:
        browser.close()


def test_it_plays_and_the_page_shows_through(page: Path) -> None:
    try:
        answer, shot = look(page, page.parent / "profile")
    except BrowserEnded:  # as Chromium does now and then when it starts for the first time on a machine
        answer, shot = look(page, page.parent / "second profile")
    *played, sought = answer["result"]["value"]
    assert played == sorted(set(played))
    assert sought == pytest.approx(1, abs=0.04)
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(shot), np.uint8), cv2.IMREAD_COLOR_RGB)
    line = shown[HEIGHT_PX // 2].astype(int)
    for place, colour in ((OPAQUE, (255, 0, 0)), (HALF, (128, 0, 127)), (NOTHING, (0, 0, 255))):
        assert np.abs(line[place] - colour).max() <= 4
