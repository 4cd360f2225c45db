"""The preview window, its keys and what it draws, on a stand-in for OpenCV's window."""

from __future__ import annotations

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.controls import BLUR_STEP, Controls
from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.settings import Settings, load_settings
from streamseg.sink import SinkClosed, open_sink
from streamseg.sink.display import AROUND_PX, check_display, quieten_toolkit, room_px
from streamseg.sink.overlay import key_list, recording_mark, text_band
from streamseg.sink.window import HELD_FRAMES, KEYS, NOTICE_SECONDS, PreviewWindow, fitted, key_name
from streamseg.statistics import RATE_FRAMES, Statistics
from streamseg.yuv import YuvImage
from tests.fake_window import FakeWindow
from tests.synthetic import picture

INFO = VideoInfo(640, 360)
RIGHT, LEFT = 65363, 65361


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWindow:
    return FakeWindow(monkeypatch)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The window's clock, which stands at its only item."""
    now = [100.0]
    monkeypatch.setattr("streamseg.sink.window.time.monotonic", lambda: now[0])
    return now


def frame(index: int = 0, pixels: Pixels | None = None) -> Frame:
    return Frame(index, Fraction(index, 25), picture(index, 640, 360) if pixels is None else pixels)


def press(window: PreviewWindow, fake: FakeWindow, *keys: str | int) -> None:
    """Presses keys, each after a frame of its own."""
    fake.keys.extend(ord(key) if isinstance(key, str) else key for key in keys)
    while fake.keys:
        window.write(frame())


