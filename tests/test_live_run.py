"""The live tool as a whole, on its own threads: a camera that is lost, every output, and changes from all sides."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from streamseg.composite.live import CARD_BRIGHTNESS
from streamseg.decode import open_source
from streamseg.errors import OutputError
from streamseg.frames import VideoInfo
from streamseg.image import Pixels
from streamseg.live.run import run_live
from streamseg.settings import load_settings
from streamseg.sink import BaseSink, open_sink
from streamseg.sink.virtual import is_virtual_camera
from streamseg.statistics import Statistics
from tests.fake_window import FakeWindow
from tests.live import TOKEN
from tests.network_camera import NetworkCamera
from tests.synthetic import DiscEngine, write_clip
from tests.waiting import WAIT_SECONDS, wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the virtual camera is Linux's")

RED, BLUE, LIME = (255, 0, 0), (0, 0, 255), (0, 255, 0)
CARD = (0, 0, round(CARD_BRIGHTNESS * 255))
"""What becomes of blue on a card."""


class LiveRun:
    """A run in a thread; the test sees what a user sees: window, page, terminal, files and virtual camera."""

    def __init__(self, config: Path, window: FakeWindow, **values: Any) -> None:
        self.window, self.said, self.ended = window, [], []  # type: ignore[var-annotated]
        self._config, self._saves = config, 0
        self._values = {"outputs": ("window", "http", "virtual", "talk.mp4"), "port": 0, "smooth": "none", **values}
        self.save("")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.ended.append(run_live(self._load(), self._config, self._load, token=TOKEN, say=self.said.append))
        except BaseException as error:
            self.ended.append(error)

    def _load(self) -> Any:
        return load_settings(self._config, self._values)

    def save(self, text: str) -> None:
        """Save the configuration."""
        self._saves += 1
        written = self._config.with_suffix(".new")
        written.write_text(text)
        os.utime(written, (self._saves, self._saves))  # whatever the clock's resolution
        written.replace(self._config)

    def until(self, condition: Any, what: str) -> None:
        """Wait until something is so, or the run has ended."""
        wait_for(lambda: self.ended or condition(), f"never {what}; said: {self.said}")
        assert not self.ended, self.ended

    def page(self) -> httpx.Client:
        """Return a client of the page, once it is served."""
        self.until(lambda: any(words.startswith("page: ") for words in self.said), "a page")
        address = next(words for words in self.said if words.startswith("page: ")).removeprefix("page: ")
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx.Client(base_url=address.partition("/?")[0], headers=headers, timeout=WAIT_SECONDS)

    def until_shown(self, colour: tuple[int, int, int], tolerance: int = 12) -> None:
        """Wait until the background in the window has a colour."""
        shown = self.window.shown
        self.until(lambda: shown and is_near(corner(shown[-1]), colour, tolerance), f"{colour} in the window")

    def quit(self) -> tuple[Statistics, str]:
        """Press q; return what the run returned."""
        self.window.keys.append(ord("q"))
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), "it does not end"
        (result,) = self.ended
        assert isinstance(result, tuple), result
        return result


def corner(rgb: Pixels) -> Pixels:
    return np.asarray(rgb[4, 4], np.uint8)


def is_near(pixel: Pixels, colour: tuple[int, int, int], tolerance: int = 12) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= tolerance)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> FakeWindow:
    monkeypatch.setattr("streamseg.live.run.check_display", lambda: None)
    return FakeWindow(monkeypatch)


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The driver of a virtual camera."""
    from streamseg.sink.virtual.loopback import LoopbackCamera
    from tests.test_virtual_camera import FakeDevice

    device = FakeDevice()

    def open_or_stand_in(out: str, info: VideoInfo, *others: Any) -> BaseSink:
        return LoopbackCamera(info, device) if is_virtual_camera(out) else open_sink(out, info, *others)  # type: ignore[arg-type]

    monkeypatch.setattr("streamseg.live.run.open_sink", open_or_stand_in)
    return device


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, where recordings go; the network finds the disc, and saved files are seen at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_, **__: DiscEngine())
    monkeypatch.setattr("streamseg.live.watch.POLL_SECONDS", 0.01)
    return tmp_path


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[NetworkCamera]:
    with NetworkCamera(write_clip(tmp_path / "clip.mp4", rate=Fraction(25), sound=False).path) as camera:
        yield camera


