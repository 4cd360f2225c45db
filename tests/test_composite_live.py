"""Compositing of a live run: changes of the look, and cards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamseg.composite.live import FADE_SECONDS, LiveCompositor, composite_live, draw_card
from streamseg.controls import Controls
from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.live.watch import FileWatcher
from streamseg.settings import load_settings
from streamseg.yuv import RgbImage, YuvImage
from tests.synthetic import WALL, frames, picture, true_alpha

RED, LIME, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def captured(count: int) -> list[Frame]:
    return [replace(frame, captured_seconds=100 + float(frame.pts)) for frame in frames(count)]


class Live:
    """A compositor with its controls, given frame after frame."""

    def __init__(self, **values: object) -> None:
        self.controls = Controls(load_settings(overrides=values))
        self.compositor = LiveCompositor(self.controls)
        self.given = iter(captured(200))

    def next(self, card: str | None = None) -> Frame:
        frame = replace(next(self.given), card=card)
        alpha = true_alpha(frame.index).astype(np.float32) / 255
        return self.compositor(frame, alpha)

    def settled(self) -> Frame:
        """The frame after a background that was asked for has been opened and faded in."""
        self.compositor._opener.submit(lambda: None).result()
        return [self.next() for _ in range(int(FADE_SECONDS * 25) + 2)][-1]


@pytest.fixture
def live(request: pytest.FixtureRequest) -> Iterator[Live]:
    opened = Live(**getattr(request, "param", {"bg": "red"}))
    with opened.compositor:
        yield opened


def corner(frame: Frame) -> tuple[int, ...]:
    return tuple(int(level) for level in frame.pixels[2, 2])


def is_near(colour: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return max(abs(one - two) for one, two in zip(colour, other, strict=True)) < 30


def write_film(path: Path, colour: tuple[int, int, int]) -> None:
    """Half a second of one colour."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (128, 96))
    for _ in range(12):
        writer.write(np.full((96, 128, 3), colour[::-1], np.uint8))
    writer.release()


def test_another_background_fades_in_without_a_jump(live: Live) -> None:
    assert corner(live.next()) == RED
    live.controls.change(bg="lime")
    live.next()
    live.compositor._opener.submit(lambda: None).result()
    seen = np.array([corner(live.next()) for _ in range(12)])
    assert tuple(seen[-1]) == LIME
    assert np.diff(seen[:, 1].astype(int)).min() >= 0 and np.diff(seen[:, 1].astype(int)).max() < 60
    assert (seen.sum(axis=1) >= 253).all()  # neither dark nor bright on the way


@pytest.mark.parametrize("values", [{"gate": False}, {"subject": "largest"}, {"keep": (0.2, 0.2)}, {"smooth": "ema"}])
def test_who_is_shown_changes_without_a_jump(live: Live, values: dict[str, object]) -> None:
    """The mattes jump from nothing to all with the change."""

    def next_with(alpha: float) -> tuple[int, ...]:
        return corner(live.compositor(next(live.given), np.full((96, 128), alpha, np.float32)))

    assert next_with(0) == RED
    live.controls.change(**values)
    seen = np.array([next_with(1) for _ in range(12)])
    assert tuple(seen[-1]) == WALL
    assert np.abs(np.diff(seen.astype(int), axis=0)).max() < 60


@pytest.mark.parametrize(
    "values",
    [{"feather": 20}, {"light_wrap": 1.0}, {"match_colors": True}, {"shadow": True}, {"bg": "gradient:red,lime"}],
)
def test_the_look_changes_without_a_jump(live: Live, values: dict[str, object]) -> None:
    alpha = true_alpha(0).astype(np.float32) / 255

    def next_still() -> np.ndarray:  # type: ignore[type-arg]
        frame = next(live.given)
        return live.compositor(replace(frame, image=RgbImage(picture(0))), alpha).pixels.astype(int)

    before = next_still()
    live.controls.change(**values)
    seen = [next_still()]
    live.compositor._opener.submit(lambda: None).result()
    seen += [next_still() for _ in range(12)]
    assert np.abs(seen[-1] - before).max() > 20
    assert max(np.abs(after - one).max() for one, after in pairwise([before, *seen])) < 60


