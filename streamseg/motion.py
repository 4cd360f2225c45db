"""Station 2 where the network does not run on every frame: between its mattes, the last one moves with the picture."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import median
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.frames import Batch, Frame, Pixels
from streamseg.infer import Engine, Inset, inset_of, long_side, matte_of, mattes_of, small_pictures
from streamseg.smooth import CutDetector

HALF = Fraction(1, 2)

PATIENCE = 0.75
"""Share of the time between two live frames for which one waits for its own matte."""

CALLS_TO_JUDGE_BY = 5
"""The network keeps pace while the median of so many last calls does: one that was slow for once does not count."""


SEARCHED_PX, PATCH_PX, SEARCHED_AT_PX = 12, 8, 20
"""Of OpenCV's flow: the least side of a picture, the side of what is compared, and the width down to which a picture is
halved before."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A picture on which the network ran.

    Attributes:
        grey: `(h, w)`, at the matte's size.
        alpha: `(1, h, w)` in [0, 1].
        seconds: its time in the source.
        captured_seconds: as that of its frame.
    """

    grey: Pixels
    alpha: Tensor
    seconds: float
    captured_seconds: float


class Carrier:
    """Brings mattes from one picture to another of the same scene.

    Source: Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as in OpenCV.
    """

    def __init__(self) -> None:
        # On the moving people that we measured, the slower presets were not better.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._places = self._came_from = np.empty((0, 0, 2), np.float32)

    def carry(self, key: Key, grey: Pixels) -> Tensor:
        """The matte of `key`, `(1, h, w)`, where its picture has moved to in `grey`."""
        height, width = grey.shape
        now, before = _searchable(grey), _searchable(key.grey)
        if self._places.shape[:2] != now.shape:
            self._places = np.dstack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in now.shape[::-1])))
            self._came_from = np.empty_like(self._places)
        self._came_from.fill(0)  # The search would begin from what stands there.
        self._flow.calc(now, before, self._came_from)
        self._came_from += self._places
        matte, came_from = key.alpha[0].numpy(), self._came_from[:height, :width]
        # OpenCV's type stubs do not know that the second half of the places may be missing.
        moved = cv2.remap(matte, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return torch.from_numpy(moved)[None]


def _searchable(grey: Pixels) -> Pixels:
    """A picture that the flow can be searched in: one that is lower, as of a banner, with its edge repeated.

    OpenCV halves a picture as often as its width allows, and reads beyond one that is too low for that.
    """
    height, width = grey.shape
    halvings = max(0, math.floor(math.log2(width / SEARCHED_AT_PX)))
    least_height = max(SEARCHED_PX, PATCH_PX << halvings)
    if height >= least_height and width >= SEARCHED_PX:
        return grey
    below, right = max(0, least_height - height), max(0, SEARCHED_PX - width)
    return cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)


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


@dataclass(slots=True)
class _Shot:
    """A frame before its matte.

    Attributes:
        frame: the picture.
        inset: where it lies in the network's input.
        small: that input in RGB, `(1, input_height, input_width, 3)`.
        grey: the frame's part of it, `(h, w)`.
        is_cut: whether another scene begins with it.
        key: its matte, once the network has run on it.
    """

    frame: Frame
    inset: Inset
    small: Pixels
    grey: Pixels
    is_cut: bool
    key: Key | None = None

    def key_of(self, alpha: Tensor) -> Key:
        """From the network's `(1, input_height, input_width)`."""
        return Key(self.grey, self.inset.crop(alpha), float(self.frame.time), self.frame.captured_seconds)


def _shots(frames: Iterable[Frame], input_size: int) -> Iterator[_Shot]:
    cuts = CutDetector()
    for frame in frames:
        inset = inset_of(frame, input_size)
        small = small_pictures([frame.picture], inset)
        inner = small[0, inset.top : inset.top + inset.height, inset.left : inset.left + inset.width]
        grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        yield _Shot(frame, inset, small, grey, cuts.is_cut(inner))


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


def infer_newest(
    frames: Iterable[Frame],
    engine: Engine,
    input_size: int,
    frame_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Batch]:
    """For live sources: `engine` runs on a thread of its own, whenever it is free, on the newest frame.

    A frame waits for its own matte while the engine keeps the source's pace, and no longer than `PATIENCE` says:
    otherwise the newest matte moves with the picture, and the frame says how old it is. The first matte of a scene is
    waited for in any case.

    Args:
        frames: pictures of one size, as they arrive.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Inset.of`.
        frame_seconds: from one frame of the source to the next.
        clock: what the engine's calls are timed by, in seconds.
    """
    carrier = Carrier()
    with _Runner(engine, PATIENCE * frame_seconds, clock) as runner:
        for shot in _shots(frames, long_side(engine, input_size)):
            key = runner.newest(shot)
            alpha = key.alpha if key.grey is shot.grey else carrier.carry(key, shot.grey)
            age_seconds = shot.frame.captured_seconds - key.captured_seconds
            yield Batch((replace(shot.frame, matte_age_seconds=age_seconds),), alpha[None])


class _Runner:
    """Runs the engine on one picture at a time, on its own thread."""

    def __init__(self, engine: Engine, patience_seconds: float, clock: Callable[[], float]) -> None:
        self._engine, self._patience_seconds, self._clock = engine, patience_seconds, clock
        self._took_seconds: deque[float] = deque(maxlen=CALLS_TO_JUDGE_BY)
        self._pool = ThreadPoolExecutor(1, "streamseg-network")
        self._running: Future[Key] | None = None
        self._key: Key | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def newest(self, shot: _Shot) -> Key:
        """The newest matte that is there; starts the engine on this picture if it is free."""
        if self._running:
            self._take(self._running, None if shot.is_cut else 0)
        if not self._running:
            wait_seconds = None if shot.is_cut else self._worth_waiting_seconds()
            self._running = self._pool.submit(self._run, shot)
            self._take(self._running, wait_seconds)
        assert self._key
        return self._key

    def _worth_waiting_seconds(self) -> float:
        return self._patience_seconds if median(self._took_seconds) <= self._patience_seconds else 0

    def _take(self, running: Future[Key], wait_seconds: float | None) -> None:
        """Takes the matte if it is there by then; None: whenever it is."""
        if wait([running], wait_seconds).done:
            self._key, self._running = running.result(), None

    def _run(self, shot: _Shot) -> Key:
        started = self._clock()
        key = shot.key_of(matte_of(self._engine, shot.small)[0])
        self._took_seconds.append(self._clock() - started)
        return key
