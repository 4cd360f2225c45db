"""Batch norms for networks that were saved without them, as exports to ONNX are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from streamseg.model.u2net import ConvBlock, U2Net

IMAGES = 48
"""Training images whose statistics are taken: with these, u2netp's training form came within .02 of its alpha."""


def are_folded(net: U2Net) -> bool:
    """Whether every batch norm only shifts, as `streamseg.model.official` imports networks whose norms were folded.

    Those of a new network do nothing at all: their means are zero.
    """
    blocks = list(_blocks(net))
    return any(bool(block.mean.any()) for block in blocks) and all(
        bool((block.scale == 1).all() and (block.shift == 0).all())
        and torch.allclose(block.variance, torch.ones_like(block.variance), atol=1e-4)
        for block in blocks
    )


@torch.no_grad()
def unfold(net: U2Net, images: Tensor) -> None:
    """Gives each norm the mean and variance of its convolution's output, and undoes both by its scale and shift.

    The evaluation form computes what it did; the training form, which takes the statistics of its own batch, nearly so.

    Args:
        net: a network whose norms `are_folded`.
        images: training images `(N, 3, H, W)`, normalised, where the network is.
    """
    moments = [(block, Moments()) for block in _blocks(net)]
    hooks = [block.conv.register_forward_hook(seen.add) for block, seen in moments]
    was_training = net.training
    net.eval()
    for image in images:
        net(image[None])
    for hook in hooks:
        hook.remove()
    net.train(was_training)
    for block, seen in moments:
        mean, variance = seen.mean_and_variance()
        block.shift.copy_(mean - block.mean)
        block.scale.copy_((variance + block.eps).sqrt())
        block.mean.copy_(mean)
        block.variance.copy_(variance)


class Moments:
    """Adds up the values and squares of a convolution's outputs, channel by channel, in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.total: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())

    def add(self, conv: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A forward hook; `output` is `(N, C, h, w)`."""
        values = output.double()
        self.count += values.numel() // values.shape[1]
        self.total = self.total.to(values.device) + values.sum((0, 2, 3))
        self.squares = self.squares.to(values.device) + (values * values).sum((0, 2, 3))

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Of every channel, `(C,)` each."""
        mean = self.total / self.count
        return mean, (self.squares / self.count - mean * mean).clamp(min=0)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A convolution and the tensors of the batch norm behind it, `(C,)` each."""

    conv: nn.Conv2d
    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor
    eps: float


def _blocks(net: U2Net) -> Iterator[Block]:
    for module in net.modules():
        if isinstance(module, ConvBlock) and isinstance(module.bn, nn.BatchNorm2d):
            bn = module.bn
            mean, variance = bn.running_mean, bn.running_var
            assert mean is not None
            assert variance is not None
            yield Block(module.conv, bn.weight, bn.bias, mean, variance, bn.eps)
