from __future__ import annotations

import math
import tracemalloc
from collections import deque
from itertools import pairwise

import cv2
import numpy as np
import pytest

from train.metrics.clip import ColourMeter, EntranceMeter, MatteMeter, TrailMeter
from train.metrics.matting import connectivity_error, gradient_error, gradient_magnitude, unknown_band
from train.metrics.temporal import estimated_flow, motion_error

Array = np.ndarray


def soft(seed: int, height: int = 22, width: int = 27) -> Array:
    """A random soft matte in [0, 1] at the levels of 8 bits, with empty and full regions."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, (height, width)), (0, 0), 2.5)
    levels = np.clip(noise / noise.std() * 160 + 128, 0, 255).astype(np.uint8)
    return levels.astype(np.float32) / np.float32(255)


def levels(*rows: list[int]) -> Array:
    return np.array(rows, np.uint8)


def scores_of(mattes: list[Array], truths: list[Array], flow: Array | None = None) -> dict[str, float]:
    meter = MatteMeter()
    for index, (matte, truth) in enumerate(zip(mattes, truths, strict=True)):
        meter.add(matte, truth, flow if index else None)
    return meter.scores()


def slow_gradient(alpha: Array) -> Array:
    """The gradient's magnitude by sums over the filters' taps, the picture's edge repeated."""
    radius, sigma = 4, 1.4
    taps = range(-radius, radius + 1)
    smooth = {x: math.exp(-(x * x) / (2 * sigma * sigma)) for x in taps}
    slope = {x: x * smooth[x] for x in taps}
    norm = math.sqrt(sum((slope[x] * smooth[y]) ** 2 for x in taps for y in taps))
    height, width = alpha.shape
    out = np.zeros(alpha.shape)
    for row in range(height):
        for column in range(width):
            across = down = 0.0
            for y in taps:
                for x in taps:
                    value = float(alpha[min(max(row + y, 0), height - 1), min(max(column + x, 0), width - 1)])
                    across += value * slope[x] * smooth[y] / norm
                    down += value * smooth[x] * slope[y] / norm
            out[row, column] = math.hypot(across, down)
    return out


def slow_largest_component(mask: Array) -> set[tuple[int, int]]:
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    best: set[tuple[int, int]] = set()
    for start in sorted(left):
        if start not in left:
            continue
        left.discard(start)
        found, waiting = {start}, deque([start])
        while waiting:
            row, column = waiting.popleft()
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if near in left:
                    left.discard(near)
                    found.add(near)
                    waiting.append(near)
        best = found if len(found) > len(best) else best
    return best


def slow_connectivity_error(alpha: Array, truth: Array) -> Array:
    regions = [
        slow_largest_component((np.rint(alpha * 255) * 10 >= 255 * step) & (np.rint(truth * 255) * 10 >= 255 * step))
        for step in range(1, 11)
    ]
    out = np.zeros(alpha.shape)
    for place in np.ndindex(alpha.shape):
        level = 0
        while level < 10 and place in regions[level]:
            level += 1
        degrees = []
        for matte in (alpha, truth):
            distance = float(matte[place]) - level / 10
            degrees.append(1 - distance if distance >= 0.15 - 1e-6 else 1.0)
        out[place] = abs(degrees[0] - degrees[1])
    return out


def test_hand_worked_mad_mse_and_dtssd() -> None:
    truth = [levels([255, 0]), levels([255, 0])]
    matte = [levels([255, 51]), levels([204, 51])]  # errors 0, .2 and then -.2, .2
    scores = scores_of(matte, truth)
    assert scores["all.mad"] == pytest.approx(1e3 * (0.1 + 0.2) / 2)
    assert scores["all.mse"] == pytest.approx(1e3 * (0.02 + 0.04) / 2)
    assert scores["all.dtssd"] == pytest.approx(1e2 * math.sqrt(0.04 / 2))
    assert scores["all.iou"] == 1
    assert math.isnan(scores["band.mad"]) and math.isnan(scores["band.grad"])
    assert "all.messddt" not in scores  # no motion is known


def test_hand_worked_messddt_follows_the_motion() -> None:
    still, right = np.zeros((1, 3, 2), np.float32), np.zeros((1, 3, 2), np.float32)
    right[..., 0] = 1
    truth = [levels([0, 0, 0])] * 2
    matte = [levels([51, 0, 0]), levels([0, 51, 0])]  # an error of .2 that moves by a pixel
    assert scores_of(matte, truth, still)["all.messddt"] == pytest.approx(1e3 * 0.08 / 3)
    assert scores_of(matte, truth, right)["all.messddt"] == pytest.approx(0, abs=1e-6)  # the third pixel leaves


