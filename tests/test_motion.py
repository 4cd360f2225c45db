"""Smoothing along the motion: flicker goes, moving edges stay where they are, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch

from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.settings import SmoothSettings
from streamseg.smooth.motion import LOOK_AHEAD, Alpha
from streamseg.smooth.stage import smooth

MOTION = SmoothSettings(smooth="motion", gate=False)
SIZE = 96, 160


def texture(height: int, width: int, seed: int) -> Pixels:
    """Coarse random patches, which optical flow can follow."""
    patches = np.random.default_rng(seed).integers(40, 216, (height // 6 + 1, width // 6 + 1, 3), np.uint8)
    return cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def laid_over(back: Pixels, front: Pixels, alpha: Alpha) -> Pixels:
    return (back + alpha[..., None] * (front.astype(np.float32) - back)).round().astype(np.uint8)


def disc(x: float, size: tuple[int, int] = SIZE, radius: int = 24) -> Alpha:
    matte = np.zeros(size, np.float32)
    cv2.circle(matte, (round(x), size[0] // 2), radius, 1, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(matte, (3, 3), 0).astype(np.float32)


def moving_disc(count: int, step_px: int) -> tuple[list[Frame], Alpha]:
    """A textured disc that moves over a textured background, and its mattes `(T, h, w)`."""
    back, coat = texture(*SIZE, 0), texture(SIZE[0], 3 * SIZE[1], 1)
    frames, mattes = [], []
    for index in range(count):
        x = 40 + step_px * index
        mattes.append(disc(x))
        front = coat[:, SIZE[1] - x : 2 * SIZE[1] - x]
        frames.append(Frame(index, Fraction(index, 25), laid_over(back, front, mattes[-1])))
    return frames, np.stack(mattes)


def smoothed(
    frames: list[Frame],
    mattes: Alpha,
    looks_ahead: bool = True,
    sizes: Iterable[int] = (),
    chosen: SmoothSettings = MOTION,
) -> Alpha:
    """Runs the stage over mattes `(T, h, w)`, in batches of one or of the given sizes."""
    alpha, start, batches = torch.from_numpy(mattes)[:, None], 0, []
    for size in sizes or [1] * len(frames):
        batches.append(Batch(tuple(frames[start : start + size]), alpha[start : start + size]))
        start += size
    return np.concatenate([batch.alpha[:, 0].numpy() for batch in smooth(iter(batches), chosen, looks_ahead)])


def flickering(mattes: Alpha) -> Alpha:
    """Mattes whose right half comes and goes."""
    shaky = mattes.copy()
    strengths = np.random.default_rng(0).uniform(0.3, 1, len(mattes)).astype(np.float32)
    for matte, strength in zip(shaky, strengths, strict=True):
        middle = round(float((matte.sum(0) * np.arange(matte.shape[1])).sum() / matte.sum()))
        matte[:, middle:] *= strength
    return shaky


@pytest.mark.parametrize(("looks_ahead", "left"), [(True, 0.45), (False, 0.6)])
@pytest.mark.parametrize("step_px", [0, 2])
def test_flicker_goes_also_on_what_moves(looks_ahead: bool, left: float, step_px: int) -> None:
    frames, true = moving_disc(24, step_px)
    shaky = flickering(true)
    found = smoothed(frames, shaky, looks_ahead)

    def unrest(mattes: Alpha) -> float:
        return float(np.abs(np.diff(mattes - true, axis=0))[4:].mean())

    assert unrest(found) < left * unrest(shaky)
    assert np.abs(found - true).mean() < np.abs(shaky - true).mean()


@pytest.mark.parametrize(("looks_ahead", "share"), [(True, 0.9), (False, 0.6)])
def test_a_right_matte_stays_right(looks_ahead: bool, share: float) -> None:
    """More so than with a plain filter, which takes less flicker out."""
    frames, true = moving_disc(16, 3)
    plain = smoothed(frames, true, looks_ahead, chosen=SmoothSettings(smooth="one-euro", gate=False))
    assert np.abs(smoothed(frames, true, looks_ahead) - true).mean() < share * np.abs(plain - true).mean()


@pytest.mark.parametrize("looks_ahead", [True, False])
def test_a_hand_that_moves_40_px_a_frame_leaves_no_trail(looks_ahead: bool) -> None:
    """Frames of 640x360 px with mattes of half that size; what the hand has left is empty in the next frame."""
    back, skin = texture(360, 640, 2), np.full((360, 640, 3), (224, 172, 150), np.uint8)
    frames, mattes = [], []
    for index in range(10):
        full = np.zeros((360, 640), np.float32)
        cv2.rectangle(full, (80 + 40 * index, 120), (130 + 40 * index, 360), 1, -1)
        cv2.circle(full, (105 + 40 * index, 110), 38, 1, -1, cv2.LINE_AA)
        frames.append(Frame(index, Fraction(index, 25), laid_over(back, skin, full)))
        mattes.append(cv2.resize(full, (320, 180), interpolation=cv2.INTER_AREA))
    found = smoothed(frames, np.stack(mattes).astype(np.float32), looks_ahead)
    for before, now, made in zip(mattes[3:], mattes[4:], found[4:], strict=False):
        left = (before > 0.9) & (cv2.dilate(now, np.ones((5, 5), np.uint8)) == 0)
        assert made[left].mean() < 0.1
        assert made[now > 0.9].mean() > 0.95


def still_disc(count: int) -> tuple[list[Frame], Alpha]:
    return moving_disc(count, 0)


def test_a_hole_and_an_island_of_a_frame_go() -> None:
    frames, true = still_disc(9)
    given = true.copy()
    given[4, 40:56, 34:50] = 0
    given[4, 20:36, 120:136] = 1
    found = smoothed(frames, given)
    assert found[4, 44:52, 38:46].min() > 0.95
    assert found[4, 24:32, 124:132].max() < 0.05


def test_what_is_sure_counts_more() -> None:
    """Of mattes that say 1 and 0.5 in turn, the sure ones pull the average to their side."""
    frames, true = still_disc(16)
    doubtful = true.copy()
    doubtful[::2, 40:56, 34:50] = 0.5
    assert smoothed(frames, doubtful)[6:10, 46:50, 40:44].min() > 0.9


def test_a_scene_begins_without_the_one_before() -> None:
    frames, true = still_disc(8)
    other = [Frame(frame.index, frame.pts, 255 - frame.pixels) for frame in frames[4:]]
    mattes = np.concatenate([true[:4], np.random.default_rng(0).random((4, *SIZE), np.float32)])
    found = smoothed(frames[:4] + other, mattes)
    assert np.array_equal(found[:4], smoothed(frames[:4], mattes[:4]))
    assert np.array_equal(found[4:], smoothed(other, mattes[4:]))


@pytest.mark.parametrize("jump", [Fraction(-1), Fraction(0)])
def test_time_that_stands_still_or_goes_back_begins_a_scene(jump: Fraction) -> None:
    frames, true = still_disc(6)
    mattes = flickering(true)
    start = frames[2].pts + jump
    late = [Frame(f.index, start + (f.index - 3) * Fraction(1, 25), f.pixels) for f in frames[3:]]
    found = smoothed(frames[:3] + late, mattes, looks_ahead=False)
    assert np.array_equal(found[3], mattes[3])
    assert not np.array_equal(found[4], mattes[4])


def test_a_long_pause_lets_the_new_matte_count() -> None:
    frames, true = still_disc(2)
    mattes = np.stack([true[0], 0.8 * true[0]])
    soon, late = (
        smoothed([frames[0], Frame(1, pts, frames[1].pixels)], mattes, looks_ahead=False)[1]
        for pts in (Fraction(1, 100), Fraction(5))
    )
    assert soon[48, 40] > 0.85
    assert late[48, 40] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("looks_ahead", [True, False])
@pytest.mark.parametrize("sizes", [[9], [4, 5], [2, 2, 2, 2, 1]])
def test_batch_size_does_not_show(sizes: list[int], looks_ahead: bool) -> None:
    frames, true = moving_disc(9, 2)
    mattes = flickering(true)
    assert np.array_equal(smoothed(frames, mattes, looks_ahead, sizes), smoothed(frames, mattes, looks_ahead))


def test_the_number_of_threads_does_not_show() -> None:
    frames, true = moving_disc(9, 2)
    before = cv2.getNumThreads()
    try:
        found = []
        for count in (1, 4):
            cv2.setNumThreads(count)
            found.append(smoothed(frames, flickering(true)))
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(*found)


def test_the_mattes_that_come_in_are_left_alone() -> None:
    frames, true = moving_disc(6, 2)
    before = true.copy()
    smoothed(frames, true)
    assert np.array_equal(true, before)


@pytest.mark.parametrize(("looks_ahead", "ahead"), [(True, LOOK_AHEAD), (False, 0)])
def test_no_more_frames_wait_than_are_looked_ahead(looks_ahead: bool, ahead: int) -> None:
    frames, true = still_disc(12)
    taken = 0

    def batches() -> Iterator[Batch]:
        nonlocal taken
        for frame, matte in zip(frames, true, strict=True):
            taken += 1
            yield Batch((frame,), torch.from_numpy(matte)[None, None])

    for done, batch in enumerate(smooth(batches(), MOTION, looks_ahead), start=1):
        assert batch.frames[0].index == done - 1
        assert taken == min(len(frames), done + ahead)


def test_mattes_of_another_size_begin_anew() -> None:
    """The network's input may change in a live run."""
    frames, true = still_disc(4)
    batches = [Batch((frame,), torch.from_numpy(matte)[None, None]) for frame, matte in zip(frames, true, strict=True)]
    smaller = torch.nn.functional.interpolate(batches[2].alpha, (48, 80))
    batches[2:] = [Batch(batch.frames, smaller) for batch in batches[2:]]
    found = list(smooth(batches, MOTION))
    assert torch.equal(found[2].alpha, smaller)
    assert found[3].alpha.shape == smaller.shape


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (17, 16)])
def test_mattes_of_any_size(size: tuple[int, int]) -> None:
    frames, _ = still_disc(5)
    mattes = np.random.default_rng(0).random((5, *size), np.float32)
    found = smoothed(frames, mattes)
    assert found.shape == mattes.shape
    assert found.min() >= 0
    assert found.max() <= 1
