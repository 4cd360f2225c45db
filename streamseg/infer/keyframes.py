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
from streamseg.infer.engines.base import Engine, long_side, predict
from streamseg.infer.flow import FlowWarper, Key
from streamseg.infer.pending import PendingFrame, prepare

HALF = Fraction(1, 2)


def infer_keyframes(
    frames: Iterable[Frame], engine: Engine, input_size: int, interval: KeyframeInterval, batch_size: int = 1
) -> Iterator[Batch]:
    """Run `engine` on keyframes, one an interval and at scene cuts; the others get alpha warped from both sides.

    Args:
        frames: pictures of one size, all of them: what comes between two mattes is made when both are there.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Letterbox.of`.
        interval: from one keyframe to the next.
        batch_size: frames in one call of the engine, at most.
    """
    warper = FlowWarper()
    last: Key | None = None
    waiting: list[PendingFrame] = []
    for pending in _keyed(_groups(prepare(frames, long_side(engine, input_size)), interval, batch_size), engine):
        if pending.key is None:
            waiting.append(pending)
            continue
        if waiting:
            assert last
            yield _between(last, waiting, None if pending.is_cut else pending.key, warper)
        yield Batch((pending.frame,), pending.key.alpha[None])
        last, waiting = pending.key, []
    if waiting:
        assert last
        yield _between(last, waiting, None, warper)


@dataclass(frozen=True, slots=True)
class KeyframeInterval:
    """So many frames of a source of that rate, counted by time: a run that is resumed then picks the same frames."""

    frames: int
    rate: Fraction

    def index_of(self, frame: Frame) -> int:
        """Return which interval of the source a frame lies in; containers round its pts."""
        return math.floor((frame.pts * self.rate + HALF) / self.frames)


def _groups(
    pending_frames: Iterable[PendingFrame], interval: KeyframeInterval, batch_size: int
) -> Iterator[tuple[list[PendingFrame], list[PendingFrame]]]:
    """Frames in their order, and those of them on which the network runs in one call; the last group may have none."""
    group: list[PendingFrame] = []
    keyed: list[PendingFrame] = []
    interval_index = None
    for pending in pending_frames:
        before, interval_index = interval_index, interval.index_of(pending.frame)
        group.append(pending)
        if pending.is_cut or interval_index != before:
            keyed.append(pending)
        if len(keyed) == batch_size:
            yield group, keyed
            group, keyed = [], []
    if group:
        yield group, keyed


def _keyed(groups: Iterable[tuple[list[PendingFrame], list[PendingFrame]]], engine: Engine) -> Iterator[PendingFrame]:
    """The frames in their order, with a matte where the network ran; the engine may be batches ahead of them."""
    waiting: deque[tuple[list[PendingFrame], list[PendingFrame]]] = deque()

    def batches() -> Iterator[Pixels]:
        for group, keyed in groups:
            waiting.append((group, keyed))
            if keyed:
                yield np.concatenate([pending.small for pending in keyed])

    for mattes in predict(engine, batches()):
        group, keyed = waiting.popleft()
        for pending, alpha in zip(keyed, mattes, strict=True):
            pending.key = pending.key_of(alpha)
        yield from group
    for group, _ in waiting:
        yield from group


def _between(last: Key, pending_frames: Sequence[PendingFrame], following: Key | None, warper: FlowWarper) -> Batch:
    """The frames after one matte and before the next, which counts the more the nearer it is; it may be missing."""
    mattes = []
    for pending in pending_frames:
        matte = warper.warp(last, pending.grey)
        if following:
            weight = (float(pending.frame.pts) - last.seconds) / (following.seconds - last.seconds)
            matte = torch.lerp(matte, warper.warp(following, pending.grey), weight)
        mattes.append(matte)
    return Batch(tuple(pending.frame for pending in pending_frames), torch.stack(mattes))