def test_the_band_is_judged_alone() -> None:
    truth = np.zeros((100, 100), np.uint8)
    truth[50, 50] = 128
    band = unknown_band(truth)  # 1 % of the diagonal: a disc of one pixel's radius
    assert sorted(map(tuple, np.argwhere(band))) == [(49, 50), (50, 49), (50, 50), (50, 51), (51, 50)]
    matte = truth.copy()
    matte[49, 50], matte[0, 0] = 255, 255
    scores = scores_of([matte], [truth])
    assert scores["band.mad"] == pytest.approx(1e3 / 5)
    assert scores["all.mad"] == pytest.approx(1e3 * 2 / 10_000)
    assert 0 < scores["band.grad"] < scores["all.grad"]
    assert scores["band.conn"] < scores["all.conn"]


def test_the_gradient_of_a_ramp_by_hand() -> None:
    ramp = np.tile(np.arange(30, dtype=np.float32) / 100, (30, 1))
    taps = np.arange(-4, 5)
    smooth = np.exp(-(taps**2) / (2 * 1.4**2))
    slope = taps * smooth
    expected = 0.01 * (taps * slope).sum() * smooth.sum() / np.linalg.norm(np.outer(smooth, slope))
    np.testing.assert_allclose(gradient_magnitude(ramp)[4:-4, 4:-4], expected, rtol=1e-4)
    np.testing.assert_allclose(gradient_error(ramp, 0 * ramp)[4:-4, 4:-4], expected**2, rtol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_against_a_slow_computation(seed: int) -> None:
    alpha, truth = soft(seed), soft(seed + 10)
    np.testing.assert_allclose(gradient_magnitude(alpha), slow_gradient(alpha), atol=2e-6)
    difference = slow_gradient(alpha) - slow_gradient(truth)
    np.testing.assert_allclose(gradient_error(alpha, truth), difference**2, atol=1e-5)


def test_hand_worked_connectivity() -> None:
    """Two solid blobs of which the matte has one: each pixel of the other is off by its whole alpha."""
    truth, matte = np.zeros((5, 9), np.float32), np.zeros((5, 9), np.float32)
    truth[1:4, 1:4] = truth[1:4, 6:8] = matte[1:4, 1:4] = 1
    error = connectivity_error(matte, truth)
    assert error.sum() == pytest.approx(6)
    assert (error > 0).sum() == 6
    faint = np.where(matte > 0, 1, np.where(truth > 0, np.float32(0.1), 0)).astype(np.float32)
    assert connectivity_error(matte, np.maximum(matte, faint)).sum() == 0  # .1 above its level is forgiven


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_connectivity_against_a_slow_computation(seed: int) -> None:
    alpha, truth = soft(seed), soft(seed + 10)
    np.testing.assert_allclose(connectivity_error(alpha, truth), slow_connectivity_error(alpha, truth), atol=1e-6)


def test_temporal_figures_against_slow_computations() -> None:
    rng = np.random.default_rng(0)
    mattes, truths = ([np.rint(soft(seed) * 255).astype(np.uint8) for seed in range(at, at + 3)] for at in (0, 10))
    flow = rng.integers(-24, 25, (*mattes[0].shape, 2)).astype(np.float32) / 8  # OpenCV reads at 32nds of a pixel
    errors = [(matte.astype(float) - truth) / 255 for matte, truth in zip(mattes, truths, strict=True)]
    height, width = mattes[0].shape
    derivative, motion = [], []
    for now, after in pairwise(errors):
        changes, squares = [], []
        for row, column in np.ndindex(height, width):
            changes.append((after[row, column] - now[row, column]) ** 2)
            x, y = column + float(flow[row, column, 0]), row + float(flow[row, column, 1])
            if 0 <= x <= width - 1 and 0 <= y <= height - 1:
                left, top = min(int(x), width - 2), min(int(y), height - 2)
                a, b = x - left, y - top
                upper = (1 - a) * after[top, left] + a * after[top, left + 1]
                lower = (1 - a) * after[top + 1, left] + a * after[top + 1, left + 1]
                squares.append(abs(now[row, column] ** 2 - ((1 - b) * upper + b * lower) ** 2))
        derivative.append(math.sqrt(sum(changes) / len(changes)))
        motion.append(sum(squares) / len(squares))
    scores = scores_of(mattes, truths, flow)
    assert scores["all.dtssd"] == pytest.approx(1e2 * sum(derivative) / 2, rel=1e-5)
    assert scores["all.messddt"] == pytest.approx(1e3 * sum(motion) / 2, rel=1e-4)


def test_motion_out_of_the_picture_does_not_count() -> None:
    flow = np.full((2, 3, 2), (1.0, 0.0), np.float32)
    _, inside = motion_error(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32), flow)
    np.testing.assert_array_equal(inside, [[True, True, False]] * 2)


