"""For live sources: the network runs whenever it is free, on the newest frame."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from statistics import median
from typing import Self

from streamseg.frames import Batch, Frame
from streamseg.infer.engines.base import Engine, long_side, predict_one
from streamseg.infer.flow import FlowWarper, Key
from streamseg.infer.pending import PendingFrame, prepare

LIVE_BUDGET = 0.75
"""Share of the time between two live frames for which one waits for its own matte."""

CALLS_TO_JUDGE_BY = 5
"""The network keeps pace while the median of so many last calls does: one that was slow for once does not count."""


def infer_live(
    frames: Iterable[Frame],
    engine: Engine,
    input_size: int,
    frame_seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Batch]:
    """For live sources: `engine` runs on a thread of its own, whenever it is free, on the newest frame.

    A frame waits for its own matte while the engine keeps the source's pace, and no longer than `LIVE_BUDGET` says:
    otherwise the newest matte moves with the picture, and the frame says how old it is. The first matte of a scene is
    waited for in any case.

    Args:
        frames: pictures of one size, as they arrive.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Letterbox.of`.
        frame_seconds: from one frame of the source to the next.
        clock: what the engine's calls are timed by, in seconds.
    """
    warper = FlowWarper()
    with _Runner(engine, LIVE_BUDGET * frame_seconds, clock) as runner:
        for pending in prepare(frames, long_side(engine, input_size)):
            key = runner.newest(pending)
            alpha = key.alpha if key.grey is pending.grey else warper.warp(key, pending.grey)
            age_seconds = pending.frame.captured_seconds - key.captured_seconds
            yield Batch((replace(pending.frame, matte_age_seconds=age_seconds),), alpha[None])


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

    def newest(self, pending: PendingFrame) -> Key:
        """The newest matte that is there; starts the engine on this picture if it is free."""
        if self._running:
            self._take(self._running, None if pending.is_cut else 0)
        if not self._running:
            wait_seconds = None if pending.is_cut else self._worth_waiting_seconds()
            self._running = self._pool.submit(self._run, pending)
            self._take(self._running, wait_seconds)
        assert self._key
        return self._key

    def _worth_waiting_seconds(self) -> float:
        return self._patience_seconds if median(self._took_seconds) <= self._patience_seconds else 0

    def _take(self, running: Future[Key], wait_seconds: float | None) -> None:
        """Takes the matte if it is there by then; None: whenever it is."""
        if wait([running], wait_seconds).done:
            self._key, self._running = running.result(), None

    def _run(self, pending: PendingFrame) -> Key:
        started = self._clock()
        key = pending.key_of(predict_one(self._engine, pending.small)[0])
        self._took_seconds.append(self._clock() - started)
        return key
