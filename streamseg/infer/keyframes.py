"""The network on keyframes only; between them mattes move with the picture."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.infer.engines.base import Engine, long_side, mattes_of
from streamseg.infer.flow import Carrier, Key
from streamseg.infer.pending import _Shot, _shots

HALF = Fraction(1, 2)


def infer_some(
    frames: Iterable[Frame], engine: Engine, input_size: int, stride: Stride, batch_size: int = 1
) -> Iterator[Batch]:
    """Runs `engine` on one frame in a stride and at scene cuts; the others get what the two beside them say.

    Args:
        frames: pictures of one size, all of them: what comes between two mattes is made when both are there.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Inset.of`.
        stride: from one frame of the network to the next.
        batch_size: frames in one call of the engine, at most.
    """
    carrier = Carrier()
    last: Key | None = None
    waiting: list[_Shot] = []
    for shot in _keyed(_groups(_shots(frames, long_side(engine, input_size)), stride, batch_size), engine):
        if shot.key is None:
            waiting.append(shot)
            continue
        if waiting:
            assert last
            yield _between(last, waiting, None if shot.is_cut else shot.key, carrier)
        yield Batch((shot.frame,), shot.key.alpha[None])
        last, waiting = shot.key, []
    if waiting:
        assert last
        yield _between(last, waiting, None, carrier)


@dataclass(frozen=True, slots=True)
class Stride:
    """So many frames of a source of that rate, counted by time: a run that is resumed then picks the same frames."""

    frames: int
    rate: Fraction

    def number(self, frame: Frame) -> int:
        """Which stride of the source a frame lies in; containers round its time."""
        return math.floor((frame.time * self.rate + HALF) / self.frames)


def _groups(shots: Iterable[_Shot], stride: Stride, batch_size: int) -> Iterator[tuple[list[_Shot], list[_Shot]]]:
    """Frames in their order, and those of them on which the network runs in one call; the last group may have none."""
    group: list[_Shot] = []
    keyed: list[_Shot] = []
    number = None
    for shot in shots:
        before, number = number, stride.number(shot.frame)
        group.append(shot)
        if shot.is_cut or number != before:
            keyed.append(shot)
        if len(keyed) == batch_size:
            yield group, keyed
            group, keyed = [], []
    if group:
        yield group, keyed


def _keyed(groups: Iterable[tuple[list[_Shot], list[_Shot]]], engine: Engine) -> Iterator[_Shot]:
    """The frames in their order, with a matte where the network ran; the engine may be batches ahead of them."""
    waiting: deque[tuple[list[_Shot], list[_Shot]]] = deque()

    def batches() -> Iterator[Pixels]:
        for group, keyed in groups:
            waiting.append((group, keyed))
            if keyed:
                yield np.concatenate([shot.small for shot in keyed])

    for mattes in mattes_of(engine, batches()):
        group, keyed = waiting.popleft()
        for shot, alpha in zip(keyed, mattes, strict=True):
            shot.key = shot.key_of(alpha)
        yield from group
    for group, _ in waiting:
        yield from group


def _between(last: Key, shots: Sequence[_Shot], following: Key | None, carrier: Carrier) -> Batch:
    """The frames after one matte and before the next, which counts the more the nearer it is; it may be missing."""
    mattes = []
    for shot in shots:
        matte = carrier.carry(last, shot.grey)
        if following:
            share = (float(shot.frame.time) - last.seconds) / (following.seconds - last.seconds)
            matte = torch.lerp(matte, carrier.carry(following, shot.grey), share)
        mattes.append(matte)
    return Batch(tuple(shot.frame for shot in shots), torch.stack(mattes))
