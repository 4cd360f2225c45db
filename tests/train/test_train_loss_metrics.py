from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from train.loss import deep_supervision_loss
from train.metrics import SaliencyMetrics, f_measure, intersection_over_union, precision_recall


def test_the_loss_is_the_sum_of_seven_mean_cross_entropies() -> None:
    logits = [torch.full((1, 1, 1, 2), float(n)) for n in range(7)]
    alpha = torch.tensor([[[[1.0, 0.25]]]])
    expected = 0.0
    for n in range(7):
        p = 1 / (1 + math.exp(-n))
        expected += sum(-t * math.log(p) - (1 - t) * math.log(1 - p) for t in (1.0, 0.25)) / 2
    assert deep_supervision_loss(logits, alpha).item() == pytest.approx(expected, rel=1e-6)


def test_half_precision_logits_do_not_overflow() -> None:
    logits = [torch.full((1, 1, 2, 2), 60000.0, dtype=torch.float16)] * 7
    assert deep_supervision_loss(logits, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(7 * 59968, rel=1e-3)


def test_hand_worked_scores() -> None:
    metrics = SaliencyMetrics()
    metrics.update(np.array([[1.0, 0.6, 0.2, 0.0]], np.float32), np.array([[255, 255, 0, 0]], np.uint8))
    scores = metrics.scores()
    assert scores.mae == pytest.approx((0 + 0.4 + 0.2 + 0) / 4)
    assert scores.max_f == pytest.approx(1.0)  # any threshold in (.2, .6] separates the two
    assert scores.iou == 1.0


def test_precision_and_recall_are_averaged_before_f() -> None:
    metrics = SaliencyMetrics()
    metrics.update(np.ones((1, 4), np.float32), np.array([[255, 0, 0, 0]], np.uint8))  # precision .25, recall 1
    metrics.update(np.array([[1, 0, 0, 0]], np.float32), np.array([[255, 255, 0, 0]], np.uint8))  # 1, .5
    assert metrics.scores().max_f == pytest.approx(1.3 * 0.625 * 0.75 / (0.3 * 0.625 + 0.75))


def test_precision_and_recall_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(0, 256, (20, 30)).astype(np.float32)
    alpha = np.where(rng.random((20, 30)) < 0.5, levels / 255, rng.random((20, 30))).astype(np.float32)
    truth = rng.random((20, 30)) < 0.3
    precision, recall = precision_recall(alpha, truth)
    called = [alpha * np.float32(255) >= threshold for threshold in range(256)]
    hits = np.array([(each & truth).sum() for each in called])
    np.testing.assert_allclose(precision, hits / np.maximum([each.sum() for each in called], 1))
    np.testing.assert_allclose(recall, hits / truth.sum())


def test_every_grey_level_is_called_at_its_own_threshold() -> None:
    alpha = (np.arange(256) / 255).astype(np.float32)[None]
    _, recall = precision_recall(alpha, np.ones((1, 256), bool))
    np.testing.assert_allclose(recall, (256 - np.arange(256)) / 256)


def test_empty_masks_and_predictions_are_finite() -> None:
    metrics = SaliencyMetrics()
    metrics.update(np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8))
    scores = metrics.scores()
    assert (scores.mae, scores.max_f, scores.iou) == (0.0, 0.0, 1.0)
    assert f_measure(np.zeros(1), np.zeros(1)) == 0


def test_intersection_over_union() -> None:
    called, truth = np.array([True, True, False]), np.array([False, True, True])
    assert intersection_over_union(called, truth) == pytest.approx(1 / 3)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="one size"):
        SaliencyMetrics().update(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.uint8))
    with pytest.raises(ValueError, match="no image"):
        SaliencyMetrics().scores()