@contextmanager
def running(config: Path, window: FakeWindow, **values: Any) -> Iterator[LiveRun]:
    live = LiveRun(config, window, **values)
    try:
        yield live
    finally:
        if not live.ended:
            live.quit()


def test_a_meeting(folder: Path, camera: NetworkCamera, window: FakeWindow, virtual: Any) -> None:
    with running(folder / "live.toml", window, camera=camera.url, bg="#00ff00") as live, live.page() as page:
        live.until_shown(LIME)
        assert live.said[0] == f"camera {camera.url}: 128x96 at 25 fps, MJPEG"

        def change(**values: object) -> None:
            assert page.post("/api/state", json=values).status_code == 200

        def state() -> Any:
            return page.get("/api/state").json()

        # From the page: in the window, in the virtual camera and on the page itself.
        change(bg="#ff0000", recording=True)
        live.until_shown(RED)
        live.until(lambda: is_near(corner(snapshot(page)), RED), "red on the page")
        live.until(lambda: np.frombuffer(virtual.written[-1], np.uint8)[0] in range(78, 86), "red for the meeting")

        # From the configuration; a mistake in it changes nothing.
        live.save("[composite]\nbgg = 'blue'\n")
        live.until(lambda: "unknown setting composite.bgg" in state()["notice"], "a word on the mistake")
        assert state()["settings"]["bg"] == "#ff0000"
        live.save("[composite]\nfeather = 4\n[live]\nmirror = true\n")
        live.until(lambda: state()["settings"]["mirror"], "what was saved")
        assert state()["settings"]["feather"] == 4
        change(bg="#0000ff")
        live.until_shown(BLUE)

        # The camera is lost, and back.
        camera.lose()
        live.until(lambda: f"cannot read {camera.url}" in state()["notice"], "a word on the camera")
        live.until_shown(CARD, tolerance=30)
        camera.restore()
        live.until_shown(BLUE)

        # Paused, and on again.
        change(paused=True)
        live.until_shown(CARD, tolerance=30)
        change(paused=False)
        live.until_shown(BLUE)

        change(recording=False)
        live.until(lambda: list(folder.glob("streamseg-*.mp4")), "a recording that is complete")
        statistics, summary = live.quit()

    (recording,) = folder.glob("streamseg-*.mp4")
    whole, part = played(folder / "talk.mp4"), played(recording)
    assert len(whole) == statistics.frames == len(virtual.written) > len(part) > 0
    for colour, pictures in ((LIME, whole), (BLUE, whole), (RED, part), (BLUE, part)):
        assert any(is_near(corner(picture), colour) for picture in pictures)
    assert virtual.is_closed and not window.titles
    for words in (
        "window closed",
        f"page closed after {statistics.frames} frames",
        f"{statistics.frames} frames to the virtual camera",
        f"recordings: 1, the last one {recording.name}",
    ):
        assert words in summary
    wait_for(lambda: not [thread.name for thread in threading.enumerate() if thread.name.startswith("streamseg")])


def test_an_output_that_does_not_open_leaves_nothing_of_those_before_it(
    folder: Path, virtual: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    outputs = ("talk.mp4", "http", "virtual", "nofolder/talk.mp4")
    settings = load_settings(overrides={"camera": "testsrc=128x96", "bg": "blue", "outputs": outputs, "port": 0})
    with pytest.raises(OutputError, match="nofolder"):
        run_live(settings, say=lambda _: None)
    assert virtual.is_closed and not virtual.is_repeating
    assert list(folder.iterdir()) == []
    wait_for(lambda: not [thread.name for thread in threading.enumerate() if thread.name.startswith("streamseg")])


def snapshot(page: httpx.Client) -> Pixels:
    """What the page shows."""
    png = page.get("/snapshot.png").content
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB).astype(np.uint8)


def played(path: Path) -> list[Pixels]:
    """The pictures of a video, whose times ascend."""
    with open_source(str(path)) as source:
        frames = list(source)
        assert source.decode_error is None
    assert all(before.pts < after.pts for before, after in pairwise(frames))
    return [frame.pixels for frame in frames]