class TestSize:
    @pytest.mark.parametrize(
        ("size", "room", "expected"),
        [
            ((1280, 720), (1904, 1000), (1280, 720)),
            ((1280, 720), (1008, 520), (924, 520)),
            ((720, 1280), (1008, 520), (292, 520)),
            ((3840, 720), (1008, 520), (1008, 189)),
        ],
    )
    def test_as_large_as_there_is_room_for(
        self,
        size: tuple[int, int],
        room: tuple[int, int],
        expected: tuple[int, int],
        fake: FakeWindow,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("streamseg.sink.window.room_px", lambda: room)
        with PreviewWindow(VideoInfo(*size)):
            assert fake.size == expected

    def test_anamorphic_pixels_are_shown_square(self, fake: FakeWindow) -> None:
        with PreviewWindow(VideoInfo(320, 240, pixel_aspect=Fraction(4, 3))) as window:
            assert fake.size == (427, 240)
            window.write(frame(pixels=picture(0, 320, 240)))
        assert fake.shown[0].shape == (240, 427, 3)

    def test_there_is_no_toolbar(self, fake: FakeWindow) -> None:
        with PreviewWindow(INFO):
            assert fake.flags & cv2.WINDOW_GUI_NORMAL

    @pytest.mark.parametrize("size", [(900, 360), (640, 700), (1, 1), (320, 180)])
    def test_another_size_keeps_the_proportions(self, size: tuple[int, int], fake: FakeWindow) -> None:
        with PreviewWindow(INFO) as window:
            fake.size = size
            window.write(frame(pixels=np.full((360, 640, 3), 200, np.uint8)))
        assert fake.shown[0].shape == (size[1], size[0], 3)
        lit = cv2.boundingRect((fake.shown[0][..., 0] > 100).astype(np.uint8))
        width, height = fitted(640, 360, *size)
        assert lit == ((size[0] - width) // 2, (size[1] - height) // 2, width, height)

    def test_before_it_is_on_the_screen(self, fake: FakeWindow) -> None:
        with PreviewWindow(INFO) as window:
            fake.size = (-1, -1)
            window.write(frame())
        assert fake.shown[0].shape == (360, 640, 3)


class TestPicture:
    @pytest.mark.parametrize("kind", ["rgb", "rgba", "grey", "yuv"])
    def test_any_kind_is_shown_and_left_as_it_was(self, kind: str, fake: FakeWindow) -> None:
        rgb = picture(0, 640, 360)
        image = {
            "rgb": rgb,
            "rgba": np.dstack((rgb, rgb[..., 1])),
            "grey": np.ascontiguousarray(rgb[..., 1]),
            "yuv": YuvImage.of(rgb),
        }[kind]
        given = Frame(0, Fraction(0), image)
        before = given.pixels.copy()
        controls = Controls(Settings())
        controls.change(recording=True)
        controls.notice = "a notice"
        with PreviewWindow(INFO, controls, lambda: "25.0 fps") as window:
            window.help_shown = True
            window.write(given)
        assert np.array_equal(given.pixels, before)
        assert fake.shown[0].shape == (360, 640, 3)

    @pytest.mark.usefixtures("clock")
    def test_figures_notice_and_mark_have_places_of_their_own(self, fake: FakeWindow) -> None:
        controls = Controls(Settings())
        black = np.full((360, 640, 3), 90, np.uint8)
        with PreviewWindow(INFO, controls, lambda: "25.0 fps") as window:
            window.write(frame(pixels=black))
            controls.notice = "saved x.png"
            window.write(frame(pixels=black))
            controls.change(recording=True)
            window.write(frame(pixels=black))
        figures, notice, mark = (changed(*pair) for pair in zip([black, *fake.shown], fake.shown, strict=False))
        assert figures[0] + figures[2] < 320 and figures[1] + figures[3] < 60
        assert notice[1] > 300 and abs(notice[0] + notice[2] / 2 - 320) < 4
        assert mark[0] > 500 and mark[1] + mark[3] < 60
        red, green, blue = fake.shown[-1][10:40, 560:620].astype(int).reshape(-1, 3).T
        assert (red - green - blue).max() > 100

    def test_a_notice_is_shown_for_some_seconds(self, fake: FakeWindow, clock: list[float]) -> None:
        controls = Controls(Settings())
        with PreviewWindow(INFO, controls) as window:
            controls.notice = "saved x.png"
            window.write(frame())
            clock[0] += NOTICE_SECONDS - 1
            window.write(frame())
            clock[0] += 2
            window.write(frame())
        assert not np.array_equal(fake.shown[0], picture(0, 640, 360))
        assert np.array_equal(fake.shown[0], fake.shown[1])
        assert np.array_equal(fake.shown[2], picture(0, 640, 360))

    def test_a_notice_that_comes_again_is_shown_again(self, fake: FakeWindow, clock: list[float]) -> None:
        controls = Controls(Settings())
        with PreviewWindow(INFO, controls) as window:
            for _ in range(2):
                controls.report("no such file: x.png")
                window.write(frame())
                clock[0] += NOTICE_SECONDS + 1
                window.write(frame())
        assert np.array_equal(fake.shown[0], fake.shown[2])
        assert np.array_equal(fake.shown[1], fake.shown[3])
        assert not np.array_equal(fake.shown[0], fake.shown[1])

    def test_figures_are_asked_for_twice_a_second(self, fake: FakeWindow, clock: list[float]) -> None:
        asked: list[str] = []
        with PreviewWindow(INFO, overlay=lambda: asked.append("") or "25.0 fps") as window:
            for _ in range(30):
                window.write(frame())
                clock[0] += 0.1
        assert len(asked) == pytest.approx(6, abs=1)

    def test_the_figures_are_those_of_late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An hour ago the rate was another."""
        statistics = Statistics(started_seconds=0)
        assert statistics.live_text() == "0.0 fps   0 ms   0 dropped"
        for index in range(RATE_FRAMES + 10):
            now = index * 10.0 if index < 10 else 3600 + index / 25
            monkeypatch.setattr("streamseg.statistics.time.monotonic", lambda now=now: now)
            statistics.count(Frame(index, Fraction(index), picture(0), captured_seconds=now - 0.04), dropped=3)
        assert statistics.live_text() == "25.0 fps   40 ms   3 dropped"

    def test_bands_hold_their_text(self) -> None:
        for text in ("25.0 fps", "a" * 300, "cannot read /mnt/" + "folder/" * 40, "Bücher über Köln.jpg"):
            band = text_band(text, 20, 600)
            assert band.width_px <= 600
            letters = cv2.boundingRect((band.ink[..., 0] > 200).astype(np.uint8))
            assert letters[0] >= 5 and letters[0] + letters[2] <= band.width_px - 5
            assert letters[1] >= 5 and letters[1] + letters[3] <= band.height_px - 3

    @pytest.mark.parametrize("height_px", [48, 360, 520, 720, 1080])
    def test_the_list_of_keys_fits(self, height_px: int) -> None:
        panel = key_list(tuple((binding.keys, binding.does) for binding in KEYS), height_px)
        assert panel.height_px <= height_px or height_px == 48
        assert panel.width_px <= height_px * 4 / 3 or height_px == 48

    def test_what_juts_out_is_cut_off(self) -> None:
        image = np.full((20, 20, 3), 200, np.uint8)
        recording_mark(30).lay_over(image, -40, 3)
        assert (image[:3] == 200).all()
        assert not (image == 200).all()
        recording_mark(30).lay_over(image, 100, 100)


def changed(before: Pixels, after: Pixels) -> tuple[int, ...]:
    """Left, top, width and height of what differs."""
    return tuple(cv2.boundingRect(np.abs(before.astype(int) - after).max(-1).astype(np.uint8)))


class TestKeys:
    @pytest.fixture
    def controls(self, tmp_path: Path) -> Controls:
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / name).touch()
        return Controls(load_settings(None, {"bg": "green", "backgrounds": tmp_path}))

    def test_backgrounds(self, controls: Controls, fake: FakeWindow) -> None:
        shown: list[str | None] = []
        with PreviewWindow(INFO, controls) as window:
            for key in (RIGHT, "n", "N", "n", LEFT, "p"):
                press(window, fake, key)
                shown.append(controls.current.composite.bg and Path(controls.current.composite.bg).name)
        assert shown == ["a.jpg", "b.jpg", "blur", "green", "blur", "b.jpg"]
        assert controls.notice == "background: b.jpg"

    def test_blur(self, controls: Controls, fake: FakeWindow) -> None:
        with PreviewWindow(INFO, controls) as window:
            press(window, fake, "+", "=")
            assert controls.current.composite.bg == "blur"
            assert controls.current.composite.blur == pytest.approx(BLUR_STEP**2)
            press(window, fake, "-", "_", "-")
            assert controls.current.composite.blur == pytest.approx(1 / BLUR_STEP)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("m", lambda settings: settings.live.mirror),
            ("v", lambda settings: settings.composite.matte_only),
            (" ", lambda settings: settings.live.paused),
            ("r", lambda settings: settings.live.recording),
        ],
    )
    def test_switches(self, key: str, value, controls: Controls, fake: FakeWindow) -> None:  # type: ignore[no-untyped-def]
        with PreviewWindow(INFO, controls) as window:
            press(window, fake, key)
            assert value(controls.current)
            for _ in range(HELD_FRAMES):
                window.write(frame())
            press(window, fake, key)
            assert not value(controls.current)

    def test_a_switch_that_is_held_down_switches_once(self, controls: Controls, fake: FakeWindow) -> None:
        with PreviewWindow(INFO, controls) as window:
            for _ in range(20):
                press(window, fake, "r", "+")
                press(window, fake, "r")
        assert controls.current.live.recording

    def test_snapshot(self, controls: Controls, fake: FakeWindow) -> None:
        with PreviewWindow(INFO, controls) as window:
            press(window, fake, "s")
        assert controls.take_snapshot_request()

    def test_figures_and_help(self, controls: Controls, fake: FakeWindow, clock: list[float]) -> None:
        with PreviewWindow(INFO, controls, lambda: "25.0 fps") as window:
            press(window, fake, "o")
            window.write(frame())
            assert np.array_equal(fake.shown[-1], picture(0, 640, 360))
            for key in ("h", "?"):
                press(window, fake, key)
                window.write(frame())
                _, _, width, height = changed(fake.shown[-1], picture(0, 640, 360))
                assert (height > 180 and width > 150) == (key == "h")

    @pytest.mark.usefixtures("clock")
    def test_the_list_of_keys_stands_alone(self, controls: Controls, fake: FakeWindow) -> None:
        controls.notice = "saved x.png"
        with PreviewWindow(INFO, controls, lambda: "25.0 fps") as window:
            window.help_shown = True
            window.write(frame())
            window.figures_shown = False
            window.write(frame())
        assert np.array_equal(*fake.shown)

    @pytest.mark.parametrize("key", ["q", "\x1b", "Q", ord("q") + 0x100000])
    def test_quit(self, key: str | int, fake: FakeWindow) -> None:
        with PreviewWindow(INFO) as window:
            press(window, fake, key)
            with pytest.raises(SinkClosed):
                window.write(frame())
        assert not fake.titles

    @pytest.mark.parametrize("visible", [0.0, -1.0, None])
    def test_the_cross_closes_it(self, visible: float | None, fake: FakeWindow) -> None:
        with PreviewWindow(INFO) as window:
            fake.visible = visible
            window.write(frame())
            with pytest.raises(SinkClosed):
                window.write(frame())

    def test_other_keys_do_nothing(self, controls: Controls, fake: FakeWindow) -> None:
        before = controls.current
        with PreviewWindow(INFO, controls) as window:
            press(window, fake, "x", 65505, 0x260000, 200)
            assert not window.is_closed
        assert controls.current == before

    def test_an_error_is_a_notice(self, controls: Controls, fake: FakeWindow, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(name: str) -> Settings:
            raise OutputError("not now")

        monkeypatch.setattr(controls, "toggle", refuse)
        with PreviewWindow(INFO, controls) as window:
            press(window, fake, "m")
        assert controls.notice == "not now"

    def test_without_controls_there_are_the_keys_of_the_window(self, fake: FakeWindow) -> None:
        with open_sink("window", INFO) as window:
            assert isinstance(window, PreviewWindow)
            press(window, fake, "m", "h")
            assert window.help_shown

    def test_no_key_stands_for_two_things(self) -> None:
        keys = [key for binding in KEYS for key in binding.keys]
        assert len(keys) == len(set(keys))

    @pytest.mark.parametrize(
        ("code", "name"),
        [(65363, "Right"), (0x10FF53, "Right"), (0x250000, "Left"), (63235, "Right"), (0x100068, "h"), (0x1003F, "?")],
    )
    def test_names_of_keys_on_each_system(self, code: int, name: str) -> None:
        assert key_name(code) == name


@pytest.mark.skipif(sys.platform != "linux", reason="X11")
class TestDisplay:
    @pytest.fixture(autouse=True)
    def nothing_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_LOGGING_RULES", "QT_QPA_PLATFORM"):
            monkeypatch.delenv(name, raising=False)

    def test_there_is_none(self) -> None:
        with pytest.raises(OutputError, match=r"^no display for the preview window: give --out http "):
            check_display()

    def test_there_is_none_under_that_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DISPLAY", ":6789")
        with pytest.raises(OutputError, match=r"^the display :6789 does not open for .*--out http"):
            open_sink("window", INFO)

    @pytest.mark.parametrize(("framework", "opens"), [("QT5", False), ("GTK3", True)])
    def test_wayland_alone(self, framework: str, opens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
        monkeypatch.setattr(cv2, "currentUIFramework", lambda: framework)
        if opens:
            check_display()
        else:
            with pytest.raises(OutputError, match="no display"):
                check_display()

    def test_room_where_there_is_no_screen(self) -> None:
        assert room_px() == (1280 - AROUND_PX[0], 720 - AROUND_PX[1])

    def test_what_the_user_set_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "platforms").mkdir()
        for name in ("libqxcb.so", "libqoffscreen.so"):
            (tmp_path / "platforms" / name).touch()
        monkeypatch.setenv("QT_QPA_PLATFORM_PLUGIN_PATH", str(tmp_path))
        monkeypatch.setenv("QT_LOGGING_RULES", "qt.*=true")
        for given, kept in {
            "offscreen:size=9": "offscreen:size=9",
            "wayland;xcb": "wayland;xcb",
            "wayland": "xcb",
        }.items():
            monkeypatch.setenv("QT_QPA_PLATFORM", given)
            quieten_toolkit()
            assert os.environ["QT_QPA_PLATFORM"] == kept
        assert os.environ["QT_LOGGING_RULES"] == "qt.*=true"

    @pytest.mark.parametrize("first", ["streamseg", "cv2"])
    def test_opencv_keeps_its_own_libraries(self, first: str) -> None:
        program = f"import {first}, av; from streamseg.sink.display import check_display as c; c()"
        assert "no display" in _last_line(program)

    def test_pyav_first_is_refused(self) -> None:
        program = "import av; from streamseg.sink.display import check_display as c; c()"
        if not any("libxcb-shm" in line for line in _maps_after("import av")):
            pytest.skip("PyAV brings no libraries of X11")
        assert "import streamseg, or cv2, before av" in _last_line(program)


def _last_line(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    return done.stderr.splitlines()[-1]


def _maps_after(program: str) -> list[str]:
    program += "; print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()
