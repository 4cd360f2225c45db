"""The page in a real browser: it plays, every control works by keyboard, and axe-core finds no serious fault."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.chromium import BROWSER, Browser, BrowserEnded
from tests.live import LivePage, folder_of_backgrounds
from tests.synthetic import DISC
from tests.waiting import WAIT_SECONDS

pytestmark = pytest.mark.browser

AXE = Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS_PX = (390, 1440)
SCHEMES = ("light", "dark")
SERIOUS = ("serious", "critical")

LIVE = "document.getElementById('connection').dataset.state === 'live' && shown !== null"
"""Picture and settings are there."""
PATIENCE = """(() => {
  const setTimeout = window.setTimeout.bind(window);
  window.setTimeout = (call, ms, ...values) => setTimeout(call, ms === 5000 ? 60000 : ms, ...values);
})()"""
"""The page gives WebRTC 5 s for its first frame and then takes MJPEG; a machine that runs tests may need longer."""
CORNER = """(() => {
  const shown = [document.getElementById("video"), document.getElementById("mjpeg")].find((one) => !one.hidden);
  if (!shown || !(shown.videoWidth || shown.naturalWidth)) return null;
  const canvas = Object.assign(document.createElement("canvas"), { width: 32, height: 18 });
  const context = canvas.getContext("2d");
  context.drawImage(shown, 0, 0, 32, 18);
  return [...context.getImageData(PLACE, 1, 1).data].slice(0, 3);
})()"""
"""What the picture on the page shows at a place of 32x18."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    folder = folder_of_backgrounds(tmp_path_factory.mktemp("user") / "backgrounds")
    with LivePage(backgrounds=folder) as live:
        yield live


