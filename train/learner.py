"""The network and everything that changes with it: optimiser, averaged weights, loss scaling."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from streamseg.errors import ConfigError
from streamseg.model.u2net import CONFIGS, U2Net
from streamseg.model.weights import load_weights
from train.config import Config, Model, Optim
from train.loader import Sample
from train.loss import training_loss
from train.muon import Muon
from train.norms import are_folded, unfold


class Learner:
    """What a step changes; `state` and `load` carry all of it across an interruption."""

    def __init__(self, config: Config, device: torch.device, ranks: int = 1, resumes: bool = False) -> None:
        """Builds it all.

        Args:
            config: the settings.
            device: where the network trains.
            ranks: number of processes.
            resumes: `load` will follow, so that `model.start_from` is not looked at and may be gone.

        Raises:
            WeightsError: `model.start_from` is missing or damaged.
            ConfigError: it is of another architecture.
        """
        self.config, self.device = config, device
        self.net = _network(config.model, resumes)
        _to_channels_last(self.net, device)
        self.averaged = Average(self.net, config.optim.ema) if config.optim.ema else None
        self.optimizer = _optimizer(self.net, config.optim)
        self.amp_dtype = _amp_dtype(config.optim.amp, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp_dtype == torch.float16)
        self.forward = _wrapped(self.net, config.optim.compile, ranks)

    @property
    def judged(self) -> U2Net:
        """The weights that are evaluated and exported: the average where there is one."""
        return self.averaged.net if self.averaged else self.net

    def step(self, parts: Sequence[Sample], learning_rate: float) -> Tensor:
        """One step of the optimiser over the parts of a batch.

        Args:
            parts: normalised images `(n, 3, c, c)` and alphas `(n, 1, c, c)`, on any device.
            learning_rate: this step's.

        Returns:
            The mean loss, still on the device, so that nothing waits for it.
        """
        self.net.train()
        if self.config.optim.frozen_statistics:
            freeze_statistics(self.net)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        losses = [self._backward(part, share=1 / len(parts), last=part is parts[-1]) for part in parts]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged:
            self.averaged.update(self.net)
        return torch.stack(losses).sum()

    @property
    def lacks_norms(self) -> bool:
        """Whether it starts from weights whose batch norms were folded away, which a first step would ruin."""
        return are_folded(self.net)

    def restore_norms(self, images: Tensor) -> None:
        """Gives such weights batch norms again, from training images `(N, 3, H, W)`, normalised."""
        unfold(self.net, images.to(self.device))
        if self.averaged:
            self.judged.load_state_dict(self.net.state_dict())

    def is_finite(self) -> bool:
        """Whether every weight is; one step can ruin them although its own loss was finite."""
        return all(bool(tensor.isfinite().all()) for tensor in self.net.state_dict().values())

    def state(self) -> dict[str, Any]:
        """Tensors and numbers, as `load` takes them."""
        state = {
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "architecture": self.config.model.architecture,
            "optimizer_kind": self.config.optim.optimizer,
        }
        return state | ({"ema": self.judged.state_dict()} if self.averaged else {})

    def load(self, state: dict[str, Any], step: int) -> None:
        """Takes over what `state` returned after `step` steps; averages start anew where none were kept.

        Settings such as the weight decay stay those of the configuration.
        """
        self.net.load_state_dict(state["model"])
        own = [{key: value for key, value in group.items() if key != "params"} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, settings in zip(self.optimizer.param_groups, own, strict=True):
            group.update(settings)
        if state["scaler"]:  # empty when the run was without one, as on a CPU
            self.scaler.load_state_dict(state["scaler"])
        if self.averaged:
            self.judged.load_state_dict(state.get("ema", state["model"]))
            self.averaged.updates = step

    def _backward(self, part: Sample, share: float, last: bool) -> Tensor:
        """Adds one part's gradients and returns its share of the loss; processes exchange them with the last part."""
        images = part[0].to(self.device, memory_format=torch.channels_last, non_blocking=True)
        alphas = part[1].to(self.device, non_blocking=True)
        waits = isinstance(self.forward, DistributedDataParallel) and not last
        exchange: AbstractContextManager[None] = self.forward.no_sync() if waits else nullcontext()  # type: ignore[operator]
        with exchange:
            with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
                logits = self.forward(images)
            loss = training_loss(logits, alphas, self.config.loss) * share
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()


def freeze_statistics(net: nn.Module) -> None:
    """Lets batch norms use the statistics that they have instead of each batch's own, and keep them."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


class Average:
    """An exponential moving average of weights and statistics, whose memory is short while the run is young.

    PyTorch's own, `AveragedModel`, keeps its count of updates in a tensor and waits for the GPU at each.
    """

    def __init__(self, net: U2Net, decay: float) -> None:
        self.net, self.decay, self.updates = copy.deepcopy(net), decay, 0

    @torch.no_grad()
    def update(self, net: U2Net) -> None:
        """Moves towards `net`; the first time, all the way."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        pairs = list(zip(_tensors(self.net), _tensors(net), strict=True))
        ours, theirs = ([pair[side] for pair in pairs if pair[0].is_floating_point()] for side in (0, 1))
        torch._foreach_lerp_(ours, theirs, 1 - kept)
        counts, latest = ([pair[side] for pair in pairs if not pair[0].is_floating_point()] for side in (0, 1))
        torch._foreach_copy_(counts, latest)
        self.updates += 1


def _tensors(net: nn.Module) -> list[Tensor]:
    return [*net.parameters(), *net.buffers()]


def _network(model: Model, resumes: bool) -> U2Net:
    if resumes or not model.start_from:
        return U2Net(CONFIGS[model.architecture])
    net = load_weights(model.start_from)
    if net.config.name != model.architecture:
        raise ConfigError(
            f"model.start_from: {model.start_from} holds a {net.config.name} network, not {model.architecture}"
        )
    return net


def _to_channels_last(net: nn.Module, device: torch.device) -> None:
    """Moves `net` in place; convolutions are faster in this memory format."""
    net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _optimizer(net: U2Net, optim: Optim) -> torch.optim.Optimizer:
    if optim.optimizer == "muon":
        return Muon(net, optim.learning_rate, optim.weight_decay)
    kind: type[torch.optim.Adam] = torch.optim.Adam if optim.optimizer == "adam" else torch.optim.AdamW
    return kind(net.parameters(), optim.learning_rate, weight_decay=optim.weight_decay)


def _wrapped(net: U2Net, compiled: bool, ranks: int) -> nn.Module:
    """What is called in training; it shares the weights of `net`."""
    forward = cast(nn.Module, torch.compile(net)) if compiled else net
    return DistributedDataParallel(forward) if ranks > 1 else forward


def _amp_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """The autocast type; None for full precision, also where the device would only emulate the type."""
    if device.type == "cpu":
        # Without instructions for it, bfloat16 took 6 times as long as float32 (2 cores with AVX2).
        native = amp == "bf16" and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        return torch.bfloat16 if native else None
    return {"off": None, "fp16": torch.float16, "bf16": torch.bfloat16}[amp]
