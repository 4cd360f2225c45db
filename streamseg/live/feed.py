"""Feed: the newest frame of a live run for any number of viewers, each of whom loses what they are too slow for."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from streamseg.frames import Frame

T = TypeVar("T")

RATE_SECONDS = 3.0
"""The frame rate is that of this many last seconds."""


class FeedEnded(Exception):
    """The run has ended: no frame will follow."""


@dataclass(frozen=True, slots=True)
class Numbered(Generic[T]):
    """A frame, or what was made of it, with its place in the feed: 1, 2, 3, ..."""

    number: int
    item: T


class Feed:
    """Takes frames in the pipeline's thread and hands the newest one to coroutines of the server's event loop.

    Attributes:
        loop: the event loop.
        frames: number of frames that came in.
        lost: number of frames that viewers lost because they, or the encoder, were too slow.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._newest: Numbered[Frame] | None = None
        self._arrivals: deque[float] = deque(maxlen=256)
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_ended = False
        self.frames = self.lost = 0

    def put(self, frame: Frame) -> None:
        """Take the next frame; this neither converts nor waits, and wakes the event loop only if a viewer waits."""
        self.frames += 1
        self._newest = Numbered(self.frames, frame)
        self._arrivals.append(time.monotonic())
        if self._waiting:
            self.loop.call_soon_threadsafe(self._wake)

    def end(self) -> None:
        """End the feed; called on the event loop."""
        self._is_ended = True
        self._wake()

    @property
    def newest(self) -> Frame | None:
        """The newest frame, if there has been one."""
        return self._newest.item if self._newest else None

    def fps(self) -> float:
        """Return the frames a second over the last `RATE_SECONDS`."""
        since = time.monotonic() - RATE_SECONDS
        recent = [arrival for arrival in tuple(self._arrivals) if arrival >= since]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0

    async def newer_than(self, number: int) -> Numbered[Frame]:
        """Wait for a frame with a higher number.

        Raises:
            FeedEnded: the run has ended.
        """
        while True:
            arrival: asyncio.Future[None] = self.loop.create_future()
            self._waiting.add(arrival)  # Before the look at the newest frame, so that none slips through between.
            try:
                if self._is_ended:
                    raise FeedEnded
                if self._newest and self._newest.number > number:
                    return self._newest
                await arrival
            finally:
                self._waiting.discard(arrival)

    def _wake(self) -> None:
        for arrival in self._waiting:
            if not arrival.done():
                arrival.set_result(None)


class Encoded(Generic[T]):
    """One form of the feed's frames: made once a frame for all its viewers, and only while there are any.

    Attributes:
        viewers: number of those who watch.
    """

    def __init__(self, feed: Feed, encode: Callable[[Frame], T]) -> None:
        """Take the function that makes the form of a frame, on a thread of the event loop's executor."""
        self._feed, self._encode = feed, encode
        self._newest: Numbered[T] | None = None
        self._making: asyncio.Task[None] | None = None
        self.viewers = 0

    @contextmanager
    def watched(self) -> Iterator[Viewer[T]]:
        """Count a viewer for the time of the `with` block."""
        self.viewers += 1
        viewer = Viewer(self, self._feed)
        try:
            yield viewer
        finally:
            viewer.leave()
            self.viewers -= 1
            if not self.viewers:
                self._newest = None

    async def newer_than(self, number: int) -> Numbered[T]:
        """Wait for the form of a frame with a higher number; see `Feed.newer_than`."""
        while not self._newest or self._newest.number <= number:
            if not self._making:
                self._making = asyncio.create_task(self._make(number))
                self._making.add_done_callback(_take_note)
            await asyncio.shield(self._making)
        return self._newest

    async def _make(self, number: int) -> None:
        """Make the form of a frame; when this is done, there is nothing more to wait for."""
        try:
            frame = await self._feed.newer_than(number)
            item = await self._feed.loop.run_in_executor(None, self._encode, frame.item)
            self._newest = Numbered(frame.number, item)
        finally:
            # Not in a callback of the task: whoever came between would wait for it for ever, and never let it run.
            self._making = None


def _take_note(making: asyncio.Task[None]) -> None:
    """Take note of a failure, which asyncio would complain about if every viewer who waits for it has left."""
    if not making.cancelled():
        making.exception()


class Viewer(Generic[T]):
    """One viewer of a form of the feed: gets the newest frame each time, and counts those missed."""

    def __init__(self, encoded: Encoded[T], feed: Feed) -> None:
        self._encoded, self._feed, self._number = encoded, feed, 0

    async def next(self) -> T:
        """Wait for a frame that this viewer has not had; see `Feed.newer_than`."""
        newest = await self._encoded.newer_than(self._number)
        self._count_lost(newest.number - 1)
        self._number = newest.number
        return newest.item

    def leave(self) -> None:
        """Count the frames that this viewer, who was stuck, has missed since the last one."""
        self._count_lost(self._feed.frames - 1)  # The newest may not have been made yet.

    def _count_lost(self, until: int) -> None:
        if self._number:
            self._feed.lost += max(0, until - self._number)
