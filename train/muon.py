"""Muon: momentum whose update is made orthogonal, for the kernels of convolutions; Adam for everything else."""

from __future__ import annotations

import math
from collections import defaultdict
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
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            updates = _muon_updates if group["orthogonal"] else _adam_updates
            changes = updates([parameter.grad for parameter in moved], [self.state[parameter] for parameter in moved])
            torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(moved, changes, alpha=-group["lr"])
        return None


def orthogonalised(matrices: Tensor) -> Tensor:
    """`(..., rows, columns)` -> about the nearest matrices whose singular values are all 1, by Newton-Schulz steps."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + EPSILON)
    a, b, c = QUINTIC
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


def _muon_updates(gradients: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
    """Nesterov momentum, made orthogonal; kernels of one shape together, since a GPU's time goes into being called."""
    momenta = _kept("momentum", gradients, states)
    torch._foreach_lerp_(momenta, gradients, 1 - MOMENTUM)
    directions = torch._foreach_lerp(gradients, momenta, MOMENTUM)
    alike: dict[torch.Size, list[int]] = defaultdict(list)
    for place, direction in enumerate(directions):
        alike[direction.shape].append(place)
    updates = list(directions)
    for shape, places in alike.items():
        matrices = torch.stack([directions[place] for place in places]).flatten(2)
        scaled = orthogonalised(matrices) * (ADAM_RMS * math.sqrt(max(matrices.shape[1:])))
        for place, update in zip(places, scaled, strict=True):
            updates[place] = update.view(shape)
    return updates


def _adam_updates(gradients: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
    """Kingma and Ba, arXiv:1412.6980, algorithm 1."""
    for state in states:
        state["steps"] = state.get("steps", 0) + 1
    first, second = (_kept(name, gradients, states) for name in ("first", "second"))
    torch._foreach_lerp_(first, gradients, 1 - BETAS[0])
    torch._foreach_lerp_(second, torch._foreach_mul(gradients, gradients), 1 - BETAS[1])
    updates = torch._foreach_div(first, [1 - BETAS[0] ** state["steps"] for state in states])
    roots = torch._foreach_sqrt(torch._foreach_div(second, [1 - BETAS[1] ** state["steps"] for state in states]))
    torch._foreach_add_(roots, EPSILON)
    torch._foreach_div_(updates, roots)
    return list(updates)


def _kept(name: str, gradients: list[Tensor], states: list[dict[str, Any]]) -> list[Tensor]:
    """What is remembered of each parameter, from zero on."""
    for gradient, state in zip(gradients, states, strict=True):
        if name not in state:
            state[name] = torch.zeros_like(gradient)
    return [state[name] for state in states]
