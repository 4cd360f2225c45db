"""Temporal filters: closed forms, what they take out of noise, how fast they follow, and when they start afresh."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from streamseg.decode.images import read_image
from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.settings import SmoothSettings
from streamseg.smooth.filters import ExponentialFilter, Filter, OneEuroFilter, open_filter
from streamseg.smooth.scene_cuts import CutDetector
from streamseg.smooth.stage import smooth
from streamseg.yuv import RgbImage
from tests.conftest import SAMPLES
from tests.synthetic import frames, picture

FRAME_SECONDS = 0.04
EMA = SmoothSettings(smooth="ema", gate=False)
ONE_EURO = SmoothSettings(smooth="one-euro", gate=False)
FILTERS = [EMA, ONE_EURO]


def opened(chosen: SmoothSettings) -> Filter:
    temporal = open_filter(chosen)
    assert temporal
    return temporal


def run_filter(temporal: Filter, values: list[float], elapsed_seconds: float = FRAME_SECONDS) -> list[float]:
    """Feeds single pixels through a filter."""
    return [float(temporal.step(torch.full((1, 1, 1), value), elapsed_seconds)) for value in values]


def batches(mattes: Tensor, sizes: list[int], pictures: list[Frame] | None = None) -> Iterator[Batch]:
    """Mattes `(T, 1, h, w)` in batches of the given sizes, with the moving disc's frames if none are given."""
    items = pictures or frames(len(mattes))
    start = 0
    for size in sizes:
        yield Batch(tuple(items[start : start + size]), mattes[start : start + size])
        start += size


def smoothed(mattes: Tensor, chosen: SmoothSettings, pictures: list[Frame] | None = None) -> Tensor:
    return torch.cat([batch.alpha for batch in smooth(batches(mattes, [1] * len(mattes), pictures), chosen)])


def noise(count: int, seed: int = 0) -> Tensor:
    return torch.rand((count, 1, 8, 8), generator=torch.Generator().manual_seed(seed))


def test_ema_closed_form() -> None:
    """A step from 0 to 1 has reached 1 - exp(-t / tau) after t seconds."""
    found = run_filter(ExponentialFilter(0.05), [0.0] + [1.0] * 6)
    assert found == pytest.approx([1 - math.exp(-n * FRAME_SECONDS / 0.05) for n in range(7)], abs=1e-6)


def test_ema_does_not_depend_on_the_frame_rate() -> None:
    slow = run_filter(ExponentialFilter(0.05), [0.0] + [1.0] * 5, 1 / 25)
    fast = run_filter(ExponentialFilter(0.05), [0.0] + [1.0] * 10, 1 / 50)
    assert fast[::2] == pytest.approx(slow, abs=1e-6)


def test_one_euro_by_hand() -> None:
    """Two steps of algorithm 1 of the paper, written out: rate 25 Hz, cut-off 2 Hz, beta 6, derivative cut-off 1 Hz."""

    def share(cutoff_hz: float) -> float:
        return 1 / (1 + 25 / (2 * math.pi * cutoff_hz))

    speed = share(1) * (0.5 - 0.2) * 25
    first = 0.2 + share(2 + 6 * speed) * (0.5 - 0.2)
    speed += share(1) * ((0.4 - first) * 25 - speed)
    second = first + share(2 + 6 * abs(speed)) * (0.4 - first)
    assert run_filter(OneEuroFilter(2, 6), [0.2, 0.5, 0.4]) == pytest.approx([0.2, first, second], abs=1e-6)


