"""Station 2 where the network does not run on every frame: between its mattes, the last one moves with the picture."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from typing import Self

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.frames import Batch, Frame, Pixels
from streamseg.infer import Engine, Inset, matte_of, small_pictures
from streamseg.smooth import CutDetector

HALF = Fraction(1, 2)

PATIENCE = 0.75
"""Share of the time between two live frames in which a matte has to be there to be waited for."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A picture on which the network ran.

    Attributes:
        grey: `(h, w)`, at the matte's size.
        alpha: `(1, h, w)` in [0, 1].
        seconds: its time in the source.
    """

    grey: Pixels
    alpha: Tensor
    seconds: float


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
        if self._places.shape[:2] != grey.shape:
            self._places = np.dstack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in grey.shape[::-1])))
            self._came_from = np.empty_like(self._places)
        self._came_from.fill(0)  # The search would begin from what stands there.
        self._flow.calc(grey, key.grey, self._came_from)
        self._came_from += self._places
        matte = key.alpha[0].numpy()
        # OpenCV's type stubs do not know that the second half of the places may be missing.
        moved = cv2.remap(matte, self._came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return torch.from_numpy(moved)[None]


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
    for shot in _keyed(frames, engine, input_size, stride, batch_size):
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
    frame: Frame
    grey: Pixels
    is_cut: bool
    key: Key | None = None


def _keyed(
    frames: Iterable[Frame], engine: Engine, input_size: int, stride: Stride, batch_size: int
) -> Iterator[_Shot]:
    """The frames in their order, with a matte where the network runs."""
    cuts, rest, number = CutDetector(), iter(frames), None
    for first in rest:
        taken = tuple(chain((first,), islice(rest, batch_size * stride.frames - 1)))
        inset = _inset(first, input_size)
        small = small_pictures([frame.picture for frame in taken], inset)
        shots = [_Shot(frame, *_seen(picture, inset, cuts)) for frame, picture in zip(taken, small, strict=True)]
        numbers = [number, *(stride.number(frame) for frame in taken)]
        keyed = [n for n, shot in enumerate(shots) if shot.is_cut or numbers[n] != numbers[n + 1]]
        number = numbers[-1]
        for some in (keyed[start : start + batch_size] for start in range(0, len(keyed), batch_size)):
            mattes = inset.crop(matte_of(engine, small[some]))
            for n, alpha in zip(some, mattes, strict=True):
                shots[n].key = Key(shots[n].grey, alpha, float(shots[n].frame.time))
        yield from shots


def _inset(frame: Frame, input_size: int) -> Inset:
    height, width, _ = frame.picture.shape
    return Inset.of(height, width, input_size)


def _seen(small: Pixels, inset: Inset, cuts: CutDetector) -> tuple[Pixels, bool]:
    """The frame's part of the network's input in grey, and whether another scene begins with it."""
    inner = small[inset.top : inset.top + inset.height, inset.left : inset.left + inset.width]
    grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    return grey, cuts.is_cut(inner)


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


def infer_newest(frames: Iterable[Frame], engine: Engine, input_size: int, frame_seconds: float) -> Iterator[Batch]:
    """For live sources: `engine` runs on a thread of its own, whenever it is free, on the newest frame.

    No frame waits for it: the newest matte moves with the picture. Only an engine that keeps the source's pace is
    waited for, and so is the first matte of a scene.

    Args:
        frames: pictures of one size, as they arrive.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Inset.of`.
        frame_seconds: from one frame of the source to the next.
    """
    carrier, cuts = Carrier(), CutDetector()
    with _Runner(engine, PATIENCE * frame_seconds) as runner:
        for frame in frames:
            inset = _inset(frame, input_size)
            small = small_pictures([frame.picture], inset)
            grey, is_cut = _seen(small[0], inset, cuts)
            key = runner.newest(small, _Shot(frame, grey, is_cut), inset)
            alpha = key.alpha if key.grey is grey else carrier.carry(key, grey)
            yield Batch((frame,), alpha[None])


class _Runner:
    """Runs the engine on one picture at a time, on its own thread."""

    def __init__(self, engine: Engine, patience_seconds: float) -> None:
        self._engine, self._patience_seconds = engine, patience_seconds
        self._took_seconds = 0.0
        self._pool = ThreadPoolExecutor(1, "streamseg-network")
        self._running: Future[Key] | None = None
        self._key: Key | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def newest(self, small: Pixels, shot: _Shot, inset: Inset) -> Key:
        """The newest matte that is there; starts the engine on this picture if it is free."""
        if self._running and (shot.is_cut or self._running.done()):
            self._finish()
        if not self._running:
            self._running = self._pool.submit(self._run, small, shot, inset)
            if shot.is_cut or self._took_seconds <= self._patience_seconds:
                self._finish()
        assert self._key
        return self._key

    def _finish(self) -> None:
        assert self._running
        self._key, self._running = self._running.result(), None

    def _run(self, small: Pixels, shot: _Shot, inset: Inset) -> Key:
        started = time.perf_counter()
        alpha = inset.crop(matte_of(self._engine, small))[0]
        self._took_seconds = time.perf_counter() - started
        return Key(shot.grey, alpha, float(shot.frame.time))
