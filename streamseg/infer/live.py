"""Inference for live sources: the network runs on its own thread, always on the newest frame."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from statistics import median
from typing import Protocol, Self

import torch
from torch import Tensor

from streamseg.frames import Batch, Frame
from streamseg.infer.engines.base import Engine, long_side, predict_one
from streamseg.infer.flow import FlowWarper, Keyframe
from streamseg.infer.pending import FrameReducer, PendingFrame

LIVE_BUDGET = 0.75
"""Fraction of the time between two live frames for which a frame waits for its own matte."""

FADE_SECONDS = 0.3
"""Time in which the mattes of one network turn into those of the next."""

TIMED_CALLS = 5
"""The network keeps pace if the median of this many last calls does, so that one slow call does not count."""


class LiveNetwork(Protocol):
    """The network that runs on the next frame of a live source; it may change from frame to frame."""

    @property
    def engine(self) -> Engine:
        """Runs the network."""
        ...

    @property
    def input_size(self) -> int:
        """Long side of the network's input in pixels; see `Letterbox.of`."""
        ...

    def observe(self, engine: Engine, call_seconds: float) -> None:
        """Take note of the time that a call of an engine took."""
        ...


@dataclass(frozen=True, slots=True)
class FixedNetwork:
    """A network that stays the same."""

    engine: Engine
    input_size: int

    def observe(self, engine: Engine, call_seconds: float) -> None:
        """See `LiveNetwork`."""


def infer_live(
    frames: Iterable[Frame],
    network: LiveNetwork,
    frame_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Batch]:
    """Run the network on its own thread, whenever it is free, on the newest frame of a live source.

    While the network keeps the source's pace, a frame waits for its own matte, for `LIVE_BUDGET` at most. Otherwise the
    newest matte is warped to the frame, whose `matte_age_seconds` tells how old it is. The first frame of a scene
    always waits for its matte. A card needs none.

    Args:
        frames: images of one size, as they arrive.
        network: what runs on the frames.
        frame_seconds: time from one frame of the source to the next.
        clock: times the network's calls, in seconds.

    Yields:
        Batches of one frame, with alpha `(1, 1, h, w)` in [0, 1]; `(1, 1, 1, 1)` for a card.
    """
    warper, reduce = FlowWarper(), FrameReducer()
    with _EngineThread(network, LIVE_BUDGET * frame_seconds, clock) as runner:
        for frame in frames:
            if frame.card is not None:
                yield Batch((frame,), torch.zeros(1, 1, 1, 1))
                reduce = FrameReducer()  # What follows a card is a new scene.
                continue
            pending = reduce(frame, long_side(network.engine, network.input_size))
            keyframe = runner.newest_keyframe(pending).at_size(pending.grey)
            alpha = keyframe.alpha if keyframe.grey is pending.grey else warper.warp(keyframe, pending.grey)
            alpha = runner.faded(alpha, pending, warper)
            age_seconds = frame.captured_seconds - keyframe.captured_seconds
            yield Batch((replace(frame, matte_age_seconds=age_seconds),), alpha[None])


class _EngineThread:
    """Runs the network on one frame at a time, on its own thread."""

    def __init__(self, network: LiveNetwork, budget_seconds: float, clock: Callable[[], float]) -> None:
        self._network, self._budget_seconds, self._clock = network, budget_seconds, clock
        self._call_seconds: deque[float] = deque(maxlen=TIMED_CALLS)
        self._pool = ThreadPoolExecutor(1, "streamseg-network")
        self._pending_call: Future[tuple[Keyframe, Engine]] | None = None
        self._keyframe: Keyframe | None = None
        self._engine: Engine | None = None
        self._fade_from: Keyframe | None = None
        self._fade_began = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def newest_keyframe(self, pending: PendingFrame) -> Keyframe:
        """Return the newest keyframe, after starting the engine on this frame if it is free."""
        if self._pending_call:
            self._collect(self._pending_call, None if pending.is_cut else 0)
        if not self._pending_call:
            wait_seconds = None if pending.is_cut else self._wait_seconds()
            self._pending_call = self._pool.submit(self._run, pending)
            self._collect(self._pending_call, wait_seconds)
        assert self._keyframe
        return self._keyframe

    def _wait_seconds(self) -> float:
        """Return how long a frame waits for its own matte: the budget if the engine keeps pace, else 0."""
        return self._budget_seconds if median(self._call_seconds) <= self._budget_seconds else 0

    def faded(self, alpha: Tensor, pending: PendingFrame, warper: FlowWarper) -> Tensor:
        """Mix the alpha `(1, h, w)` of a network that has just taken over with that of the one before it."""
        weight = (float(pending.frame.pts) - self._fade_began) / FADE_SECONDS
        if self._fade_from is None or weight >= 1 or pending.is_cut:
            self._fade_from = None
            return alpha
        return torch.lerp(warper.warp(self._fade_from.at_size(pending.grey), pending.grey), alpha, weight)

    def _collect(self, call: Future[tuple[Keyframe, Engine]], wait_seconds: float | None) -> None:
        """Take the keyframe of a call that ends within `wait_seconds`; None waits for its end."""
        if not wait([call], wait_seconds).done:
            return
        before, last_engine = self._keyframe, self._engine
        (self._keyframe, self._engine), self._pending_call = call.result(), None
        if before and (self._engine is not last_engine or before.grey.shape != self._keyframe.grey.shape):
            self._fade_from, self._fade_began = before, self._keyframe.seconds

    def _run(self, pending: PendingFrame) -> tuple[Keyframe, Engine]:
        started, engine = self._clock(), self._network.engine
        keyframe = pending.as_keyframe(predict_one(engine, pending.small)[0])
        self._call_seconds.append(self._clock() - started)
        self._network.observe(engine, self._call_seconds[-1])
        return keyframe, engine