def test_motion_is_estimated_where_it_is_not_known() -> None:
    texture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (96, 128)).astype(np.float32), (0, 0), 2)
    texture = np.clip((texture - texture.mean()) * 5 + 128, 0, 255).astype(np.uint8)
    flow = estimated_flow(texture, np.roll(texture, 3, axis=1))
    np.testing.assert_allclose(np.median(flow[10:-10, 10:-10], axis=(0, 1)), (3, 0), atol=0.2)


def test_masks_have_no_grad() -> None:
    meter = MatteMeter(binary=True)
    meter.add(levels([255, 0]), levels([255, 0]), None)
    assert "all.grad" not in meter.scores()


def test_mattes_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        MatteMeter().add(levels([0, 0]), levels([0]), None)


def test_colour_errors_by_hand() -> None:
    meter, where = ColourMeter(), np.array([[True, False]])
    truth = np.zeros((1, 2, 3), np.uint8)
    made = np.array([[[51, 0, 0], [255, 255, 255]]], np.uint8)
    meter.add("band.composite", made, truth, where)
    meter.add("band.composite", truth, truth, where)
    meter.add("band.composite", made, truth, ~(where | ~where))  # a frame without such pixels counts for nothing
    assert meter.scores() == {"band.composite": pytest.approx(1e3 * (0.2 / 3) / 2)}


def squares(count: int, step_px: int) -> list[Array]:
    truths = []
    for index in range(count):
        truth = np.zeros((40, 200), np.uint8)
        truth[10:30, 10 + step_px * index : 30 + step_px * index] = 255
        truths.append(truth)
    return truths


@pytest.mark.parametrize(("kept", "frames"), [((), 0), ((128,), 1), ((128, 64), 2), ((20,), 0)])
def test_a_trail_is_as_long_as_it_is(kept: tuple[int, ...], frames: int) -> None:
    truths, meter = squares(6, 25), TrailMeter()
    for index, truth in enumerate(truths):
        matte = truth.copy()
        for age, level in enumerate(kept, start=1):
            if index >= age:
                matte = np.maximum(matte, np.where(truths[index - age] > 0, level, 0)).astype(np.uint8)
        meter.add(matte, truth)
    scores = meter.scores()
    assert scores["trail_frames"] == frames
    for age, level in enumerate((*kept, 0), start=1):
        assert scores[f"trail_{age}"] == pytest.approx(level / 255)


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize("seen", [1.0, 0.5])
def test_the_delay_of_an_entrance(delay: int, seen: float) -> None:
    """A network that sees only half of the person is no slower for it."""
    meter = EntranceMeter(24)
    full = np.full((4, 4), 255, np.uint8)
    for index in range(24):
        matte = (full * seen if index >= 8 + delay else 0 * full).astype(np.uint8)
        meter.add(matte, full if index >= 8 else 0 * full)
    assert meter.scores()["entrance_seconds"] == pytest.approx(delay / 24)


def test_nobody_comes_in() -> None:
    meter = EntranceMeter(24)
    meter.add(levels([0, 0]), levels([0, 0]))
    assert math.isnan(meter.scores()["entrance_seconds"])


def test_memory_does_not_grow_with_the_clip() -> None:
    matte, truth = (np.rint(soft(seed, 60, 80) * 255).astype(np.uint8) for seed in (0, 1))
    flow = np.zeros((60, 80, 2), np.float32)
    meters = MatteMeter(), TrailMeter()

    def held_after(frames: int) -> int:
        for _ in range(frames):
            meters[0].add(matte, truth, flow)
            meters[1].add(matte, truth.copy())
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        held = held_after(8)
        assert held_after(24) < held + matte.nbytes
    finally:
        tracemalloc.stop()
