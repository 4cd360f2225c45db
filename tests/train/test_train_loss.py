from __future__ import annotations

import math

import pytest
import torch

from train.config import Loss
from train.loss import deep_supervision_loss, edge_weights, haze_loss, training_loss

STEP = torch.cat((torch.zeros(1, 1, 88, 44), torch.ones(1, 1, 88, 44)), dim=3)
"""A vertical edge in the middle of 88 px; the window is 9 px wide."""


def test_the_loss_is_the_sum_of_seven_mean_cross_entropies() -> None:
    logits = [torch.full((1, 1, 1, 2), float(n)) for n in range(7)]
    alpha = torch.tensor([[[[1.0, 0.25]]]])
    expected = 0.0
    for n in range(7):
        p = 1 / (1 + math.exp(-n))
        expected += sum(-t * math.log(p) - (1 - t) * math.log(1 - p) for t in (1.0, 0.25)) / 2
    assert deep_supervision_loss(logits, alpha).item() == pytest.approx(expected, rel=1e-6)
    assert training_loss(logits, alpha, Loss()).item() == pytest.approx(expected, rel=1e-6)


def test_half_precision_logits_do_not_overflow() -> None:
    logits = [torch.full((1, 1, 2, 2), 60000.0, dtype=torch.float16)] * 7
    assert deep_supervision_loss(logits, torch.zeros(1, 1, 2, 2)).item() == pytest.approx(7 * 59968, rel=1e-3)


def test_edges_weigh_more_and_flat_regions_all_the_same() -> None:
    weights = edge_weights(STEP, strength=5)
    row = weights[0, 0, 40]
    assert weights.shape == STEP.shape
    assert weights.mean().item() == pytest.approx(1, abs=1e-5)
    assert torch.allclose(row[:38], row[0].expand(38))
    assert torch.allclose(row[:44], row[44:].flip(0), atol=1e-5)
    # Beside the edge the window of 9 px holds 4 of the other side: 1 + 5 * 4/9.
    assert (row[43] / row[0]).item() == pytest.approx(1 + 5 * 4 / 9, rel=1e-4)


def test_edge_weights_do_not_see_the_border_of_the_picture() -> None:
    assert torch.equal(edge_weights(torch.ones(2, 1, 44, 66), strength=5), torch.ones(2, 1, 44, 66))


def test_a_mistake_at_the_edge_costs_more_when_edges_are_weighted() -> None:
    def loss(column: int, settings: Loss) -> float:
        logits = (STEP * 2 - 1) * 9
        logits[..., column] *= -1
        return training_loss([logits] * 7, STEP, settings).item()

    assert loss(43, Loss()) == pytest.approx(loss(3, Loss()))
    assert loss(43, Loss(edge_weight=5)) > 2 * loss(3, Loss(edge_weight=5))


def test_the_l1_term_is_the_error_of_the_fused_alpha_alone() -> None:
    alpha = torch.full((1, 1, 4, 4), 0.25)
    logits = [torch.zeros(1, 1, 4, 4), *[torch.full((1, 1, 4, 4), 3.0)] * 6]
    extra = training_loss(logits, alpha, Loss(l1_weight=2)) - training_loss(logits, alpha, Loss())
    assert extra.item() == pytest.approx(2 * 0.25, rel=1e-5)


def test_smaller_maps_are_judged_by_what_their_pixels_cover() -> None:
    alpha = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    small = torch.full((1, 1, 1, 1), math.log(3))  # a sigmoid of .75, which is the mean of alpha
    best = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert deep_supervision_loss([small], alpha).item() == pytest.approx(best, rel=1e-6)
    weighted = deep_supervision_loss([small], alpha, torch.full_like(alpha, 2.0))
    assert weighted.item() == pytest.approx(2 * best, rel=1e-6)


def test_haze_is_alpha_far_from_the_foreground() -> None:
    """The diagonal of 60 x 80 px is 100 px: within 5 px of the square nothing counts."""
    target = torch.zeros(1, 1, 60, 80)
    target[..., 20:40, 30:50] = 0.6
    target[..., 0, 0] = 0.1
    far = torch.ones(1, 1, 60, 80)
    far[..., 15:45, 25:55] = 0
    assert haze_loss(1 - far, target).item() == 0
    assert haze_loss(0.2 * far, target).item() == pytest.approx(0.2, rel=1e-5)
    assert haze_loss(torch.ones_like(target), torch.ones_like(target)).item() == 0
    logits = [torch.zeros(1, 1, 60, 80)] * 7
    extra = training_loss(logits, target, Loss(haze_weight=2)) - training_loss(logits, target, Loss())
    assert extra.item() == pytest.approx(2 * 0.5, rel=1e-4)
