"""What a frame costs, counted and not timed: calls of the network, conversions, memory that stays."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from streamseg import yuv as planes
from streamseg.frames import Frame, VideoInfo
from streamseg.pipeline import run
from streamseg.settings import Settings, load_settings
from streamseg.sink.base import BaseSink
from streamseg.workspace import workspace
from streamseg.yuv import YuvImage
from tests.synthetic import DiscEngine, ListSource, frames, picture

WIDTH_PX, HEIGHT_PX = 320, 180
FRAME_BYTES = WIDTH_PX * HEIGHT_PX * 3


class Discarding(BaseSink):
    summary = "discarded"

    def write(self, frame: Frame) -> None:
        pass


class Endless(ListSource):
    """Makes each frame when it is asked for; in planes, as a decoder gives them."""

    def __init__(self, count: int) -> None:
        super().__init__(frames(1, WIDTH_PX, HEIGHT_PX))
        self._count = count
        self.info = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(25), Fraction(1, 25), count)

    def __iter__(self) -> Iterator[Frame]:
        for n in range(self._count):
            yield Frame(n, Fraction(n, 25), YuvImage.of(picture(n % 20, WIDTH_PX, HEIGHT_PX)))


def settings(**overrides: Any) -> Settings:
    return load_settings(overrides={"input_size": 128, "bg": "blur", **overrides})


@pytest.mark.parametrize(("stride", "batch_size", "calls"), [(1, 1, 24), (1, 8, 3), (4, 1, 6), (4, 3, 2)])
def test_calls_of_the_network(stride: int, batch_size: int, calls: int) -> None:
    engine = DiscEngine()
    with Discarding() as sink:
        run(Endless(24), engine, sink, settings(stride=stride, batch_size=batch_size))
    assert engine.calls == calls


@pytest.mark.parametrize("stride", [1, 4])
def test_frames_in_planes_are_never_made_rgb_before_a_background(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(YuvImage, "rgb", property(lambda _: made.append(1)))
    with Discarding() as sink:
        run(Endless(12), DiscEngine(), sink, settings(stride=stride))
    assert made == []


@pytest.mark.parametrize("stride", [1, 4])
def test_a_frame_is_brought_to_the_networks_size_once(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the network sees, what motion is found in and what guides the edges are one picture."""
    purposes: list[tuple[object, ...]] = []

    def scaler(*purpose: object) -> VideoReformatter:
        purposes.append(purpose)
        return original(*purpose)

    original = planes._scaler
    monkeypatch.setattr(planes, "_scaler", scaler)
    with Discarding() as sink:
        run(Endless(12), DiscEngine(), sink, settings(stride=stride))
    assert [purpose[1] for purpose in purposes].count(planes.REDUCED_LAYOUT) == 12


@pytest.mark.parametrize("bg", ["blur", "green"])
def test_no_array_of_a_frames_size_is_made_for_a_frame(bg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(frame_count: int) -> int:
        counted: list[int] = []

        def empty(size: int, dtype: type) -> np.ndarray:  # type: ignore[type-arg]
            counted.append(size)
            return np.zeros(size, dtype)

        monkeypatch.setattr("streamseg.workspace.np", SimpleNamespace(empty=empty))
        with Discarding() as sink:
            run(Endless(frame_count), DiscEngine(), sink, settings(bg=bg))
        return len(counted)

    assert made(3) == made(30) > 0


def test_a_thread_has_its_own_scratch_for_every_purpose() -> None:
    here = workspace("one", (4, 5), np.uint8)
    for shape in ((4, 5), (5, 4), (2, 3), (4, 5)):
        again = workspace("one", shape, np.uint8)
        assert again.shape == shape
        assert np.shares_memory(again, here)
    assert workspace("one", (6, 5), np.uint8).shape == (6, 5)
    assert not np.shares_memory(workspace("another", (4, 5), np.uint8), workspace("one", (4, 5), np.uint8))
    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(workspace, "one", (4, 5), np.uint8).result()
    assert not np.shares_memory(elsewhere, workspace("one", (4, 5), np.uint8))


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("bg", ["blur", "green", None])
def test_memory_stays_as_it_is_after_the_first_frames(bg: str | None, stride: int) -> None:
    held: list[int] = []
    tracemalloc.start()
    try:
        with Discarding() as sink:
            run(
                Endless(160),
                DiscEngine(),
                sink,
                settings(bg=bg, stride=stride),
                on_frame=lambda _: held.append(tracemalloc.get_traced_memory()[0]),
            )
    finally:
        tracemalloc.stop()
    # How many frames wait between the stages at a moment varies, by this many at most; nothing else may stay.
    assert max(held[100:]) - max(held[20:80]) < 20 * FRAME_BYTES
