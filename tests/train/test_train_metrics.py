from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.metrics import ImageScores, by_prefix, intersection_over_union, score_image, summarise, with_nulls
from train.metrics.boundary import boundary, relaxed_boundary_f
from train.metrics.enhanced import enhanced_alignment
from train.metrics.fmeasure import f_measure, precision_recall
from train.metrics.haze import haze, holes

ORACLES = Path(__file__).parent / "oracles"
FIGURES: dict[str, dict[str, float]] = json.loads((ORACLES / "figures.json").read_text())["figures"]


def oracle_scores() -> dict[str, ImageScores]:
    maps = np.load(ORACLES / "maps.npz")
    pairs = {name: maps[name] for name in maps.files}
    return {
        name: score_image(index, alpha.astype(np.float32) / 255, mask)
        for index, (name, (alpha, mask)) in enumerate(pairs.items())
    }


@pytest.mark.parametrize("name", FIGURES)
def test_agreement_with_pysodmetrics(name: str) -> None:
    scores = oracle_scores()
    ours = summarise(list(scores.values()) if name == "all" else [scores[name]])
    assert len(FIGURES[name]) == 7
    for key, theirs in FIGURES[name].items():
        assert getattr(ours, key) == pytest.approx(theirs, abs=1e-4), key


def test_hand_worked_scores() -> None:
    alpha = np.array([[1.0, 0.6, 0.2, 0.0]], np.float32)
    scores = summarise([score_image(0, alpha, np.array([[255, 255, 0, 0]], np.uint8))])
    assert scores.mae == pytest.approx((0 + 0.4 + 0.2 + 0) / 4)
    assert scores.max_f == scores.max_f_per_image == pytest.approx(1.0)  # thresholds in (.2, .6] separate the two
    assert scores.iou == 1.0


def test_the_two_conventions_of_max_f() -> None:
    records = [
        score_image(0, np.ones((1, 4), np.float32), np.array([[255, 0, 0, 0]], np.uint8)),  # precision .25, recall 1
        score_image(1, np.array([[1, 0, 0, 0]], np.float32), np.array([[255, 255, 0, 0]], np.uint8)),  # 1, .5
    ]
    scores = summarise(records)
    assert scores.max_f == pytest.approx(1.3 * 0.625 * 0.75 / (0.3 * 0.625 + 0.75))
    assert scores.max_f_per_image == pytest.approx((1.3 * 0.25 / (0.3 * 0.25 + 1) + 1.3 * 0.5 / (0.3 + 0.5)) / 2)
    assert records[1].max_f == pytest.approx(1.3 * 0.5 / (0.3 + 0.5))


def test_precision_recall_and_alignment_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (20, 30)).astype(np.float32)
    alpha = np.where(rng.random((20, 30)) < 0.5, levels / 255, rng.random((20, 30))).astype(np.float32)
    truth = rng.random((20, 30)) < 0.3
    called = [alpha * np.float32(255) >= threshold for threshold in range(256)]
    hits = np.array([(each & truth).sum() for each in called])
    precision, recall = precision_recall(alpha, truth)
    np.testing.assert_allclose(precision, hits / np.maximum([each.sum() for each in called], 1))
    np.testing.assert_allclose(recall, hits / truth.sum())
    ours = enhanced_alignment(alpha, truth)
    for threshold in (0, 40, 128, 255):
        a, b = called[threshold] - called[threshold].mean(), truth - truth.mean()
        aligned = 2 * a * b / (a**2 + b**2 + 1e-16)
        assert ours[threshold] == pytest.approx(((aligned + 1) ** 2 / 4).sum() / (truth.size - 1))


def test_every_grey_level_is_called_at_its_own_threshold() -> None:
    alpha = (np.arange(256) / 255).astype(np.float32)[None]
    _, recall = precision_recall(alpha, np.ones((1, 256), bool))
    np.testing.assert_allclose(recall, (256 - np.arange(256)) / 256)


def test_an_empty_frame_that_stays_empty_is_right() -> None:
    empty = score_image(0, np.zeros((9, 9), np.float32), np.zeros((9, 9), np.uint8))
    ghost = score_image(0, np.full((9, 9), 0.7, np.float32), np.zeros((9, 9), np.uint8))
    assert (empty.mae, empty.iou, empty.boundary_f, empty.s_measure) == (0, 1, 1, 1)
    assert (ghost.mae, ghost.iou) == (pytest.approx(0.7), 0)
    assert f_measure(np.zeros(1), np.zeros(1)) == 0


def test_the_boundary_forgives_three_pixels_and_no_more() -> None:
    truth = np.zeros((60, 60), np.uint8)
    cv2.rectangle(truth, (20, 20), (39, 39), 255, -1)
    scores = [relaxed_boundary_f(np.roll(truth, shift, 1) / np.float32(255), truth > 0) for shift in (0, 3, 4, 9)]
    assert scores[0] == scores[1] == 1
    assert 0.5 < scores[2] < 1
    assert scores[3] < scores[2]


