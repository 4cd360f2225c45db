"""The live camera: pictures of one size at their times, and cards while it is paused, unwatched, busy or unplugged."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from streamseg.controls import Controls
from streamseg.decode.camera import LiveCamera
from streamseg.decode.capture import CaptureThread, Granted, Pace, Shot
from streamseg.decode.live_image import ToLiveImage
from streamseg.errors import CameraError, InputError
from streamseg.frames import Frame
from streamseg.settings import Settings
from streamseg.yuv import RgbImage, YuvImage
from tests.cameras import Clock, DirectReader, FakeCamera, unplugged
from tests.synthetic import picture
from tests.waiting import WAIT_SECONDS, wait_for


class Stage:
    """A fake camera and a live camera over it, on a clock of their own."""

    def __init__(self, width_px: int = 128, height_px: int = 96) -> None:
        self.clock = Clock()
        self.camera = FakeCamera(width_px, height_px, self.clock)
        self.controls = Controls(Settings())
        self.is_watched, self.is_silent = True, False

    def live(self) -> LiveCamera:
        def read(open_capture: Callable[[], object]) -> DirectReader:
            return DirectReader(open_capture, self.clock, lambda: self.is_silent)  # type: ignore[arg-type]

        return LiveCamera(self.camera, self.controls, lambda: self.is_watched, self.clock, self.clock.sleep, read)

    def until(self, frames: Iterator[Frame], card: str | None, seconds: float = 2) -> Frame:
        """Returns the next frame with these words, which must come in time."""
        began = self.clock.now
        for frame in frames:
            assert self.clock.now - began < seconds, f"{frame.card!r} instead of {card!r}"
            if frame.card == card:
                return frame
        raise AssertionError("the camera ended")


@pytest.fixture
def stage() -> Stage:
    return Stage()


def near(found: np.ndarray, meant: np.ndarray, most: float = 3) -> bool:
    return float(np.abs(found.astype(int) - meant.astype(int)).mean()) < most


class TestPictures:
    def test_size_rate_and_what_was_granted(self, stage: Stage) -> None:
        with stage.live() as live:
            assert (live.info.width_px, live.info.height_px, live.info.rate, live.info.live) == (128, 96, 30, True)
            assert live.granted == "camera Fake: 128x96 at 30 fps, MJPEG"

    def test_times_are_those_of_arrival(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = list(islice(live, 5))
        assert [frame.pts for frame in frames] == [
            pytest.approx(frame.captured_seconds - frames[0].captured_seconds, abs=1e-5) for frame in frames
        ]
        assert [frame.index for frame in frames] == list(range(5))
        assert not stage.camera.is_open

    def test_times_ascend_though_the_clock_stands(self) -> None:
        camera = FakeCamera(clock=Clock())
        with LiveCamera(camera) as live:
            assert all(before.pts < after.pts for before, after in pairwise(islice(live, 5)))

    def test_pictures_stay_in_yuv_and_are_mirrored_when_asked(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            plain = next(frames)
            stage.controls.change(mirror=True)
            flipped = next(frames)
        assert isinstance(plain.image, YuvImage) and isinstance(flipped.image, YuvImage)
        assert near(plain.pixels, picture(1))
        assert near(flipped.pixels, picture(2)[:, ::-1])

    def test_odd_sizes_lose_a_row_and_a_column(self) -> None:
        stage = Stage(131, 97)
        with stage.live() as live:
            assert next(iter(live)).image.shape == (live.info.height_px, live.info.width_px, 3) == (96, 130, 3)

    def test_another_size_after_it_came_back_is_fitted(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            next(frames)
            stage.camera.trouble = unplugged()
            stage.until(frames, "camera unplugged: waiting for it")
            stage.camera.trouble, stage.camera.size = None, (96, 96)
            back = stage.until(frames, None)
        assert back.image.shape == (96, 128, 3)
        assert near(back.pixels[:, 16:112], picture(0, 96, 96), 6)
        assert not back.pixels[:, :16].any() and not back.pixels[:, 112:].any()

    def test_too_small_to_be_matted(self) -> None:
        stage = Stage(12, 12)
        with pytest.raises(InputError, match="Fake is 12x12 px; the smallest"):
            stage.live()
        assert not stage.camera.is_open


class TestStart:
    def test_no_camera_is_one_line(self, stage: Stage) -> None:
        stage.camera.trouble = CameraError("no camera found: plug one in")
        with pytest.raises(CameraError, match=r"^no camera found: plug one in$"):
            stage.live()

    def test_a_camera_that_stays_silent(self, stage: Stage) -> None:
        stage.is_silent = True
        with pytest.raises(CameraError, match="gives no picture within 12 s"):
            stage.live()


class TestCards:
    def test_paused_closes_the_camera_and_shows_cards_at_its_rate(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            next(frames)
            stage.controls.change(paused=True)
            cards = list(islice(frames, 31))
            assert {card.card for card in cards} == {"paused"}
            assert float(cards[-1].pts - cards[0].pts) == pytest.approx(1, abs=0.01)
            assert {card.image.shape for card in cards} == {(96, 128, 3)}
            assert not cards[0].pixels.any()
            assert not stage.camera.is_open
            stage.controls.change(paused=False)
            assert next(frames).card in (None, "the camera starts")
            stage.until(frames, None, 0.2)
        assert stage.camera.opened == stage.camera.closed == 2

    def test_unwatched_it_is_closed_and_cards_are_rare(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            next(frames)
            stage.is_watched = False
            cards = list(islice(frames, 5))
            assert {card.card for card in cards} == {"nobody is watching"}
            assert float(cards[-1].pts - cards[0].pts) == pytest.approx(2, abs=0.2)
            assert not stage.camera.is_open
            stage.is_watched = True
            stage.until(frames, None, 0.2)

    @pytest.mark.parametrize("card", ["paused", "nobody is watching"])
    def test_at_rest_from_the_start_it_is_closed_after_a_look(self, stage: Stage, card: str) -> None:
        stage.is_watched = card == "paused"
        stage.controls.change(paused=stage.is_watched)
        with stage.live() as live:
            assert not stage.camera.is_open
            frames = iter(live)
            assert next(frames).card == card
            stage.is_watched = True
            stage.controls.change(paused=False)
            stage.until(frames, None)
            assert stage.camera.opened == 2

    def test_busy_when_it_is_to_be_opened_again(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            stage.controls.change(paused=True)
            next(frames)
            stage.camera.trouble = CameraError("camera Fake is in use by zoom; close it there", "camera in use by zoom")
            stage.controls.change(paused=False)
            stage.until(frames, "camera in use by zoom")
            assert stage.controls.notice == "camera Fake is in use by zoom; close it there"
            stage.camera.trouble = None
            stage.until(frames, None)

    def test_that_it_is_back_is_told_once(self, stage: Stage) -> None:
        controls = stage.controls
        with stage.live() as live:
            frames = iter(live)
            assert next(frames) and controls.notice == ""
            stage.camera.trouble = unplugged()
            stage.until(frames, "camera unplugged: waiting for it")
            assert (controls.notice, controls.is_problem) == ("camera Fake (/dev/video0) is unplugged", True)
            stage.camera.trouble = None
            stage.until(frames, None)
            assert (controls.notice, controls.is_problem) == ("the camera is back", False)
            controls.notice = "blur: 1.25"
            assert next(frames).card is None and controls.notice == "blur: 1.25"

    def test_paused_while_it_is_unplugged(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            stage.camera.trouble = unplugged()
            stage.until(frames, "camera unplugged: waiting for it")
            stage.controls.change(paused=True)
            assert {card.card for card in islice(frames, 60)} == {"paused"}
            stage.camera.trouble = None
            opened = stage.camera.opened
            assert next(frames).card == "paused"
            assert stage.camera.opened == opened

    def test_silent_for_a_while(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            next(frames)
            stage.is_silent = True
            stage.until(frames, "no picture from the camera: waiting for it")
            stage.is_silent = False
            stage.until(frames, None, 0.2)
            assert stage.camera.opened == 1

    def test_silent_for_long_it_is_opened_again(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            next(frames)
            stage.is_silent = True
            began = stage.clock.now
            while stage.clock.now - began < 20:
                next(frames)
            stage.is_silent = False
            stage.until(frames, None)
        assert stage.camera.opened == 2

    def test_lost_and_returned_50_times_it_is_back_within_2_seconds(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            last = next(frames)
            for turn in range(50):
                stage.camera.trouble = unplugged()
                last = stage.until(frames, "camera unplugged: waiting for it", 0.2)
                for card in islice(frames, 1 + 7 * turn % 40):
                    assert card.card == "camera unplugged: waiting for it"
                    assert card.pts > last.pts
                    last = card
                stage.camera.trouble = None
                back = stage.until(frames, None, 2)
                assert back.pts > last.pts
        assert stage.camera.opened == stage.camera.closed == 51

    def test_what_is_no_error_of_the_camera_is_not_hidden(self, stage: Stage) -> None:
        with stage.live() as live:
            frames = iter(live)
            next(frames)
            stage.camera.trouble = ZeroDivisionError()
            with pytest.raises(ZeroDivisionError):
                list(islice(frames, 3))


class GatedCapture:
    """Gives some frames at once; the read after them hangs until it is let go."""

    def __init__(self, count: int, last: Exception | None = None) -> None:
        self.granted = Granted("Gated", 32, 32, Fraction(30), "MJPEG")
        self.left, self.last = count, last
        self.hangs, self.let_go, self.closed = threading.Event(), threading.Event(), threading.Event()

    def read(self) -> Shot:
        if not self.left:
            self.hangs.set()
            assert self.let_go.wait(WAIT_SECONDS)
            if self.last:
                raise self.last
        self.left = max(0, self.left - 1)
        return Shot(av.VideoFrame(32, 32, "yuv420p"), float(self.left))

    def close(self) -> None:
        self.closed.set()


class TestThread:
    def test_the_newest_frame_alone_is_kept(self) -> None:
        capture = GatedCapture(5)
        reader = CaptureThread(lambda: capture)
        assert capture.hangs.wait(WAIT_SECONDS)
        shot = reader.newest(WAIT_SECONDS)
        assert shot and shot.captured_seconds == 0
        assert reader.newest(0) is None
        assert reader.granted == capture.granted
        capture.let_go.set()
        reader.close()
        assert capture.closed.wait(WAIT_SECONDS)

    def test_an_error_comes_after_the_last_frame(self) -> None:
        capture = GatedCapture(1, unplugged())
        reader = CaptureThread(lambda: capture)
        assert capture.hangs.wait(WAIT_SECONDS)
        assert reader.newest(WAIT_SECONDS)
        capture.let_go.set()
        with pytest.raises(CameraError, match="unplugged"):
            reader.newest(WAIT_SECONDS)
        assert capture.closed.wait(WAIT_SECONDS)

    def test_an_opening_that_fails(self) -> None:
        def fail() -> GatedCapture:
            raise unplugged()

        with pytest.raises(CameraError, match="unplugged"):
            CaptureThread(fail).newest(WAIT_SECONDS)

    def test_closing_does_not_wait_for_a_read_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamseg.decode.capture.CLOSE_SECONDS", 0)
        capture = GatedCapture(0)
        reader = CaptureThread(lambda: capture)
        assert capture.hangs.wait(WAIT_SECONDS)
        reader.close()
        assert not capture.closed.is_set()
        capture.let_go.set()
        assert capture.closed.wait(WAIT_SECONDS)

    def test_no_thread_is_left_after_many_losses(self) -> None:
        camera = FakeCamera()
        for _ in range(50):
            reader = CaptureThread(camera)
            assert reader.newest(WAIT_SECONDS)
            reader.close()
        wait_for(lambda: all(thread.name != "streamseg-camera" for thread in threading.enumerate()))
        assert camera.opened == camera.closed == 50

    def test_a_lost_camera_is_let_go_at_once(self) -> None:
        """Decoder and last frames of a camera that was lost do not wait for Python's next search for circles."""

        class Failing(GatedCapture):
            def read(self) -> Shot:
                if self.left:
                    return super().read()
                try:
                    raise av.EOFError(5, "the stream has ended")
                except av.FFmpegError as error:
                    raise unplugged() from error

        gc.collect()
        gc.disable()
        try:
            capture = Failing(1)
            camera = weakref.ref(capture)
            reader = CaptureThread(partial(lambda opened: opened.pop(), [capture]))
            del capture
            with suppress(CameraError):
                while True:
                    reader.newest(WAIT_SECONDS)
            reader.close()
            wait_for(lambda: camera() is None, "the lost camera is still held")
        finally:
            gc.enable()


