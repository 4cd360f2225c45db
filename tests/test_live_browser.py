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

from streamseg.image import Pixels
from tests.chromium import BROWSER, Browser, BrowserEnded
from tests.live import LivePage, folder_of_backgrounds, value_of
from tests.synthetic import DISC, picture
from tests.waiting import WAIT_SECONDS, wait_for

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


SMALL_DISC, GHOST = (296, 156), (24, 156)
"""Centres of what stands beside the moving disc: someone else, and what the network is unsure of."""
AT_SMALL_DISC, AT_GHOST = "29, 15", "2, 15"
"""The same in a picture of 32x18."""
UNSURE = (96, 160, 96)
"""What `DiscEngine` gives an alpha of 0.4."""


def company(index: int, width_px: int, height_px: int) -> Pixels:
    """The disc in company."""
    pixels = picture(index, width_px, height_px)
    cv2.circle(pixels, SMALL_DISC, 18, DISC, -1)
    cv2.rectangle(pixels, (GHOST[0] - 16, GHOST[1] - 12), (GHOST[0] + 16, GHOST[1] + 12), UNSURE, -1)
    return pixels


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePage]:
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    folder = folder_of_backgrounds(tmp_path_factory.mktemp("user") / "backgrounds")
    with LivePage(draw=company, backgrounds=folder) as live:
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
        **before.smooth.model_dump(include={"smooth", "gate", "subject", "keep"}),
        **before.composite.model_dump(include={"feather", "light_wrap", "match_colors", "shadow"}),
    )


def shows(page: Browser, colour: tuple[int, int, int], place: str = "1, 1", tolerance: int = 12) -> None:
    """Waits until the picture shows a colour at a place."""
    near = f"found.every((value, channel) => Math.abs(value - {list(colour)}[channel]) <= {tolerance})"
    page.wait_for(f"(() => {{ const found = {CORNER.replace('PLACE', place)}; return found && {near}; }})()")


def shows_many(page: Browser, colour: str, least: int, most: int = 320 * 180) -> None:
    """Waits until as many pixels of the picture, of 320x180, have a colour: an expression of `red`, `green`, `blue`."""
    page.wait_for(f"""(() => {{
      const shown = [document.getElementById("video"), document.getElementById("mjpeg")].find((one) => !one.hidden);
      if (!shown || !(shown.videoWidth || shown.naturalWidth)) return false;
      const canvas = Object.assign(document.createElement("canvas"), {{ width: 320, height: 180 }});
      const context = canvas.getContext("2d");
      context.drawImage(shown, 0, 0, 320, 180);
      const levels = context.getImageData(0, 0, 320, 180).data;
      let count = 0;
      for (let at = 0; at < levels.length; at += 4) {{
        const [red, green, blue] = levels.subarray(at, at + 3);
        count += {colour};
      }}
      return {least} <= count && count <= {most};
    }})()""")


def text(page: Browser, identity: str) -> str:
    return str(page.evaluate(f"document.getElementById({json.dumps(identity)}).textContent"))


