"""The webm in a real browser: Chromium, headless, over a coloured page."""

from __future__ import annotations

import base64
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamseg.frames import Frame, VideoInfo
from streamseg.sink import open_sink
from tests.chromium import BROWSER, Browser, BrowserEnded

pytestmark = pytest.mark.browser

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
        browser.open(page.as_uri())
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