@pytest.mark.parametrize("chosen", FILTERS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_what_stands_still_is_unchanged(chosen: SmoothSettings, value: float) -> None:
    assert run_filter(opened(chosen), [value] * 20) == pytest.approx([value] * 20, abs=1e-6)


@pytest.mark.parametrize(("chosen", "factor"), [(EMA, 1.5), (ONE_EURO, 1.5)])
def test_steady_noise_is_reduced(chosen: SmoothSettings, factor: float) -> None:
    generator = torch.Generator().manual_seed(0)
    noisy = 0.5 + 0.05 * torch.randn((80, 1, 16, 16), generator=generator)
    temporal = opened(chosen)
    calm = torch.stack([temporal.step(alpha, FRAME_SECONDS) for alpha in noisy])
    assert noisy[20:].std() > factor * calm[20:].std()


@pytest.mark.parametrize(
    ("chosen", "frames_later", "reached"), [(ONE_EURO, 1, 0.85), (ONE_EURO, 2, 0.98), (EMA, 4, 0.95)]
)
def test_a_step_is_followed(chosen: SmoothSettings, frames_later: int, reached: float) -> None:
    assert run_filter(opened(chosen), [0.0] * 10 + [1.0] * frames_later)[-1] > reached


def disc_mattes(count: int) -> np.ndarray:  # type: ignore[type-arg]
    """A disc that moves one pixel a frame, `(T, 96, 128)`."""
    mattes = np.zeros((count, 96, 128), np.float32)
    for index, matte in enumerate(mattes):
        cv2.circle(matte, (30 + index, 48), 20, 1, -1, cv2.LINE_AA)
    return mattes


@pytest.mark.parametrize(("chosen", "flicker_left", "lag_px"), [(ONE_EURO, 0.55, 0.25), (EMA, 0.7, 1.0)])
def test_a_noisy_moving_disc_flickers_less_and_stays_in_place(
    chosen: SmoothSettings, flicker_left: float, lag_px: float
) -> None:
    """Flicker: mean change of the error from frame to frame. Lag: how far the clean disc's centre stays behind."""
    true = disc_mattes(50)
    noisy = np.clip(true + np.random.default_rng(0).normal(0, 0.08, true.shape), 0, 1).astype(np.float32)

    def smoother(mattes: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        temporal = opened(chosen)
        return np.stack([temporal.step(torch.from_numpy(m)[None], FRAME_SECONDS)[0].numpy() for m in mattes])

    def flicker(mattes: np.ndarray) -> float:  # type: ignore[type-arg]
        return float(np.abs(np.diff(mattes - true, axis=0))[10:].mean())

    def centre_px(matte: np.ndarray) -> float:  # type: ignore[type-arg]
        return float((matte.sum(0) * np.arange(128)).sum() / matte.sum())

    assert flicker(smoother(noisy)) < flicker_left * flicker(noisy)
    assert 0 <= centre_px(true[40]) - centre_px(smoother(true)[40]) < lag_px


@pytest.mark.parametrize("chosen", FILTERS)
def test_reset_forgets_everything(chosen: SmoothSettings) -> None:
    temporal = opened(chosen)
    fresh = run_filter(temporal, [0.2, 0.9, 0.4])
    temporal.reset()
    assert run_filter(temporal, [0.2, 0.9, 0.4]) == fresh


def scenes() -> list[Frame]:
    """Four frames of the disc, then four of another scene."""
    other = [Frame(i, Fraction(i, 25), 255 - picture(i)) for i in range(4, 8)]
    return frames(4) + other


@pytest.mark.parametrize("chosen", FILTERS)
def test_a_scene_cut_starts_afresh(chosen: SmoothSettings) -> None:
    mattes = noise(8)
    found = smoothed(mattes, chosen, scenes())
    assert torch.equal(found[4], mattes[4])
    assert torch.equal(found[4:], smoothed(mattes[4:], chosen, scenes()[4:]))
    assert not torch.equal(found[3], mattes[3])


@pytest.mark.parametrize("chosen", FILTERS)
@pytest.mark.parametrize("jump", [Fraction(-1), Fraction(0)])
def test_time_that_stands_still_or_goes_back_starts_afresh(chosen: SmoothSettings, jump: Fraction) -> None:
    mattes, pictures = noise(6), frames(6)
    start = pictures[2].pts + jump
    late = [Frame(f.index, start + (f.index - 3) * Fraction(1, 25), f.pixels) for f in pictures[3:]]
    found = smoothed(mattes, chosen, pictures[:3] + late)
    assert torch.equal(found[3], mattes[3])
    assert not torch.equal(found[4], mattes[4])
    assert found.isfinite().all()


@pytest.mark.parametrize("chosen", FILTERS)
def test_uneven_times_are_taken_into_account(chosen: SmoothSettings) -> None:
    mattes = torch.stack([torch.zeros(1, 8, 8), torch.full((1, 8, 8), 0.1)])
    soon, late = ([frames(1)[0], Frame(1, time, picture(1))] for time in (Fraction(1, 100), Fraction(1)))
    assert smoothed(mattes, chosen, soon)[1].mean() < 0.05
    assert smoothed(mattes, chosen, late)[1].mean() > 0.09


@pytest.mark.parametrize("chosen", FILTERS)
@pytest.mark.parametrize("sizes", [[9], [4, 5], [2, 2, 2, 2, 1]])
def test_batch_size_does_not_show(chosen: SmoothSettings, sizes: list[int]) -> None:
    mattes = noise(9)
    found = list(smooth(batches(mattes, sizes), chosen))
    assert [len(batch.frames) for batch in found] == sizes
    assert torch.equal(torch.cat([batch.alpha for batch in found]), smoothed(mattes, chosen))


@pytest.mark.parametrize("chosen", FILTERS)
def test_the_mattes_that_come_in_are_left_alone(chosen: SmoothSettings) -> None:
    mattes = noise(5)
    before = mattes.clone()
    smoothed(mattes, chosen)
    assert torch.equal(mattes, before)


def test_none_passes_batches_through() -> None:
    given_batches = list(batches(noise(4), [3, 1]))
    passed = list(smooth(given_batches, SmoothSettings(smooth="none", gate=False)))
    assert [batch.frames for batch in passed] == [batch.frames for batch in given_batches]
    assert all(torch.equal(one.alpha, other.alpha) for one, other in zip(passed, given_batches, strict=True))


@settings(max_examples=40, deadline=None)
@given(
    chosen=st.sampled_from(FILTERS),
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12),
    elapsed_seconds=st.floats(1e-4, 10),
)
def test_output_stays_between_the_inputs_since_the_reset(
    chosen: SmoothSettings, values: list[float], elapsed_seconds: float
) -> None:
    for index, found in enumerate(run_filter(opened(chosen), values, elapsed_seconds)):
        seen = values[: index + 1]
        assert min(seen) - 1e-6 <= found <= max(seen) + 1e-6


def cuts(pictures: list[Pixels]) -> list[bool]:
    detector = CutDetector()
    return [detector.is_cut(RgbImage(pixels)) for pixels in pictures]


def portrait(width_px: int = 640, height_px: int = 360, left: int = 0) -> Pixels:
    """A window over the sample photo, enlarged so that there is room to pan."""
    big = cv2.resize(read_image(Path(SAMPLES / "portrait.jpg")), (768, 768))
    return big[100 : 100 + height_px, left : left + width_px].copy()  # type: ignore[return-value]


def test_the_first_frame_is_a_cut() -> None:
    assert cuts([picture(0)]) == [True]


def test_a_hard_cut_is_found() -> None:
    beach = cv2.resize(read_image(SAMPLES / "beach.jpg"), (640, 360)).astype(np.uint8)
    assert cuts([portrait(), portrait(left=2), beach, beach, portrait()]) == [True, False, True, False, True]


def test_a_moving_disc_is_no_cut() -> None:
    assert not any(cuts([picture(index) for index in range(20)])[1:])


def test_a_pan_is_no_cut() -> None:
    """16 px a frame over 640: a full turn of the head in a second and a half."""
    assert not any(cuts([portrait(left=16 * step) for step in range(8)])[1:])


def test_noise_is_no_cut() -> None:
    generator = np.random.default_rng(0)
    noisy = [np.clip(portrait() + generator.normal(0, 30, (360, 640, 3)), 0, 255).astype(np.uint8) for _ in range(4)]
    assert not any(cuts(noisy)[1:])


@pytest.mark.parametrize("size", [(16, 16), (17, 400), (400, 17), (97, 193)])
def test_cuts_are_found_at_any_size(size: tuple[int, int]) -> None:
    dark, bright = (np.full((*size, 3), level, np.uint8) for level in (20, 220))
    assert cuts([dark, dark, bright, bright]) == [True, False, True, False]


def test_the_detector_keeps_no_frame_alive() -> None:
    detector, pixels = CutDetector(), picture(0)
    detector.is_cut(RgbImage(pixels))
    assert detector._last is not None
    assert not np.shares_memory(detector._last, pixels)