def says(page: Browser, identity: str, words: str) -> None:
    """Waits until an element has these words: between a key and its answer, the page may show an older state."""
    page.wait_for(f"document.getElementById({json.dumps(identity)}).textContent === {json.dumps(words)}")


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

    @pytest.mark.parametrize(("query", "behind"), [("", (0, 0, 255)), ("?alpha=green", (0, 255, 0))])
    def test_the_feed_for_obs(self, live: LivePage, page: Browser, query: str, behind: tuple[int, int, int]) -> None:
        page.go(f"{live.base}/obs{query}")
        page.wait_for("document.getElementById('mjpeg').naturalWidth === 320")
        shot = page.until(lambda shot: np.abs(shot[200, 5].astype(int) - behind).max() <= 6)
        assert shot.shape == (900, 1440, 3)
        assert tuple(shot[5, 5]) == ((0, 255, 0) if query else (0, 0, 0))  # above the picture
        page.until(lambda later: not np.array_equal(later, shot))

    def test_the_feed_for_obs_goes_on_after_another_start(self, page: Browser) -> None:
        def shows_over(bg: tuple[int, int, int]) -> None:
            page.until(lambda shot: np.abs(shot[450, 5].astype(int) - bg).max() <= 6)

        with LivePage(bg="#ff0000") as first:
            page.go(first.page.url.replace("/?", "/obs?"))
            shows_over((255, 0, 0))
        with LivePage(bg="#00ff00", port=first.page.port):
            shows_over((0, 255, 0))

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
        tab_to(page, "document.activeElement.name === 'bg'")
        for _ in range(2):  # The gradient stands between.
            page.press("ArrowRight")
        page.wait_for("document.activeElement.value === 'folder/red.png' && document.activeElement.checked")
        shows(page, (255, 0, 0))
        page.press("ArrowRight")
        shows(page, (255, 255, 0))
        page.press("ArrowLeft")
        shows(page, (255, 0, 0))
        assert str(live.controls.current.composite.bg).endswith("red.png")

    def test_blur_and_its_strength(self, live: LivePage, page: Browser) -> None:
        tab_to(page, "document.activeElement.name === 'bg'")
        page.press("ArrowLeft")
        page.wait_for("!document.getElementById('blur-row').hidden")
        wait_for(lambda: live.controls.current.composite.bg == "blur")
        shows(page, (96, 96, 96))
        tab_to(page, "document.activeElement.id === 'blur'")
        changed = awaited(live, lambda settings: settings.composite.blur > 1.1)
        page.press("ArrowRight")
        assert changed()
        says(page, "blur-value", "1.2×")

    def test_no_background(self, live: LivePage, page: Browser) -> None:
        tab_to(page, "document.activeElement.name === 'bg'")
        page.press("ArrowLeft")
        page.press("ArrowLeft")
        shows(page, (204, 204, 204), tolerance=56)  # a square of the checkerboard
        wait_for(lambda: live.controls.current.composite.bg is None)

    def test_a_gradient(self, live: LivePage, page: Browser) -> None:
        tab_to(page, "document.activeElement.name === 'bg'")
        page.press("ArrowRight")
        shows(page, (43, 58, 103), "16, 0", tolerance=16)
        shows(page, (232, 168, 124), "16, 17", tolerance=16)
        page.evaluate("byId('gradient-top').value = '#ff0000'; byId('gradient-top').dispatchEvent(new Event('input'))")
        shows(page, (255, 0, 0), "16, 0", tolerance=24)
        wait_for(lambda: live.controls.current.composite.bg == "gradient:#ff0000,#e8a87c")

    @pytest.mark.parametrize(("identity", "setting"), [("mirror", "mirror"), ("matte", "matte_only")])
    def test_switches(self, live: LivePage, page: Browser, identity: str, setting: str) -> None:
        tab_to(page, f"document.activeElement.id === '{identity}'")
        on = awaited(live, lambda settings: value_of(settings, setting) is True)
        page.press("Space")
        assert on()
        off = awaited(live, lambda settings: value_of(settings, setting) is False)
        page.press("Space")
        assert off()

    def test_the_matte_is_seen(self, page: Browser) -> None:
        tab_to(page, "document.activeElement.id === 'matte'")
        page.press("Space")
        shows(page, (0, 0, 0))
        shows(page, (255, 255, 255), "12, 9")

    @pytest.mark.parametrize(
        ("identity", "setting", "wanted"), [("model", "model", "lite"), ("smooth", "smooth", "one-euro")]
    )
    def test_lists(self, live: LivePage, page: Browser, identity: str, setting: str, wanted: str) -> None:
        tab_to(page, f"document.activeElement.id === '{identity}'")
        changed = awaited(live, lambda settings: value_of(settings, setting) == wanted)
        for _ in range(3):
            page.press("ArrowUp")
        for _ in range({"lite": 1, "one-euro": 0}[wanted]):
            page.press("ArrowDown")
        assert changed()

    @pytest.mark.parametrize("setting", ["paused", "recording"])
    @pytest.mark.parametrize("key", ["Enter", "Space"])
    def test_buttons(self, live: LivePage, page: Browser, setting: str, key: str) -> None:
        tab_to(page, f"document.activeElement.dataset.toggle === '{setting}'")
        on = awaited(live, lambda settings: value_of(settings, setting) is True)
        page.press(key)
        assert on()
        page.wait_for("document.activeElement.getAttribute('aria-pressed') === 'true'")

    def test_a_snapshot(self, page: Browser) -> None:
        tab_to(page, "document.activeElement.id === 'snapshot'")
        page.press("Enter")
        page.wait_for("document.getElementById('notice').textContent.startsWith('Snapshot saved as streamseg-')")

    def test_the_focus_is_seen_and_goes_through_all(self, live: LivePage, page: Browser) -> None:
        live.controls.change(keep=(0.5, 0.5))
        open_sections(page)
        seen = []
        for _ in range(34):
            page.press("Tab")
            seen.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
            outline = "getComputedStyle(document.activeElement.closest('.tile') || document.activeElement).outlineStyle"
            if seen[-1] and seen[-1] != "controls":
                assert page.evaluate(outline) != "none", seen[-1]
        assert {"skip", "snapshot", "file", "mirror", "matte", "model", "smooth"} <= set(seen)
        assert {"feather", "light_wrap", "match_colors", "shadow", "gate", "subject", "across", "down"} <= set(seen)


