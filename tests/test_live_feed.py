"""The feed: the newest frame for every viewer, made once a frame and only when somebody watches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from streamseg.composite.live import LiveCompositor
from streamseg.controls import Controls
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.live.feed import Encoded, Feed, FeedEnded
from streamseg.live.images import as_green_jpeg, as_jpeg, for_webrtc, over_green
from streamseg.live.webrtc import MIN_KEYFRAME_INTERVAL, Vp8Encoder
from streamseg.settings import load_settings
from streamseg.yuv import YuvImage, to_rgb
from tests.synthetic import DISC, WALL, frames, picture, true_alpha
from tests.waiting import WAIT_SECONDS


class Counted:
    """Encodes a frame as its index, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frame: Frame) -> int:
        self.calls += 1
        return frame.index


def on_a_loop(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, WAIT_SECONDS))


def test_nothing_is_made_without_viewers() -> None:
    async def work() -> None:
        feed, encode = Feed(asyncio.get_running_loop()), Counted()
        encoded = Encoded(feed, encode)
        for frame in frames(5):
            feed.put(frame)
        await asyncio.sleep(0)
        assert encode.calls == 0
        with encoded.watched() as viewer:
            assert await viewer.next() == 4
        assert (encode.calls, feed.frames, feed.lost) == (1, 5, 0)

    on_a_loop(work())


def test_a_frame_is_made_once_for_all_viewers() -> None:
    async def work() -> None:
        feed, encode = Feed(asyncio.get_running_loop()), Counted()
        encoded = Encoded(feed, encode)
        with encoded.watched() as one, encoded.watched() as other:
            for frame in frames(3):
                waiting = asyncio.gather(one.next(), other.next())
                await asyncio.sleep(0)
                feed.put(frame)
                assert await waiting == [frame.index, frame.index]
        assert encode.calls == 3

    on_a_loop(work())


def test_a_slow_viewer_loses_frames_and_they_are_counted() -> None:
    async def work() -> None:
        feed = Feed(asyncio.get_running_loop())
        encoded = Encoded(feed, Counted())
        with encoded.watched() as quick, encoded.watched() as slow:
            shown = []
            for frame in frames(10):
                feed.put(frame)
                shown.append(await quick.next())
                if frame.index % 9 == 0:
                    shown.append(await slow.next())
        assert shown == [0, 0, *range(1, 9), 9, 9]
        assert feed.lost == 8

    on_a_loop(work())


