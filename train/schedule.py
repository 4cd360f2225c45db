"""When things happen in a run: its length, the learning rate and the order of the images.

Learning rate and crop sizes follow the run's progress, the share of it in [0, 1] that is done: by the steps of a
`Plan`, or by the time of `train.allowance`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import NamedTuple

import numpy as np

from streamseg.errors import ConfigError, DataError
from train.config import Config

Progress = Callable[[int], float]
"""From the steps that are done to the share of the run that is; 1 ends it."""


class Key(NamedTuple):
    """All that decides a training sample, beside the configuration.

    Attributes:
        step: which draws from the generator it gets; counted from 0.
        pair: its index in the set.
        progress: the run's at that step.
    """

    step: int
    pair: int
    progress: float


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

    def progress(self, step: int) -> float:
        """The share of the run in [0, 1] that `step` steps are."""
        return step / self.total_steps

    def learning_rate(self, progress: float, peak: float) -> float:
        """Linear warm-up that reaches `peak` at its last step, then a cosine to zero at progress 1, or `peak`."""
        step = progress * self.total_steps
        if step < self.warmup_steps:
            return peak * min(1.0, (step + 1) / self.warmup_steps)
        if not self.cosine:
            return peak
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return peak * 0.5 * (1 + math.cos(math.pi * done))

    def evaluates_after(self, step: int) -> bool:
        """Whether the network is judged once `step` steps are done."""
        return step % self.evaluate_every_steps == 0 or step == self.total_steps


def batches(
    plan: Plan, seed: int, first_step: int, rank: int = 0, ranks: int = 1, progress: Progress | None = None
) -> Iterator[list[Key]]:
    """The keys of each part of each step from `first_step` on; every pass over the set has its own order.

    A step's images are dealt to the processes in turn, and each process cuts its share into `plan.accumulate` parts.
    It ends when `progress` says so; the plan's own if none is given.
    """
    progress = progress or plan.progress
    order, drawn_for = np.empty(0, np.int64), -1
    for step in count(first_step):
        done = progress(step)
        if done >= 1:
            return
        epoch, place = divmod(step, plan.steps_per_epoch)
        if epoch != drawn_for:
            order, drawn_for = np.random.default_rng((seed, epoch)).permutation(plan.images), epoch
        share = order[place * plan.batch_size : (place + 1) * plan.batch_size][rank::ranks]
        for part in np.split(share, plan.accumulate):
            yield [Key(step, int(index), done) for index in part]
