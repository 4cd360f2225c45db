"""What training minimises, as pure functions of logits and alpha."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from train.config import Loss

EDGE_WINDOW = 11
"""The window that looks for edges is this fraction of the picture's short side: 31 px at 352 px, as published."""


def training_loss(logits: Sequence[Tensor], alpha: Tensor, config: Loss) -> Tensor:
    """The sum of the terms that the configuration asks for.

    Args:
        logits: the fused map and the six side maps, each `(N, 1, H, W)`, before the sigmoid.
        alpha: the target `(N, 1, H, W)` in [0, 1].
        config: the weights of the terms.
    """
    weights = edge_weights(alpha, config.edge_weight) if config.edge_weight else None
    loss = deep_supervision_loss(logits, alpha, weights)
    if config.l1_weight:
        loss = loss + config.l1_weight * F.l1_loss(torch.sigmoid(logits[0].float()), alpha)
    return loss


def deep_supervision_loss(logits: Sequence[Tensor], alpha: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy summed over the fused map and the six side maps (paper, section 3.3, equation 1).

    Args:
        logits: seven maps `(N, 1, H, W)`, before the sigmoid.
        alpha: the target `(N, 1, H, W)` in [0, 1].
        weights: how much each pixel counts, `(N, 1, H, W)`, with mean 1 over the batch.
    """
    losses = [F.binary_cross_entropy_with_logits(logit.float(), alpha, weights) for logit in logits]
    return sum(losses[1:], start=losses[0])


def edge_weights(alpha: Tensor, strength: float) -> Tensor:
    """How much each pixel of `(N, 1, H, W)` counts: more where alpha differs from its neighbourhood's mean.

    Source: Wei et al., "F³Net: Fusion, Feedback and Focus for Salient Object Detection", AAAI 2020, equation 9,
    with the absolute difference, so that soft alpha is weighted like hard masks. Scaled to mean 1 over the batch.
    """
    window = min(alpha.shape[-2:]) // EDGE_WINDOW | 1
    mean = F.avg_pool2d(alpha, window, stride=1, padding=window // 2, count_include_pad=False)
    weights = 1 + strength * (mean - alpha).abs()
    return weights / weights.mean()
