"""Training batches, decoded and augmented by worker processes."""

from __future__ import annotations

import signal
from collections.abc import Generator

import cv2
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from streamseg.errors import DataError
from train.augment import augment, phase_at
from train.config import Config
from train.data import Pair
from train.schedule import Key, Plan, batches

Sample = tuple[Tensor, Tensor]


class TrainingSet(Dataset[Sample]):
    """Pairs augmented by a generator that depends on seed, step and pair alone, so that resuming is exact."""

    def __init__(self, pairs: list[Pair], config: Config, plan: Plan) -> None:
        self.pairs, self.config, self.plan = pairs, config, plan

    def __getitem__(self, key: Key) -> Sample:
        """The pair of `key` (step, index): image `(3, c, c)`, normalised, and alpha `(1, c, c)` in [0, 1]."""
        step, index = key
        rng = np.random.default_rng((self.config.seed, step, index))
        phase = phase_at(self.config.augment, step / self.plan.total_steps)
        return augment(*self.pairs[index].load(), self.config.augment, phase, rng)

    def __getitems__(self, keys: list[Key]) -> list[Sample] | DataError:
        """The samples of a batch, or what is wrong with one: raised in a worker, it would arrive as a traceback."""
        try:
            return [self[key] for key in keys]
        except DataError as error:
            return error


def training_batches(data: TrainingSet, first_step: int, pin_memory: bool = False) -> Generator[Sample, None, None]:
    """Images `(N, 3, c, c)` and alphas `(N, 1, c, c)` of each step from `first_step` to the last.

    Raises:
        DataError: an image or mask does not decode, or their sizes differ.
    """
    workers = data.config.data.workers
    loader: DataLoader[Sample] = DataLoader(
        data,
        batch_sampler=batches(data.plan, data.config.seed, first_step),
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
        pin_memory=pin_memory,
        # A fork would copy the locks of PyTorch's and OpenCV's threads in whatever state they are in.
        multiprocessing_context="spawn" if workers else None,
    )
    for batch in loader:
        if isinstance(batch, DataError):
            raise batch
        yield batch


def _collate(samples: list[Sample] | DataError) -> list[Tensor] | DataError:
    return samples if isinstance(samples, DataError) else default_collate(samples)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    # Ctrl-C reaches the whole process group; the training process decides when its workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
