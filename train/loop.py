"""One training run, from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn

from streamseg.errors import ConfigError, DataError, OutputError
from streamseg.u2net import CONFIGS, U2Net
from streamseg.weights import load_weights
from train.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from train.config import CONFIG_FILE, Config, Model
from train.data import find_pairs
from train.evaluate import evaluate
from train.interrupt import ctrl_c_as_event
from train.journal import Journal
from train.loader import TrainingSet, training_batches
from train.loss import deep_supervision_loss
from train.metrics import Scores
from train.schedule import Plan

WATCH_EVERY_STEPS = 50
SAVE_EVERY_SECONDS = 120.0
"""What a crash can cost; by time, since the full network's checkpoint is half a gigabyte."""

Batch = tuple[Tensor, Tensor]


class Trainer:
    """Network, optimiser and the files of one run: last.pt, best.pt, config.json, log.txt, evaluations.jsonl."""

    def __init__(self, config: Config, run: Path, device: torch.device) -> None:
        """Finds the data and builds the network; nothing is written yet.

        Raises:
            DataError: a source is missing, damaged or too small.
        """
        torch.manual_seed(config.seed)
        self.config, self.run, self.device = config, run, device
        self.validation = find_pairs(config.data.root, config.data.validate_on)
        pairs = find_pairs(config.data.root, config.data.train)
        self.plan = Plan.of(config, len(pairs))
        self.data = TrainingSet(pairs, config, self.plan)
        self.net = _network(config.model)
        _to_channels_last(self.net, device)
        optim = config.optim
        self.optimizer = torch.optim.AdamW(self.net.parameters(), optim.learning_rate, weight_decay=optim.weight_decay)
        self.amp_dtype = _amp_dtype(optim.amp, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.amp_dtype == torch.float16)
        self.step, self.best_max_f = 0, -1.0
        self.losses: list[float] = []
        self.waited_s = 0.0
        self.journal = Journal(run)

    def resume(self) -> None:
        """Continues from the run's last checkpoint when there is one.

        Raises:
            DataError: the checkpoint is damaged.
            ConfigError: it holds another architecture.
        """
        path = self.run / LAST
        if not path.exists():
            return
        state = load_checkpoint(path)
        if state["architecture"] != self.config.model.architecture:
            raise ConfigError(f"{path} holds a {state['architecture']} network; choose another folder with --run")
        self.net.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty when the run was without one, as on a CPU
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.best_max_f = state["step"], state["best_max_f"]

    def fit(self) -> bool:
        """Trains to the last step, judging and saving on the way.

        Returns:
            Whether the last step is done; False after Ctrl-C, with everything up to `step` saved.

        Raises:
            DataError: an image does not decode, or the loss or the weights are no longer finite.
            OutputError: the run folder or a checkpoint cannot be written.
        """
        self._open_run()
        started = saved = time.monotonic()
        batches = training_batches(self.data, self.step, pin_memory=self.device.type == "cuda")
        with ctrl_c_as_event() as interrupted, closing(batches):
            for images, alphas in self._timed(batches):
                self.losses.append(self._train_step(images, alphas))
                if self.step % WATCH_EVERY_STEPS == 0:
                    self._watch(time.monotonic() - started)
                if self.plan.evaluates_after(self.step):
                    self._judge()
                elif interrupted.is_set() or time.monotonic() - saved > SAVE_EVERY_SECONDS:
                    self._save(LAST)
                    saved = time.monotonic()
                if interrupted.is_set():
                    break
        return self.step >= self.plan.total_steps

    def _open_run(self) -> None:
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            (self.run / CONFIG_FILE).write_text(self.config.model_dump_json(indent=2), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot use {self.run} as a run folder: {error.strerror}") from error
        precision = str(self.amp_dtype or torch.float32).removeprefix("torch.")
        self.journal.line(
            f"{self.config.name}: {self.plan.images} images, {self.plan.total_steps} steps, {self.device} {precision}"
            + (f", resumed after step {self.step}" if self.step else "")
        )

    def _timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        before = time.monotonic()
        for batch in batches:
            self.waited_s += time.monotonic() - before
            yield batch
            before = time.monotonic()

    def _train_step(self, images: Tensor, alphas: Tensor) -> float:
        self.net.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        with torch.autocast(self.device.type, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
            logits = self.net(images)
        loss = deep_supervision_loss(logits, alphas.to(self.device, non_blocking=True))
        if not math.isfinite(loss.item()):
            raise self._ruined(f"the loss is {loss.item()} at step {self.step + 1}")
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        return loss.item()

    def _rate(self) -> float:
        return self.plan.learning_rate(self.step, self.config.optim.learning_rate)

    def _watch(self, elapsed_s: float) -> None:
        self.journal.line(
            f"{self._place()}  loss {fmean(self.losses[-WATCH_EVERY_STEPS:]):.4f}  lr {self._rate():.2e}  "
            f"{elapsed_s:.0f} s  waiting for data {self.waited_s / elapsed_s:.1%}"
        )

    def _place(self) -> str:
        return f"step {self.step}/{self.plan.total_steps}  epoch {self._epoch():.2f}"

    def _epoch(self) -> float:
        return self.step / self.plan.steps_per_epoch

    def _judge(self) -> None:
        self._refuse_ruined_weights()
        settings = self.config.evaluate
        scores = evaluate(self.net, self.validation, settings.size_px, settings.squash, self.device)
        if scores.max_f > self.best_max_f:
            self.best_max_f = scores.max_f
            self._save(BEST, scores=asdict(scores))
        self._save(LAST)
        self._record(scores)

    def _record(self, scores: Scores) -> None:
        loss, rate = fmean(self.losses), self._rate()
        self.losses.clear()
        self.journal.line(f"{self._place()}  loss {loss:.4f}  lr {rate:.2e}  {scores}")
        record = {"step": self.step, "epoch": self._epoch(), "loss": loss, "lr": rate}
        self.journal.evaluation(record | asdict(scores))

    def _save(self, name: str, **more: object) -> None:
        self._refuse_ruined_weights()
        save_checkpoint(self.run / name, self._state() | more)

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "best_max_f": self.best_max_f,
            "architecture": self.config.model.architecture,
        }

    def _refuse_ruined_weights(self) -> None:
        # One step can ruin the weights although its own loss was finite; a good checkpoint must outlive it.
        if not all(bool(tensor.isfinite().all()) for tensor in self.net.state_dict().values()):
            raise self._ruined(f"weights are not finite after step {self.step}")

    def _ruined(self, what: str) -> DataError:
        return DataError(
            f"{what}; {self.run / LAST} keeps the last good state, if one was saved: lower optim.learning_rate, "
            "set optim.amp to bf16 or off, or look for bad masks"
        )


def _network(model: Model) -> U2Net:
    if not model.start_from:
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


def _amp_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """The autocast type, None for full precision; CPUs only emulate fp16, slowly."""
    if amp == "bf16":
        return torch.bfloat16
    return torch.float16 if amp == "fp16" and device.type == "cuda" else None
