"""U²-Net's loss as a pure function."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def deep_supervision_loss(logits: Sequence[Tensor], alpha: Tensor) -> Tensor:
    """Binary cross entropy summed over the fused map and the six side maps (paper, section 3.3, equation 1).

    Args:
        logits: seven maps `(N, 1, H, W)`, before the sigmoid.
        alpha: the target `(N, 1, H, W)` in [0, 1].
    """
    losses = [F.binary_cross_entropy_with_logits(logit.float(), alpha) for logit in logits]
    return sum(losses[1:], start=losses[0])