def test_a_boundary_is_one_pixel_wide_and_not_the_pictures_edge() -> None:
    mask = np.zeros((6, 7), bool)
    mask[2:, :] = True
    np.testing.assert_array_equal(np.flatnonzero(boundary(mask).any(axis=1)), [2])
    assert relaxed_boundary_f(np.zeros((6, 7), np.float32), mask) == 0


def test_shares_of_a_set_sum_to_the_last_digit() -> None:
    records = list(oracle_scores().values())
    assert summarise(records) == summarise(records[1::2] + records[::2])


def column_mask(first: int, after: int) -> np.ndarray:
    """30 x 40, so that the diagonal is 50 px: haze counts beyond 2.5 px, holes beyond 1.25 px."""
    mask = np.zeros((30, 40), bool)
    mask[:, first:after] = True
    return mask


def test_haze_counts_further_than_a_twentieth_of_the_diagonal_from_the_mask() -> None:
    mask = column_mask(10, 20)
    alpha = np.zeros((30, 40), np.float32)
    alpha[:, 8:22] = 1  # up to 2 px away
    assert haze(alpha, mask) == 0
    alpha[:, 22] = 0.5  # 3 px away, one of the 8 + 18 columns that are
    assert haze(alpha, mask) == pytest.approx(0.5 / 26)
    point = np.zeros((30, 40), bool)
    point[15, 20] = True  # 21 pixels are within 2.5 px of it: 5 rows of 3, 5, 5, 5, 3
    alpha = np.zeros((30, 40), np.float32)
    alpha[13, 19] = 1  # 2.2 px away
    assert haze(alpha, point) == 0
    alpha[13, 18] = 1  # 2.8 px away
    assert haze(alpha, point) == pytest.approx(1 / (1200 - 21))


def test_holes_count_further_than_a_fortieth_of_the_diagonal_inside() -> None:
    mask = column_mask(10, 20)
    alpha = mask.astype(np.float32)
    alpha[:, [10, 19]] = 0  # 1 px from the background
    assert holes(alpha, mask) == 0
    alpha[:15, 11] = 0.2  # 2 px from it, in half of one of the 8 columns that are
    assert holes(alpha, mask) == pytest.approx(0.8 / 16)


def test_the_pictures_border_is_no_edge_of_a_mask() -> None:
    mask, alpha = column_mask(0, 20), np.ones((30, 40), np.float32)
    alpha[:, 0] = 0
    assert holes(alpha, mask) == pytest.approx(1 / 19)


def test_an_empty_mask_is_far_everywhere_and_a_full_one_deep_everywhere() -> None:
    alpha, empty = np.full((30, 40), 0.25, np.float32), np.zeros((30, 40), bool)
    assert haze(alpha, empty) == pytest.approx(0.25)
    assert holes(alpha, ~empty) == pytest.approx(0.75)
    assert math.isnan(holes(alpha, empty))
    assert math.isnan(haze(alpha, ~empty))


def test_images_without_far_or_deep_pixels_do_not_count() -> None:
    alpha = np.full((30, 40), 0.25, np.float32)
    empty, full, half = (
        np.zeros((30, 40), np.uint8),
        np.full((30, 40), 255, np.uint8),
        column_mask(0, 20) * np.uint8(255),
    )
    scores = summarise([score_image(index, alpha, mask) for index, mask in enumerate((empty, full, half))])
    assert (scores.haze, scores.holes) == (pytest.approx(0.25), pytest.approx(0.75))
    assert str(summarise([score_image(0, alpha, full)])).endswith("haze -  holes 0.7500  (1 images)")
    assert with_nulls({"haze": math.nan, "mae": 0.5}) == {"haze": None, "mae": 0.5}


def test_empty_rooms_are_judged_by_their_mean_alpha() -> None:
    rng = np.random.default_rng(1)
    alphas = [rng.random((30, 40), np.float32) * share for share in (0, 0.3, 1)]
    scores = summarise([score_image(n, alpha, np.zeros((30, 40), np.uint8)) for n, alpha in enumerate(alphas)])
    assert scores.mae == pytest.approx(np.mean(alphas), abs=1e-6)
    assert scores.haze == pytest.approx(np.mean(alphas), abs=1e-6)
    assert scores.iou == pytest.approx(2 / 3)
    assert (scores.max_f, scores.weighted_f) == (0, 0)
    assert [name for name, value in asdict(scores).items() if math.isnan(value)] == ["holes"]


def test_sets_are_told_apart_by_what_stems_begin_with() -> None:
    records = list(oracle_scores().values())
    stems = ("voc07__1", "davis16tr__dance__2", "3", "voc07__4", "5")
    sets = by_prefix(list(zip(stems, records, strict=False)))
    assert list(sets) == ["", "davis16tr", "voc07"]
    assert sets["voc07"] == summarise([records[0], records[3]])
    assert [scores.images for scores in sets.values()] == [2, 1, 2]


def test_intersection_over_union() -> None:
    called, truth = np.array([True, True, False]), np.array([False, True, True])
    assert intersection_over_union(called, truth) == pytest.approx(1 / 3)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        score_image(0, np.zeros((2, 3), np.float32), np.zeros((3, 2), np.uint8))
    with pytest.raises(ValueError, match="no image"):
        summarise([])