def tab_to(page: Browser, condition: str) -> None:
    """Presses Tab until a condition is true of what has the focus."""
    for _ in range(40):
        page.press("Tab")
        if page.evaluate(condition):
            return
    raise AssertionError(f"Tab does not lead to where {condition}")


NEAR_DISC = "Math.abs(red - 40) < 14 && Math.abs(green - 200) < 14 && Math.abs(blue - 60) < 14"
ALL_OF_BOTH, SMALL_ONE = 6500, (600, 1500)
"""Pixels of the discs: 6362 and 1018, less what the edges and the coding take."""


class TestSections:
    """What lies in sections that are closed at first; by the keyboard too."""

    def test_they_are_closed_at_first_and_opened_by_a_key(self, page: Browser) -> None:
        assert page.evaluate("[...document.querySelectorAll('details')].map((one) => one.open)") == [False] * 3
        for section in ("look", "who"):
            self.open(page, section)
            page.wait_for(f"document.getElementById('{section}').open")

    def test_a_soft_edge(self, live: LivePage, page: Browser) -> None:
        self.open(page, "look")
        shows_many(page, NEAR_DISC, ALL_OF_BOTH)
        tab_to(page, "document.activeElement.id === 'feather'")
        page.press("End")
        says(page, "feather-value", "100 px")
        page.wait_for("document.activeElement.getAttribute('aria-valuetext') === '100 px'")
        shows_many(page, NEAR_DISC, 0, 500)
        wait_for(lambda: live.controls.current.composite.feather == 100)
        page.press("Home")
        shows_many(page, NEAR_DISC, ALL_OF_BOTH)

    def test_light_on_the_edge(self, live: LivePage, page: Browser) -> None:
        live.controls.change(bg="#ffffff")
        self.open(page, "look")
        lit = "red > 70 && red < 225 && green > 203"
        shows_many(page, lit, 0, 1000)
        tab_to(page, "document.activeElement.id === 'light_wrap'")
        page.press("End")
        says(page, "light_wrap-value", "100 %")
        shows_many(page, lit, 2500)
        wait_for(lambda: live.controls.current.composite.light_wrap == 1)

    def test_colours_as_the_backgrounds(self, live: LivePage, page: Browser) -> None:
        live.controls.change(bg="#ff0000")
        self.open(page, "look")
        shows_many(page, NEAR_DISC, ALL_OF_BOTH)
        tab_to(page, "document.activeElement.id === 'match_colors'")
        page.press("Space")
        shows_many(page, NEAR_DISC, 0, 500)
        wait_for(lambda: live.controls.current.composite.match_colors)

    def test_a_shadow(self, live: LivePage, page: Browser) -> None:
        live.controls.change(bg="#ffffff")
        self.open(page, "look")
        grey = "red > 120 && red < 225 && Math.abs(red - green) < 12 && Math.abs(green - blue) < 12"
        shows_many(page, grey, 0, 400)
        tab_to(page, "document.activeElement.id === 'shadow'")
        page.press("Space")
        shows_many(page, grey, 1200)
        wait_for(lambda: live.controls.current.composite.shadow)

    def test_a_hint_says_that_light_and_shadow_need_a_background(self, live: LivePage, page: Browser) -> None:
        open_sections(page)
        assert page.evaluate("byId('look-hint').hidden")
        live.controls.change(bg=None)
        page.wait_for("!byId('look-hint').hidden")

    def test_what_the_network_is_unsure_of(self, live: LivePage, page: Browser) -> None:
        ghost = "green > 30 && green < 120 && blue > 130 && blue < 235 && red < 110"
        self.open(page, "who")
        shows_many(page, ghost, 0, 300)
        tab_to(page, "document.activeElement.id === 'gate'")
        page.press("Space")
        shows_many(page, ghost, 600)
        assert not live.controls.current.smooth.gate
        page.press("Space")
        shows_many(page, ghost, 0, 300)

    def test_who_stays(self, live: LivePage, page: Browser) -> None:
        self.open(page, "who")
        shows(page, DISC, AT_SMALL_DISC)
        tab_to(page, "document.activeElement.id === 'subject'")
        page.press("ArrowDown")
        shows(page, (0, 0, 255), AT_SMALL_DISC)
        wait_for(lambda: live.controls.current.smooth.subject == "largest")
        kept = awaited(live, lambda settings: settings.smooth.keep == (0.5, 0.5))
        for _ in range(2):
            page.press("ArrowDown")
        assert kept()
        for slider in ("across", "down"):
            tab_to(page, f"document.activeElement.id === '{slider}'")
            page.press("End")
        shows(page, DISC, AT_SMALL_DISC)
        shows_many(page, NEAR_DISC, *SMALL_ONE)
        wait_for(lambda: live.controls.current.smooth.keep == (1, 1))
        tab_to(page, "document.activeElement.id === 'subject'")
        page.press("Home")
        shows_many(page, NEAR_DISC, ALL_OF_BOTH)
        assert (live.controls.current.smooth.subject, live.controls.current.smooth.keep) == ("all", None)

    def test_a_click_in_the_picture(self, live: LivePage, page: Browser) -> None:
        live.controls.change(keep=(0.5, 0.5))
        open_sections(page)
        page.wait_for("!byId('keep-mark').hidden")
        box = page.evaluate("""(() => {
          const box = pictureBox();
          return [box.frame.left + box.left, box.frame.top + box.top, box.width, box.height];
        })()""")
        x_px, y_px = (start + size * at for start, size, at in zip(box, box[2:], (0.925, 0.86), strict=False))
        page.click(x_px, y_px)
        shows_many(page, NEAR_DISC, *SMALL_ONE)
        wait_for(lambda: live.controls.current.smooth.keep == pytest.approx((0.925, 0.86), abs=0.011))
        mark = page.evaluate("""(() => {
          const at = byId("keep-mark").getBoundingClientRect();
          return [at.left + at.width / 2, at.top + at.height / 2];
        })()""")
        assert mark == pytest.approx([x_px, y_px], abs=6)

    def test_what_others_change_is_shown(self, live: LivePage, page: Browser) -> None:
        live.controls.change(feather=30, shadow=True, subject="centre", gate=False)
        page.wait_for("byId('feather').value === '30' && byId('feather-value').textContent === '30 px'")
        page.wait_for("byId('shadow').checked && !byId('gate').checked && byId('subject').value === 'centre'")

    def test_a_slider_that_is_being_moved_is_not_set_back(self, live: LivePage, page: Browser) -> None:
        moved = awaited(live, lambda settings: settings.composite.feather == 50)
        page.evaluate("""(() => {
          byId("feather").value = 50;
          byId("feather").dispatchEvent(new Event("input"));
          showUnlessChanging(shown);  // as when the server tells of something else just then
        })()""")
        assert moved()

    @staticmethod
    def open(page: Browser, section: str) -> None:
        tab_to(page, f"document.activeElement.parentElement.id === '{section}'")
        page.press("Enter")


def open_sections(page: Browser) -> None:
    page.evaluate("for (const section of document.querySelectorAll('details')) section.open = true")


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
    def test_axe_finds_no_serious_fault(self, live: LivePage, page: Browser, width_px: int, scheme: str) -> None:
        if not AXE.is_file():
            pytest.skip("axe-core is not installed: npm install --no-save axe-core")
        page.show_as(width_px, 900, scheme)
        live.controls.change(keep=(0.5, 0.5))
        page.wait_for("byId('subject').value === 'place'")
        open_sections(page)
        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run().then((results) => results.violations)")
        page.show_as(1440, 900, "light")
        faults = [(one["id"], [node["html"] for node in one["nodes"]]) for one in found if one["impact"] in SERIOUS]
        assert faults == []

    @pytest.mark.parametrize("width_px", WIDTHS_PX)
    def test_nothing_sticks_out(self, live: LivePage, page: Browser, width_px: int) -> None:
        page.show_as(width_px, 900, "light")
        live.controls.change(keep=(0.5, 0.5), bg="gradient:red,blue")
        page.wait_for("byId('subject').value === 'place'")
        open_sections(page)
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