def test_a_background_that_cannot_be_read_leaves_the_one_before_and_says_so(live: Live, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    live.next()
    live.controls.change(bg=str(tmp_path / "bad.jpg"))
    live.next()
    assert corner(live.settled()) == RED
    assert "bad.jpg" in live.controls.notice


def test_after_a_background_that_cannot_be_read_the_look_still_changes(live: Live) -> None:
    live.next()
    live.controls.change(bg="missing.jpg")
    live.settled()
    live.controls.change(matte_only=True)
    live.next()
    assert live.settled().kind == "matte"


def test_the_look_that_was_asked_for_with_a_background_that_cannot_be_read_is_shown(live: Live) -> None:
    live.next()
    live.controls.change(bg="missing.jpg", matte_only=True)
    live.next()
    assert live.settled().kind == "matte"


@pytest.mark.parametrize("left", [None, b"no video"])
def test_a_background_video_that_is_lost_stops_until_it_is_saved_anew(tmp_path: Path, left: bytes | None) -> None:
    path = tmp_path / "bg.avi"
    write_film(path, (250, 0, 0))
    live = Live(bg=str(path))
    with live.compositor, FileWatcher(live.controls, None, lambda: live.controls.current) as watcher:
        assert is_near(corner(live.next()), RED)
        path.unlink()
        if left is not None:
            path.write_bytes(left)
        watcher.look()
        shown = [corner(live.next()) for _ in range(20)]
        assert all(is_near(one, RED) for one in shown)
        assert "bg.avi" in live.controls.notice and live.controls.is_problem
        write_film(path, (0, 0, 250))
        watcher.look()
        live.next()
        assert is_near(corner(live.settled()), BLUE)


def test_the_last_of_several_quick_choices_is_shown(live: Live) -> None:
    for choice in ("lime", "red", "blue"):
        live.controls.change(bg=choice)
        live.next()
    assert corner(live.settled()) == BLUE


def test_a_choice_that_is_taken_back_is_not_shown_when_it_is_open(live: Live) -> None:
    live.next()
    may_open = threading.Event()
    live.compositor._opener.submit(may_open.wait)
    for choice in ("lime", "red"):
        live.controls.change(bg=choice)
        live.next()
    may_open.set()
    assert corner(live.settled()) == RED


def test_the_matte_view_and_no_background(live: Live) -> None:
    live.next()
    live.controls.change(matte_only=True)
    assert live.settled().kind == "matte"
    live.controls.change(matte_only=False, bg=None)
    live.next()
    assert live.settled().kind == "foreground"


def test_a_card_shows_the_last_composite_softened_and_never_the_camera(live: Live) -> None:
    """The frames of a paused camera hold a placeholder; nothing of it, and no edge of the last image, is shown."""
    last = live.next().pixels
    shown = [live.next(card="paused") for _ in range(12)]
    assert np.abs(shown[0].pixels.astype(int) - last).max() < 40  # fades in
    card = shown[-1].pixels
    corner_of_card = card[2, 2]
    assert corner_of_card[0] > 80 and corner_of_card[1:].max() < 40  # red, darkened
    edges = cv2.Laplacian(cv2.cvtColor(card[:30], cv2.COLOR_RGB2GRAY), cv2.CV_32F)
    assert np.abs(edges).max() < 6  # above the words, nothing sharp
    back = [live.next() for _ in range(12)][-1]
    assert corner(back) == RED


def test_a_card_before_any_frame_is_dark(live: Live) -> None:
    assert np.median(live.next(card="camera unplugged").pixels) == 0


def test_the_words_of_a_card_fit(live: Live) -> None:
    black = np.zeros((90, 160, 3), np.uint8)
    card = draw_card(black, "camera Integrated Webcam was unplugged: waiting for it to return")
    columns = np.flatnonzero(card.max(axis=(0, 2)))
    assert len(columns) and columns[0] > 2 and columns[-1] < 157


def test_yuv_stays_yuv() -> None:
    controls = Controls(load_settings(overrides={"bg": "red"}))
    given = [replace(frame, image=YuvImage.of(frame.pixels)) for frame in captured(3)]
    batches = [Batch((frame,), matte(frame)) for frame in given]
    assert all(isinstance(frame.image, YuvImage) for frame in composite_live(batches, controls))


def matte(frame: Frame) -> torch.Tensor:
    alpha: Pixels = true_alpha(frame.index)
    return torch.from_numpy(alpha.astype(np.float32) / 255)[None, None]
