"""What training minimises, as pure functions of logits and alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from train.config import Loss
from train.metrics.haze import FAR

EDGE_WINDOW = 11
"""The window that looks for edges is this fraction of the picture's short side: 31 px at 352 px, as published."""


def training_loss(logits: Sequence[Tensor], alpha: Tensor, config: Loss) -> Tensor:
    """The sum of the terms that the configuration asks for.

    Args:
        logits: the fused map `(N, 1, H, W)` and the six side maps, of that size or smaller, before the sigmoid.
        alpha: the target `(N, 1, H, W)` in [0, 1].
        config: the weights of the terms.
    """
    weights = edge_weights(alpha, config.edge_weight) if config.edge_weight else None
    loss = deep_supervision_loss(logits, alpha, weights)
    if config.haze_weight:
        loss = loss + config.haze_weight * haze_loss(torch.sigmoid(logits[0].float()), alpha)
    if config.l1_weight:
        loss = loss + config.l1_weight * F.l1_loss(torch.sigmoid(logits[0].float()), alpha)
    return loss


def deep_supervision_loss(logits: Sequence[Tensor], alpha: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy summed over the fused map and the six side maps (paper, section 3.3, equation 1).

    Args:
        logits: seven maps `(N, 1, h, w)`, before the sigmoid; each is judged at its own size.
        alpha: the target `(N, 1, H, W)` in [0, 1], averaged over what a pixel of a smaller map covers.
        weights: how much each pixel counts, `(N, 1, H, W)`, with mean 1 over the batch.
    """
    at_size = {tuple(alpha.shape[-2:]): (alpha, weights)}
    losses = []
    for logit in logits:
        size = (logit.shape[-2], logit.shape[-1])
        if size not in at_size:
            pooled = F.adaptive_avg_pool2d(weights, size) if weights is not None else None
            at_size[size] = F.adaptive_avg_pool2d(alpha, size), pooled
        losses.append(F.binary_cross_entropy_with_logits(logit.float(), *at_size[size]))
    return sum(losses[1:], start=losses[0])


def haze_loss(alpha: Tensor, target: Tensor) -> Tensor:
    """Mean of alpha further than `FAR` of the diagonal from where the target is foreground (`train.metrics.haze`).

    Args:
        alpha: what the network gives, `(N, 1, H, W)` in [0, 1].
        target: the true alpha `(N, 1, H, W)`; it counts as foreground from a half on, since soft labels are nowhere
            quite 0.
    """
    height, width = target.shape[-2:]
    window = 2 * round(FAR * math.hypot(height, width)) + 1
    # The square window is applied as a column and a row, which is far cheaper.
    near = F.max_pool2d((target >= 0.5).float(), (window, 1), stride=1, padding=(window // 2, 0))
    near = F.max_pool2d(near, (1, window), stride=1, padding=(0, window // 2))
    far = near == 0
    return (alpha * far).sum() / far.sum().clamp(min=1)


def edge_weights(alpha: Tensor, strength: float) -> Tensor:
    """How much each pixel of `(N, 1, H, W)` counts: more where alpha differs from its neighbourhood's mean.

    Source: Wei et al., "F³Net: Fusion, Feedback and Focus for Salient Object Detection", AAAI 2020, equation 9,
    with the absolute difference, so that soft alpha is weighted like hard masks. Scaled to mean 1 over the batch.
    """
    window = min(alpha.shape[-2:]) // EDGE_WINDOW | 1
    # The mean over a square is the mean over columns of the means over rows, also where the border cuts it.
    mean = alpha
    for kernel in ((window, 1), (1, window)):
        padding = (kernel[0] // 2, kernel[1] // 2)
        mean = F.avg_pool2d(mean, kernel, stride=1, padding=padding, count_include_pad=False)
    weights = 1 + strength * (mean - alpha).abs()
    return weights / weights.mean()
