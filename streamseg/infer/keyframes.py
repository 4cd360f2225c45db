"""Inference on keyframes only: optical flow warps their mattes to the frames between (`--stride`)."""

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
from streamseg.infer.flow import FlowWarper, Keyframe
from streamseg.infer.pending import PendingFrame, prepare

HALF = Fraction(1, 2)


def infer_keyframes(
    frames: Iterable[Frame], engine: Engine, input_size: int, interval: KeyframeInterval, batch_size: int = 1
) -> Iterator[Batch]:
    """Run the engine on one keyframe an interval and at scene cuts; warp alpha to the frames between from both sides.

    Args:
        frames: images of one size. Frames between two keyframes wait until the later one has its matte.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Letterbox.of`.
        interval: from one keyframe to the next.
        batch_size: keyframes in one call of the engine, at most.

    Yields:
        Batches in the frames' order, with alpha `(N, 1, h, w)` in [0, 1].
    """
    warper = FlowWarper()
    last: Keyframe | None = None
    waiting: list[PendingFrame] = []
    for pending in _with_keyframes(
        _group(prepare(frames, long_side(engine, input_size)), interval, batch_size), engine
    ):
        if pending.keyframe is None:
            waiting.append(pending)
            continue
        if waiting:
            assert last
            yield _warp_between(last, waiting, None if pending.is_cut else pending.keyframe, warper)
        yield Batch((pending.frame,), pending.keyframe.alpha[None])
        last, waiting = pending.keyframe, []
    if waiting:
        assert last
        yield _warp_between(last, waiting, None, warper)


@dataclass(frozen=True, slots=True)
class KeyframeInterval:
    """Distance between keyframes, counted by pts, so that a resumed run picks the same keyframes.

    Attributes:
        frames: length of an interval in frames.
        rate: frames a second of the source.
    """

    frames: int
    rate: Fraction

    def index_of(self, frame: Frame) -> int:
        """Return the index of the interval that a frame lies in, from 0; tolerate pts that a container has rounded."""
        return math.floor((frame.pts * self.rate + HALF) / self.frames)


def _group(
    pending_frames: Iterable[PendingFrame], interval: KeyframeInterval, batch_size: int
) -> Iterator[tuple[list[PendingFrame], list[PendingFrame]]]:
    """Split frames into groups for one engine call each.

    Yields:
        The frames of a group in order, and those of them that are keyframes: `batch_size`, or fewer in the last group.
    """
    group: list[PendingFrame] = []
    keyframes: list[PendingFrame] = []
    interval_index = None
    for pending in pending_frames:
        previous_index, interval_index = interval_index, interval.index_of(pending.frame)
        group.append(pending)
        if pending.is_cut or interval_index != previous_index:
            keyframes.append(pending)
        if len(keyframes) == batch_size:
            yield group, keyframes
            group, keyframes = [], []
    if group:
        yield group, keyframes


def _with_keyframes(
    groups: Iterable[tuple[list[PendingFrame], list[PendingFrame]]], engine: Engine
) -> Iterator[PendingFrame]:
    """Yield the frames in order, keyframes with their mattes; the engine may run batches ahead."""
    waiting: deque[tuple[list[PendingFrame], list[PendingFrame]]] = deque()

    def batches() -> Iterator[Pixels]:
        for group, keyframes in groups:
            waiting.append((group, keyframes))
            if keyframes:
                yield np.concatenate([pending.small for pending in keyframes])

    for mattes in predict(engine, batches()):
        group, keyframes = waiting.popleft()
        for pending, alpha in zip(keyframes, mattes, strict=True):
            pending.keyframe = pending.as_keyframe(alpha)
        yield from group
    for group, _ in waiting:
        yield from group


def _warp_between(
    last: Keyframe, pending_frames: Sequence[PendingFrame], following: Keyframe | None, warper: FlowWarper
) -> Batch:
    """Warp alpha to frames between two keyframes, blended linearly by time; from `last` alone where none follows."""
    mattes = []
    for pending in pending_frames:
        matte = warper.warp(last, pending.grey)
        if following:
            weight = (float(pending.frame.pts) - last.seconds) / (following.seconds - last.seconds)
            matte = torch.lerp(matte, warper.warp(following, pending.grey), weight)
        mattes.append(matte)
    return Batch(tuple(pending.frame for pending in pending_frames), torch.stack(mattes))