@pytest.fixture(scope="module")
def browser(live: LivePage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with opened(live, tmp_path_factory) as browser:
        yield browser


@contextmanager
def opened(live: LivePage, folders: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with the page, which is tried twice: Chromium may end when it first starts on a machine."""
    browser = Browser(folders.mktemp("profile"))
    try:
        browser.open("about:blank")
    except BrowserEnded:
        browser.close()
        browser = Browser(folders.mktemp("second profile"))
        browser.open("about:blank")
    try:
        browser.ask("Page.addScriptToEvaluateOnNewDocument", source=PATIENCE)
        browser.go(live.page.url)
        browser.show_as(1440, 900, "light")
        yield browser
    finally:
        browser.close()


@pytest.fixture
def page(live: LivePage, browser: Browser) -> Iterator[Browser]:
    """The page as it is after it has been opened."""
    before = live.controls.current
    browser.go(f"{live.base}/")
    browser.wait_for(LIVE)
    yield browser
    live.controls.change(
        bg=before.composite.bg,
        blur=before.composite.blur,
        matte_only=False,
        mirror=False,
        paused=False,
        recording=False,
        model=before.infer.model,
        smooth=before.smooth.smooth,
    )


def shows(page: Browser, colour: tuple[int, int, int], place: str = "1, 1", tolerance: int = 12) -> None:
    """Waits until the picture shows a colour at a place."""
    near = f"found.every((value, channel) => Math.abs(value - {list(colour)}[channel]) <= {tolerance})"
    page.wait_for(f"(() => {{ const found = {CORNER.replace('PLACE', place)}; return found && {near}; }})()")


def text(page: Browser, identity: str) -> str:
    return str(page.evaluate(f"document.getElementById({json.dumps(identity)}).textContent"))


class TestPicture:
    def test_webrtc_plays(self, page: Browser) -> None:
        page.wait_for("!video.hidden && video.currentTime > 0")
        assert text(page, "connection-text") == "Live, WebRTC"
        begun = page.evaluate("video.getVideoPlaybackQuality().totalVideoFrames")
        page.wait_for(f"video.getVideoPlaybackQuality().totalVideoFrames > {begun + 10}")

    def test_its_colours_are_right(self, page: Browser) -> None:
        shows(page, (0, 0, 255))
        shows(page, DISC, "12, 9")

    def test_mjpeg_plays_where_webrtc_is_not_wanted(self, live: LivePage, page: Browser) -> None:
        page.go(f"{live.base}/?mjpeg")
        page.wait_for(LIVE)
        assert text(page, "connection-text") == "Live, MJPEG"
        shows(page, (0, 0, 255))
        self.moves(page)

    def test_mjpeg_plays_where_webrtc_fails(self, live: LivePage, page: Browser) -> None:
        script = "RTCPeerConnection.prototype.createOffer = () => Promise.reject(new Error('not to be had'))"
        added = page.ask("Page.addScriptToEvaluateOnNewDocument", source=script)
        page.go(f"{live.base}/")
        page.wait_for(LIVE)
        page.ask("Page.removeScriptToEvaluateOnNewDocument", **added)
        assert text(page, "connection-text") == "Live, MJPEG"
        self.moves(page)

    def test_the_feed_for_obs(self, live: LivePage, page: Browser) -> None:
        page.go(f"{live.base}/obs?alpha=green")
        page.wait_for("document.getElementById('mjpeg').naturalWidth === 320")
        shot = page.until(lambda shot: np.abs(shot[200, 5].astype(int) - (0, 255, 0)).max() <= 6)
        assert shot.shape == (900, 1440, 3)
        assert tuple(shot[5, 5]) == (0, 255, 0)

    def test_the_locked_page(self, live: LivePage, page: Browser) -> None:
        page.ask("Network.enable")
        page.ask("Network.clearBrowserCookies")
        page.go(f"{live.base}/")
        assert "locked" in page.evaluate("document.querySelector('h1').textContent")
        page.evaluate("document.getElementById('token').focus()")
        page.ask("Input.insertText", text=live.page.url.partition("token=")[2])
        page.press("Enter")
        page.wait_for("document.getElementById('connection') !== null")
        assert page.evaluate("location.search") == ""

    @staticmethod
    def moves(page: Browser) -> None:
        """Waits until two pictures differ."""
        place = (
            CORNER.replace("PLACE", "0, 0").replace("1, 1).data]", "32, 18).data]").replace(".slice(0, 3)", ".join()")
        )
        page.evaluate("window.earlier = null")
        page.wait_for(f"(() => {{ const now = {place}; const was = window.earlier; window.earlier = now; "
                      "return now && was && now !== was; })()")  # fmt: skip


class TestKeyboard:
    """Everything by Tab, arrows, Space and Enter alone."""

    def test_a_background_of_the_folder(self, live: LivePage, page: Browser) -> None:
        self.tab_to(page, "document.activeElement.name === 'bg'")
        page.press("ArrowRight")
        page.wait_for("document.activeElement.value === 'folder/red.png' && document.activeElement.checked")
        shows(page, (255, 0, 0))
        page.press("ArrowRight")
        shows(page, (255, 255, 0))
        page.press("ArrowLeft")
        shows(page, (255, 0, 0))
        assert str(live.controls.current.composite.bg).endswith("red.png")

    def test_blur_and_its_strength(self, live: LivePage, page: Browser) -> None:
        self.tab_to(page, "document.activeElement.name === 'bg'")
        page.press("ArrowLeft")
        page.wait_for("!document.getElementById('blur-row').hidden")
        assert live.controls.current.composite.bg == "blur"
        shows(page, (96, 96, 96))
        self.tab_to(page, "document.activeElement.id === 'blur'")
        changed = awaited(live, lambda settings: settings.composite.blur > 1.1)
        page.press("ArrowRight")
        assert changed()
        assert text(page, "blur-value") == "1.2×"

    def test_no_background(self, live: LivePage, page: Browser) -> None:
        self.tab_to(page, "document.activeElement.name === 'bg'")
        page.press("ArrowLeft")
        page.press("ArrowLeft")
        shows(page, (204, 204, 204), tolerance=56)  # a square of the checkerboard
        assert live.controls.current.composite.bg is None

    @pytest.mark.parametrize(("identity", "setting"), [("mirror", "mirror"), ("matte", "matte_only")])
    def test_switches(self, live: LivePage, page: Browser, identity: str, setting: str) -> None:
        self.tab_to(page, f"document.activeElement.id === '{identity}'")
        on = awaited(live, lambda settings: value(settings, setting) is True)
        page.press("Space")
        assert on()
        off = awaited(live, lambda settings: value(settings, setting) is False)
        page.press("Space")
        assert off()

    def test_the_matte_is_seen(self, page: Browser) -> None:
        self.tab_to(page, "document.activeElement.id === 'matte'")
        page.press("Space")
        shows(page, (0, 0, 0))
        shows(page, (255, 255, 255), "12, 9")

    @pytest.mark.parametrize(
        ("identity", "setting", "wanted"), [("model", "model", "lite"), ("smooth", "smooth", "one-euro")]
    )
    def test_lists(self, live: LivePage, page: Browser, identity: str, setting: str, wanted: str) -> None:
        self.tab_to(page, f"document.activeElement.id === '{identity}'")
        changed = awaited(live, lambda settings: value(settings, setting) == wanted)
        for _ in range(3):
            page.press("ArrowUp")
        for _ in range({"lite": 1, "one-euro": 0}[wanted]):
            page.press("ArrowDown")
        assert changed()

    @pytest.mark.parametrize("setting", ["paused", "recording"])
    @pytest.mark.parametrize("key", ["Enter", "Space"])
    def test_buttons(self, live: LivePage, page: Browser, setting: str, key: str) -> None:
        self.tab_to(page, f"document.activeElement.dataset.toggle === '{setting}'")
        on = awaited(live, lambda settings: value(settings, setting) is True)
        page.press(key)
        assert on()
        page.wait_for("document.activeElement.getAttribute('aria-pressed') === 'true'")

    def test_a_snapshot(self, page: Browser) -> None:
        self.tab_to(page, "document.activeElement.id === 'snapshot'")
        page.press("Enter")
        page.wait_for("document.getElementById('notice').textContent.startsWith('Snapshot saved as streamseg-')")

    def test_the_focus_is_seen_and_goes_through_all(self, page: Browser) -> None:
        seen = []
        for _ in range(20):
            page.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
            outline = "getComputedStyle(document.activeElement.closest('.tile') || document.activeElement).outlineStyle"
            if seen[-1] and seen[-1] != "controls":
                assert page.evaluate(outline) != "none", seen[-1]
        assert {"skip", "snapshot", "file", "mirror", "matte", "model", "smooth"} <= set(seen)

    @staticmethod
    def tab_to(page: Browser, condition: str) -> None:
        for _ in range(40):
            page.press("Tab")
            if page.evaluate(condition):
                return
        raise AssertionError(f"Tab does not lead to where {condition}")


def value(settings: Any, name: str) -> Any:
    """A setting by its name without its section."""
    return next(section[name] for section in settings.model_dump().values() if name in section)


def awaited(live: LivePage, is_wanted: Any) -> Any:
    """A function that waits until a change of the settings from now on is as wanted."""
    come = threading.Event()
    forget = live.controls.on_change(lambda settings: is_wanted(settings) and come.set())

    def wait() -> bool:
        try:
            return come.wait(WAIT_SECONDS)
        finally:
            forget()

    return wait


class TestFiles:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        cv2.imwrite(str(tmp_path / "orange.png"), np.full((90, 160, 3), (0, 128, 255), np.uint8))
        return tmp_path / "orange.png"

    def test_a_file_that_is_chosen(self, page: Browser, file: Path) -> None:
        node = page.ask("Runtime.evaluate", expression="document.getElementById('file')")["result"]["objectId"]
        page.ask("DOM.setFileInputFiles", files=[str(file)], objectId=node)
        shows(page, (255, 128, 0), tolerance=16)
        page.wait_for("document.getElementById('notice').textContent === 'orange.png is the background now'")

    def test_a_file_that_is_dropped(self, page: Browser, file: Path) -> None:
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver"):
            page.ask("Input.dispatchDragEvent", type=kind, x=600, y=300, data=data)
        page.wait_for("!document.getElementById('drop').hidden")
        page.ask("Input.dispatchDragEvent", type="drop", x=600, y=300, data=data)
        shows(page, (255, 128, 0), tolerance=16)
        assert page.evaluate("document.getElementById('drop').hidden")

    def test_a_file_that_is_none(self, page: Browser, tmp_path: Path) -> None:
        (tmp_path / "x.jpg").write_text("no picture")
        node = page.ask("Runtime.evaluate", expression="document.getElementById('file')")["result"]["objectId"]
        page.ask("DOM.setFileInputFiles", files=[str(tmp_path / "x.jpg")], objectId=node)
        page.wait_for("document.getElementById('notice').textContent.startsWith('x.jpg: this is no image or video')")


class TestLook:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("width_px", WIDTHS_PX)
    def test_axe_finds_no_serious_fault(self, page: Browser, width_px: int, scheme: str) -> None:
        if not AXE.is_file():
            pytest.skip("axe-core is not installed: npm install --no-save axe-core")
        page.show_as(width_px, 900, scheme)
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run().then((results) => results.violations)")
        page.show_as(1440, 900, "light")
        faults = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] in SERIOUS]
        assert faults == []

    @pytest.mark.parametrize("width_px", WIDTHS_PX)
    def test_nothing_sticks_out(self, page: Browser, width_px: int) -> None:
        page.show_as(width_px, 900, "light")
        assert page.evaluate("document.documentElement.scrollWidth") == width_px
        page.show_as(1440, 900, "light")

    def test_light_and_dark_differ(self, page: Browser) -> None:
        page.show_as(1440, 900, "light")
        page.until(lambda shot: shot[-3, 3].min() > 200)
        page.show_as(1440, 900, "dark")
        page.until(lambda shot: shot[-3, 3].max() < 60)
        page.show_as(1440, 900, "light")


def test_the_end_is_told(tmp_path_factory: pytest.TempPathFactory, live: LivePage) -> None:
    with LivePage() as short, opened(short, tmp_path_factory) as page:
        page.wait_for(LIVE)
        short.end()
        page.wait_for("document.getElementById('connection-text').textContent === 'Connection lost'")
        assert not page.evaluate("document.getElementById('placeholder').hidden")
