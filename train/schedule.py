"""When things happen in a run: its length, the learning rate and the order of the images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streamseg.errors import ConfigError, DataError
from train.config import Config

Key = tuple[int, int]
"""Step and index of the pair: all that decides a training sample, beside the configuration."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The run's length in steps, worked out from the configuration and the size of the set."""

    images: int
    batch_size: int
    total_steps: int
    warmup_steps: int
    evaluate_every_steps: int
    accumulate: int = 1
    cosine: bool = True

    @classmethod
    def of(cls, config: Config, images: int, ranks: int = 1) -> Plan:
        """Rounds the configuration's epochs to steps; a last batch that is not full is left out of its pass.

        Raises:
            DataError: the set does not fill one batch.
            ConfigError: a batch cannot be shared evenly by `ranks` processes.
        """
        if config.optim.batch_size % (ranks * config.optim.accumulate):
            raise ConfigError(
                f"optim.batch_size is {config.optim.batch_size}; {ranks} processes that cut their share into "
                f"{config.optim.accumulate} need a multiple of {ranks * config.optim.accumulate}"
            )
        per_epoch = images // config.optim.batch_size
        if not per_epoch:
            raise DataError(f"{images} training images do not fill one batch of {config.optim.batch_size}")
        return cls(
            images,
            config.optim.batch_size,
            total_steps=max(1, round(config.optim.epochs * per_epoch)),
            warmup_steps=round(config.optim.warmup_epochs * per_epoch),
            evaluate_every_steps=max(1, round(config.evaluate.every_epochs * per_epoch)),
            accumulate=config.optim.accumulate,
            cosine=config.optim.schedule == "cosine",
        )

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in one pass over the set."""
        return self.images // self.batch_size

    def learning_rate(self, step: int, peak: float) -> float:
        """Linear warm-up that reaches `peak` at its last step, then a cosine to zero at `total_steps`, or `peak`."""
        if step < self.warmup_steps:
            return peak * (step + 1) / self.warmup_steps
        if not self.cosine:
            return peak
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return peak * 0.5 * (1 + math.cos(math.pi * done))

    def evaluates_after(self, step: int) -> bool:
        """Whether the network is judged once `step` steps are done."""
        return step % self.evaluate_every_steps == 0 or step == self.total_steps


def batches(plan: Plan, seed: int, first_step: int, rank: int = 0, ranks: int = 1) -> Iterator[list[Key]]:
    """The keys of each part of each step from `first_step` on; every pass over the set has its own order.

    A step's images are dealt to the processes in turn, and each process cuts its share into `plan.accumulate` parts.
    """
    order, drawn_for = np.empty(0, np.int64), -1
    for step in range(first_step, plan.total_steps):
        epoch, place = divmod(step, plan.steps_per_epoch)
        if epoch != drawn_for:
            order, drawn_for = np.random.default_rng((seed, epoch)).permutation(plan.images), epoch
        share = order[place * plan.batch_size : (place + 1) * plan.batch_size][rank::ranks]
        for part in np.split(share, plan.accumulate):
            yield [(step, int(index)) for index in part]
