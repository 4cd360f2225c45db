"""Outputs in a real browser: Chromium, headless."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from streamseg.frames import Frame, VideoInfo
from streamseg.sink import open_sink
from tests.chromium import BROWSER, Browser, BrowserEnded
from tests.crews import OneByOne, done, frames_of, register_engines, settings_of, work_on
from tests.synthetic import picture
from tests.test_fidelity import record, yuv

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

SEEK_THEN_PLAY = """(async () => {
  const found = [];
  for (const video of document.querySelectorAll("video")) {
    const shown = () => new Promise(done => video.requestVideoFrameCallback((now, frame) => done(frame.mediaTime)));
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight).getContext("2d");
    const times = [], pixels = [];
    for (const time of TIMES) {
      const next = shown();
      video.currentTime = time;
      times.push(await next);
      canvas.clearRect(0, 0, video.videoWidth, video.videoHeight);
      canvas.drawImage(video, 0, 0);
      pixels.push([...canvas.getImageData(0, 0, video.videoWidth, video.videoHeight).data]);
    }
    const ended = new Promise((resolve, reject) => {
      video.onended = () => resolve(video.currentTime);
      video.onerror = () => reject(new Error(video.error.message));
    });
    video.currentTime = 0;
    video.playbackRate = 4;
    await video.play();
    found.push({times, pixels, end: await ended});
  }
  return found;
})()"""


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


@pytest.mark.cluster
def test_joined_segments_play_through(tmp_path: Path) -> None:
    """H.264 with sound, and VP9 with alpha: the frames about each cut at their times, and on to the end."""
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    register_engines()
    pictures = [yuv(picture(index, 96, 64)) for index in range(60)]
    clip = record(tmp_path / "in.mp4", pictures, [3000 * n for n in range(60)], sound_seconds=2, gop_size=9)
    places = (17, 18, 35, 36, 59)
    paths = [tmp_path / "x.mp4", tmp_path / "x.webm"]
    for path, settings in zip(paths, (settings_of(bg="blue"), settings_of()), strict=True):
        result = done(work_on(clip, path, settings, 0.6), OneByOne())
        assert [one.frames for one in result.segments] == [18, 18, 24]
    # By their content, since a canvas does not tell what it has of other files.
    sources = [f"data:video/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}" for path in paths]
    page = tmp_path / "page.html"
    page.write_text("<!doctype html>" + "".join(f"<video src='{source}' muted></video>" for source in sources))
    for path, found in zip(paths, answered(page, places), strict=True):
        frames = frames_of(path)
        assert found["times"] == pytest.approx([place / 30 for place in places], abs=0.002)
        assert found["end"] == pytest.approx(2, abs=0.1)
        for place, values in zip(places, found["pixels"], strict=True):
            seen, meant = np.reshape(values, (64, 96, 4)), frames[place].pixels.astype(int)
            if meant.shape[2] == 3:
                assert np.abs(seen[..., :3] - meant).mean() < 8  # Blue is a little less so there.
            else:
                assert np.abs(seen[..., 3] - meant[..., 3]).max() <= 1


def answered(page: Path, places: Sequence[int]) -> list[dict[str, Any]]:
    """What the videos of a page show amid frames, and where they end."""
    script = SEEK_THEN_PLAY.replace("TIMES", str([(place + 0.5) / 30 for place in places]))
    for profile in ("profile", "second profile"):
        browser = Browser(page.parent / profile)
        try:
            browser.open(page.as_uri())
            return list(browser.evaluate(script))
        except BrowserEnded:  # as Chromium does now and then when it starts for the first time on a machine
            continue
        finally:
            browser.close()
    raise BrowserEnded
