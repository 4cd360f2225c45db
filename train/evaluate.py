"""Runs a network over a set of pairs and scores its mattes."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from streamseg.infer import Inset, network_input, normalise
from train.augment import resize
from train.data import Pair, Pixels
from train.metrics import SaliencyMetrics, Scores


@torch.no_grad()
def evaluate(net: nn.Module, pairs: list[Pair], size_px: int, squash: bool, device: torch.device) -> Scores:
    """Scores `net` over `pairs`, each at its mask's own size.

    Args:
        net: returns alpha `(N, 1, H, W)` in evaluation mode; it is put into it.
        pairs: images and masks.
        size_px: side of the square input if `squash`, else its long side.
        squash: plain bilinear resize to a square (the published protocol), or what streamseg does with frames
            (`streamseg.infer.Inset`).
        device: where `net` lives.

    Raises:
        DataError: an image or mask does not decode, or their sizes differ.
    """
    net.eval()
    metrics = SaliencyMetrics()
    for pair in pairs:
        image, mask = pair.load()
        alpha = _alpha(net, image, size_px, squash, device).float().cpu()[0, 0].numpy()
        metrics.update(cv2.resize(alpha, mask.shape[::-1]).astype(np.float32, copy=False), mask)
    return metrics.scores()


def _alpha(net: nn.Module, image: Pixels, size_px: int, squash: bool, device: torch.device) -> Tensor:
    """RGB `(H, W, 3)` uint8 -> alpha `(1, 1, h, w)`."""
    if not squash:
        inset = Inset.of(image.shape[0], image.shape[1], size_px)
        return inset.crop(net(network_input([image], inset).to(device)))
    small = resize(image, (size_px, size_px), antialias=False)
    return cast(Tensor, net(normalise(torch.from_numpy(small.transpose(2, 0, 1)))[None].to(device)))