def test_a_viewer_that_comes_just_when_a_frame_has_been_made() -> None:
    """The event loop goes on, which the other threads cannot see to while it stands."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        executor, may_end = ThreadPoolExecutor(1), threading.Event()
        loop.set_default_executor(executor)
        feed = Feed(loop)

        def encode(frame: Frame) -> int:
            may_end.wait()
            return frame.index

        encoded = Encoded(feed, encode)
        feed.put(frames(1)[0])
        first = asyncio.ensure_future(encoded.newer_than(0))
        for _ in range(3):  # Until the executor has it.
            await asyncio.sleep(0)
        may_end.set()
        executor.submit(int).result()  # The loop has been told of the result, and sees to it before it comes back here.
        await asyncio.sleep(0)
        second = asyncio.ensure_future(encoded.newer_than(0))
        assert await first == await second

    thread = threading.Thread(target=on_a_loop, args=(work(),), daemon=True)
    thread.start()
    thread.join(WAIT_SECONDS)
    assert not thread.is_alive()


def test_the_end_reaches_who_waits() -> None:
    async def work() -> None:
        feed = Feed(asyncio.get_running_loop())
        with Encoded(feed, Counted()).watched() as viewer:
            waiting = asyncio.ensure_future(viewer.next())
            await asyncio.sleep(0)
            feed.end()
            with pytest.raises(FeedEnded):
                await waiting

    on_a_loop(work())


def test_a_failure_reaches_the_viewers_and_the_next_frame_is_tried_again() -> None:
    async def work() -> None:
        feed = Feed(asyncio.get_running_loop())

        def encode(frame: Frame) -> int:
            if frame.index == 0:
                raise ValueError("no such luck")
            return frame.index

        with Encoded(feed, encode).watched() as viewer:
            feed.put(frames(2)[0])
            with pytest.raises(ValueError, match="luck"):
                await viewer.next()
            feed.put(frames(2)[1])
            assert await viewer.next() == 1

    on_a_loop(work())


def decoded(jpeg: bytes) -> Pixels:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB).astype(np.uint8)


class TestForms:
    @pytest.mark.parametrize("form", ["rgb", "yuv", "grey", "rgba"])
    def test_jpeg_of_every_kind_of_frame(self, form: str) -> None:
        rgb, alpha = picture(0), true_alpha(0)
        images: dict[str, Pixels | YuvImage] = {
            "rgb": rgb,
            "yuv": YuvImage.of(rgb),
            "grey": alpha,
            "rgba": np.dstack((rgb, alpha)),
        }
        shown = decoded(as_jpeg(Frame(0, Fraction(0), images[form])))
        assert shown.shape == rgb.shape
        centre = {"grey": (255, 255, 255)}.get(form, DISC)
        assert np.abs(shown[48, 44].astype(int) - centre).max() <= 6
        corner = {"grey": (0, 0, 0), "rgba": (204, 204, 204)}.get(form, WALL)
        assert np.abs(shown[4, 4].astype(int) - corner).max() <= 6

    def test_webrtc_gets_an_image_of_its_own_in_the_matrix_that_browsers_take_it_for(self) -> None:
        for matrix in (Colorspace.ITU709, Colorspace.ITU601):
            own = YuvImage.of(picture(0)).in_matrix(matrix)
            made = for_webrtc(Frame(0, Fraction(0), own))
            assert made.frame is not own.frame
            assert np.abs(to_rgb(made.frame, Colorspace.ITU601)[48, 44].astype(int) - DISC).max() <= 4

    def test_webrtc_is_at_most_1280_wide_with_even_sides(self) -> None:
        assert for_webrtc(Frame(0, Fraction(0), np.zeros((1081, 1921, 3), np.uint8))).shape == (720, 1280, 3)
        assert for_webrtc(Frame(0, Fraction(0), np.zeros((97, 129), np.uint8))).shape == (98, 130, 3)


class TestVp8:
    def test_times_rise_even_where_the_frames_do_not(self) -> None:
        encode = Vp8Encoder()
        made = [encode(Frame(0, Fraction(0), picture(0), captured_seconds=at)) for at in (1.0, 1.0, 0.5, 2.0)]
        assert [one.packet.pts for one in made] == [90_000, 90_001, 90_002, 180_000]
        assert [one.number for one in made] == [1, 2, 3, 4]

    def test_keyframes_come_when_asked_for_but_not_too_often(self) -> None:
        encode = Vp8Encoder()
        keys = []
        for frame in frames(MIN_KEYFRAME_INTERVAL * 2 + 5):
            if frame.index in (1, 2, MIN_KEYFRAME_INTERVAL + 1):
                encode.ask_for_keyframe()
            if encode(replace(frame, captured_seconds=float(frame.pts))).is_keyframe:
                keys.append(frame.index)
        assert keys == [0, MIN_KEYFRAME_INTERVAL, 2 * MIN_KEYFRAME_INTERVAL]

    def test_the_size_may_change(self) -> None:
        encode = Vp8Encoder()
        made = [encode(Frame(0, Fraction(0), picture(0, width, 96))) for width in (128, 128, 160)]
        assert [one.is_keyframe for one in made] == [True, False, True]


class TestGreen:
    @pytest.mark.parametrize("settings", [{"bg": "#0000ff"}, {"bg": None}, {"matte_only": True}, {"bg": "blur"}])
    @pytest.mark.parametrize("yuv", [False, True])
    def test_the_foreground_whatever_the_background(self, settings: dict[str, Any], yuv: bool) -> None:
        rgb = picture(0)
        frame = Frame(0, Fraction(0), YuvImage.of(rgb) if yuv else rgb)
        alpha = (true_alpha(0) / np.float32(255)).astype(np.float32)
        with LiveCompositor(Controls(load_settings(overrides=settings))) as compositor:
            finished = compositor(frame, alpha)
        green = over_green(finished)
        assert np.abs(green[48, 44].astype(int) - DISC).max() <= 3
        assert tuple(green[4, 4]) == (0, 255, 0)
        assert decoded(as_green_jpeg(finished)).shape == rgb.shape

    def test_nothing_of_a_card(self) -> None:
        card = Frame(0, Fraction(0), picture(0), card="paused")
        with LiveCompositor(Controls(load_settings(overrides={"bg": "blur"}))) as compositor:
            compositor(replace(card, card=None), (true_alpha(0) / np.float32(255)).astype(np.float32))
            finished = compositor(card, np.zeros((1, 1), np.float32))
        assert (over_green(finished) == (0, 255, 0)).all()