class TestPace:
    def test_blocks_are_spread_and_a_jump_begins_anew(self) -> None:
        clock = Clock()
        pace = Pace(clock, clock.sleep)
        arrivals = []
        for pts in (0, 0.04, 0.08, 5.0, 5.04, 1.0, 1.04):
            pace.wait_for(pts)
            arrivals.append(round(clock.now - 1000, 3))
        assert arrivals == [0, 0.04, 0.08, 0.08, 0.12, 0.12, 0.16]

    def test_a_late_frame_does_not_wait(self) -> None:
        clock = Clock()
        pace = Pace(clock, clock.sleep)
        pace.wait_for(0)
        clock.now += 0.5
        pace.wait_for(0.04)
        assert clock.now == 1000.5


class TestImages:
    @pytest.mark.parametrize("layout", ["yuv420p", "yuvj422p", "yuyv422", "nv12", "bgr24", "yuvj420p", "yuv444p"])
    def test_colours_of_every_format(self, layout: str) -> None:
        rgb = picture(3, 128, 96)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
            format=layout, dst_colorspace=None if layout == "bgr24" else Colorspace.ITU601
        )
        frame.colorspace = int(Colorspace.ITU601)
        image = ToLiveImage(128, 96)(frame)
        assert near(image.rgb, rgb)
        assert image.frame.color_range in (int(ColorRange.MPEG), int(ColorRange.UNSPECIFIED))

    def test_a_frame_that_fits_is_not_copied(self) -> None:
        frame = av.VideoFrame(128, 96, "yuv420p")
        assert ToLiveImage(128, 96)(frame).frame is frame

    @pytest.mark.parametrize(
        ("size", "inner"), [((256, 192), (96, 128)), ((96, 192), (96, 48)), ((128, 48), (48, 128))]
    )
    def test_another_size_keeps_its_proportions(self, size: tuple[int, int], inner: tuple[int, int]) -> None:
        white = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 255, np.uint8), format="rgb24")
        rgb = ToLiveImage(128, 96)(white).rgb
        bright = rgb.min(axis=2) > 250
        assert (bright.any(axis=1).sum(), bright.any(axis=0).sum()) == inner
        assert rgb.shape == (96, 128, 3)

    def test_mirrored_swaps_left_and_right_of_every_kind(self) -> None:
        rgb = picture(2, 70, 50)
        yuv = YuvImage.of(rgb)
        flipped = yuv.mirrored()
        assert isinstance(flipped, YuvImage)
        for plane, original in zip(flipped.planes, yuv.planes, strict=True):
            assert np.array_equal(plane, original[:, ::-1])
        for pixels in (rgb, rgb[..., 0], np.dstack([rgb, rgb[..., 0]])):
            assert np.array_equal(RgbImage(pixels).mirrored().pixels, pixels[:, ::-1])
