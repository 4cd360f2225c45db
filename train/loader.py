"""Training batches: read, composed and augmented by worker processes, or on the GPU that holds the set."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from streamseg.errors import DataError
from train.augment import augment, crop_shape, phase_at
from train.cache import cached, reduced
from train.composites import OVER_BACKGROUND_SHARE, Composites
from train.config import Config
from train.data import LoadablePair, Pair, Pixels, check_pairs, empty_pairs, find_matches, find_pairs
from train.resident import ResidentSet
from train.schedule import Key, Plan, Progress, batches
from train.webcam import WebcamFrames

Sample = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Sources:
    """What a run reads: the pairs of its passes, and the people and rooms of webcam frames."""

    pairs: Sequence[LoadablePair]
    people: Sequence[LoadablePair] = ()
    rooms: Sequence[LoadablePair] = ()


class TrainingSet(Dataset[Sample]):
    """Pairs augmented by a generator that depends on seed, step and pair alone, so that resuming is exact."""

    def __init__(self, sources: Sources, config: Config, plan: Plan) -> None:
        """Lists the composites' pictures where the configuration has any; raises DataError where they are missing."""
        self.pairs, self.config, self.plan = sources.pairs, config, plan
        self.composites = _composites(config)
        self.webcam = WebcamFrames(sources.people, sources.rooms) if config.data.webcam_share else None

    def __getitem__(self, key: Key) -> Sample:
        """The pair of `key`: image `(3, h, w)`, normalised, and alpha `(1, h, w)` in [0, 1]."""
        settings, seed = self.config.augment, self.config.seed
        rng = np.random.default_rng((seed, key.step, key.pair))
        phase = phase_at(settings, key.progress)
        shape = crop_shape(settings, phase, seed, key.step)
        return augment(*self._pixels(key.pair, rng), settings, phase, rng, shape)

    def __getitems__(self, keys: list[Key]) -> list[Sample] | DataError:
        """The samples of a batch, or what is wrong with one: raised in a worker, it would arrive as a traceback."""
        try:
            return [self[key] for key in keys]
        except DataError as error:
            return error

    def _pixels(self, index: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """The pair itself, or in its place a webcam's frame or a composite: over a background, or over the pair."""
        if self.webcam and rng.random() < self.config.data.webcam_share:
            return self.webcam.frame(self.config.data.cache_px, rng)
        if self.composites is None or rng.random() >= self.config.data.composite_share:
            return self.pairs[index].load()
        if rng.random() < OVER_BACKGROUND_SHARE:
            return self.composites.frame(self.config.data.cache_px, rng)
        return self.composites.onto(*reduced(*self.pairs[index].load(), self.config.data.cache_px), rng)


def training_sources(config: Config) -> Sources:
    """What the configuration names, from the cache where it names one.

    Raises:
        DataError: a source is missing or damaged; making the cache also finds every pair that does not load.
        OutputError: the cache cannot be written.
    """
    data = config.data
    rooms = _rooms(config)
    people = find_pairs(data.root, data.people) if data.webcam_share else []
    found = [*find_pairs(data.root, data.train), *rooms, *people]
    # One cache for all, in which people who are trained on anyway are kept once.
    pairs: Sequence[LoadablePair] = cached(found, data.cache, data.cache_px) if data.cache else found
    first_person = len(found) - len(people)
    return Sources(pairs[:first_person], pairs[first_person:], pairs[first_person - len(rooms) : first_person])


def _rooms(config: Config) -> list[Pair]:
    """The images without anybody, less those that are left for evaluation."""
    rooms: list[Pair] = []
    for source in config.data.empty:
        for path in find_matches(config.data.root, source):
            found = empty_pairs(path)
            held_out = set(found[:: config.data.empty_held_out]) if config.data.empty_held_out else set()
            rooms += [pair for pair in found if pair not in held_out]
    return rooms


def check_training_set(data: TrainingSet, validation: Sequence[LoadablePair]) -> None:
    """Decodes everything once before the first step; a cache has seen its pairs already.

    Raises:
        DataError: some pairs do not load; all of these faults at once.
    """
    check_pairs([*([] if data.config.data.cache else data.pairs), *validation])


def training_batches(
    data: TrainingSet,
    first_step: int,
    device: torch.device,
    rank: int = 0,
    ranks: int = 1,
    progress: Progress | None = None,
) -> Generator[Sample, None, None]:
    """This process's parts of each step from `first_step` to the last.

    Args:
        data: the set.
        first_step: steps that are done.
        device: where the network trains; with `data.on_gpu` the set is held and augmented there.
        rank: this process's number.
        ranks: how many processes share each step.
        progress: what the phases follow and the last step depends on; the plan's own if none is given.

    Yields:
        Images `(n, 3, h, w)`, normalised, and alphas `(n, 1, h, w)` in [0, 1].

    Raises:
        DataError: an image or mask does not decode, or their sizes differ.
    """
    keys = batches(data.plan, data.config.seed, first_step, rank, ranks, progress)
    if data.config.data.on_gpu:
        held = ResidentSet(data.pairs, data.composites, data.webcam, data.config, device)
        yield from (held.batch(part) for part in keys)
        return
    for part in _loader(data, keys, device):
        if isinstance(part, DataError):
            raise part
        yield part


def _loader(data: TrainingSet, keys: Iterator[list[Key]], device: torch.device) -> DataLoader[Sample]:
    workers = data.config.data.workers
    return DataLoader(
        data,
        batch_sampler=keys,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_start_worker,
        pin_memory=device.type == "cuda",
        # A fork would copy the locks of PyTorch's and OpenCV's threads in whatever state they are in.
        multiprocessing_context="spawn" if workers else None,
    )


def _composites(config: Config) -> Composites | None:
    if not config.data.composites or not config.data.composite_share:
        return None
    return Composites(find_matches(config.data.root, config.data.composites)[0])


def _collate(samples: list[Sample] | DataError) -> list[Tensor] | DataError:
    return samples if isinstance(samples, DataError) else default_collate(samples)


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
    # Ctrl-C, and the SIGTERM of `timeout` and of job schedulers, reach the whole process group; the training process
    # decides when its workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
