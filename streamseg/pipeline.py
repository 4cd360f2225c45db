"""Wires the stages: each runs ahead on its own thread, and an error anywhere ends all of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import cv2
import torch

from streamseg.composite.background import Background
from streamseg.composite.stage import composite
from streamseg.decode import SeekableSource, Source
from streamseg.frames import Batch, Frame, VideoInfo
from streamseg.gpu.line import on_gpu
from streamseg.hardware.cuda import SLOTS
from streamseg.infer.engines.base import Engine
from streamseg.infer.engines.torch_engine import StreamedEngine, TorchEngine
from streamseg.infer.every_frame import infer, warm_up
from streamseg.infer.keyframes import KeyframeInterval, infer_keyframes
from streamseg.infer.live import LIVE_BUDGET, infer_live
from streamseg.settings import InferSettings, Settings
from streamseg.sink import BaseSink, Sink, SinkClosed
from streamseg.smooth.filters import FILTER_WARMUP_SECONDS
from streamseg.smooth.stage import smooth
from streamseg.statistics import StageTime, Statistics

T = TypeVar("T")

RUN_AHEAD = 3
"""Items that a stage may be ahead of the next one, offline."""


class Prefetch(Generic[T]):
    """Runs an iterable ahead on its own thread, at most `depth` items.

    Offline, the thread waits while the queue is full; live, the oldest item gives way and is counted in
    `dropped`. What the iterable raises is raised to the consumer after the items before it.
    """

    def __init__(self, items: Iterable[T], depth: int, live: bool = False, name: str = "prefetch") -> None:
        self._items, self._depth, self._live, self.name = items, depth, live, name
        self._queue: deque[T] = deque()
        self._changed = threading.Condition()
        self._stopped = self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._produce, name=f"streamseg-{name}")
        self.dropped = 0
        self.producing_seconds = self.blocked_seconds = self.starving_seconds = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                started = time.perf_counter()
                self._changed.wait_for(lambda: self._queue or self._ended or self._stopped)
                self.starving_seconds += time.perf_counter() - started
                if self._stopped or not self._queue:
                    break
                item = self._queue.popleft()
                self._changed.notify_all()
            yield item
        if self._error and not self._stopped:
            raise self._error

    def stop(self) -> None:
        """Ends the thread at its next item and the consumer at once; does not wait."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _produce(self) -> None:
        iterator = iter(self._items)
        try:
            for item in self._timed(iterator):
                if not self._put(item):
                    break
        except BaseException as error:
            self._error = error
        finally:
            close = getattr(iterator, "close", None)
            if close:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _timed(self, iterator: Iterator[T]) -> Iterator[T]:
        while True:
            started = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.producing_seconds += time.perf_counter() - started
            yield item

    def _put(self, item: T) -> bool:
        with self._changed:
            if self._live and len(self._queue) >= self._depth:
                self._queue.popleft()
                self.dropped += 1
            started = time.perf_counter()
            self._changed.wait_for(lambda: self._stopped or len(self._queue) < self._depth)
            self.blocked_seconds += time.perf_counter() - started
            self._queue.append(item)
            self._changed.notify_all()
            return not self._stopped


def run(
    source: Source,
    engine: Engine,
    sink: Sink,
    settings: Settings,
    frame_limit: int | None = None,
    on_frame: Callable[[Statistics], None] = lambda _: None,
    run_ahead: int = RUN_AHEAD,
    statistics: Statistics | None = None,
    background: Background | None = None,
) -> Statistics:
    """Send every frame of `source` down the pipeline into `sink`, in the calling thread.

    Args:
        source: where frames come from; a live one makes the pipeline keep only the newest frame.
        engine: runs the network.
        sink: takes the finished frames; the run ends when it raises SinkClosed.
        settings: the settings of the stages.
        frame_limit: number of frames to take from the source.
        on_frame: called after every finished frame.
        run_ahead: items between two stages, offline; the output does not depend on it.
        statistics: counts the frames, for a caller that shows them meanwhile; a new one if none is given.
        background: what the person is set before, in the place of the one that the settings name; stays open.

    Raises:
        StreamsegError: a stage failed; all threads have ended.
    """
    live = source.info.live
    depth = 1 if live else run_ahead
    taken = 1 if live else settings.infer.batch_size * settings.infer.stride
    statistics = statistics or Statistics()
    if live:
        warm_up(engine, source.info, settings.infer.input_size)
    if isinstance(sink, BaseSink) and isinstance(source, SeekableSource) and sink.resume_at > FILTER_WARMUP_SECONDS:
        source.skip_to(sink.resume_at - FILTER_WARMUP_SECONDS)
    frames = Prefetch(islice(source, frame_limit), depth * taken, live, "decode")
    stages = (frames, *_work(frames, engine, settings, source.info, depth, background))
    finished, sink_seconds = stages[-1], 0.0
    with _running(stages, engine), suppress(SinkClosed):
        for frame in finished:
            started = time.perf_counter()
            sink.write(frame)
            sink_seconds += time.perf_counter() - started
            statistics.count(frame, frames.dropped)
            on_frame(statistics)
    statistics.dropped = frames.dropped
    statistics.stages = _stage_times(stages) | {"sink": StageTime(sink_seconds, finished.starving_seconds)}
    return statistics


def _work(
    frames: Iterable[Frame],
    engine: Engine,
    settings: Settings,
    info: VideoInfo,
    depth: int,
    background: Background | None,
) -> tuple[Prefetch[Any], ...]:
    """The stages between the decoder and the sink; on a GPU one, if the network is to run on every frame."""
    if isinstance(engine, StreamedEngine) and _on_every_frame(engine, settings.infer, info):
        batch_size, ahead = (1, 0) if info.live else (settings.infer.batch_size, SLOTS - 1)
        return (Prefetch(on_gpu(frames, engine, settings, batch_size, ahead, background), depth, name="gpu"),)
    batches = Prefetch(_inferred(frames, engine, settings.infer, info), depth, name="infer")
    pictures = composite(smooth(batches, settings.smooth), settings.composite, background)
    return batches, Prefetch(pictures, depth, name="composite")


def _on_every_frame(engine: Engine, settings: InferSettings, info: VideoInfo) -> bool:
    """Whether the network is to run on each; live, whether it has a matte before the next frame is there."""
    if not info.live:
        return settings.stride == 1
    started = time.perf_counter()
    warm_up(engine, info, settings.input_size)
    return time.perf_counter() - started <= LIVE_BUDGET / info.rate


def _inferred(frames: Iterable[Frame], engine: Engine, settings: InferSettings, info: VideoInfo) -> Iterator[Batch]:
    """Stage 2 as the source and the settings want it."""
    size = settings.input_size
    if info.live:
        return infer_live(frames, engine, size, float(1 / info.rate))
    if settings.stride > 1:
        return infer_keyframes(frames, engine, size, KeyframeInterval(settings.stride, info.rate), settings.batch_size)
    return infer(frames, engine, size, settings.batch_size)


def mattes(source: Source, engine: Engine, settings: Settings, run_ahead: int = RUN_AHEAD) -> Generator[Batch]:
    """Yield the frames of `source` with their steadied mattes, while decoder and network run ahead on threads.

    Closing the iterator ends the threads.

    Args:
        source: where frames come from; of a live one, only the newest frame is kept.
        engine: runs the network.
        settings: the settings of the stages.
        run_ahead: items between two stages, offline.

    Raises:
        StreamsegError: a stage failed; all threads have ended.
    """
    live = source.info.live
    depth = 1 if live else run_ahead
    taken = 1 if live else settings.infer.batch_size * settings.infer.stride
    frames = Prefetch(source, depth * taken, live, "decode")
    batches = Prefetch(_inferred(frames, engine, settings.infer, source.info), depth, name="infer")
    with _running((frames, batches), engine):
        yield from smooth(batches, settings.smooth)


@contextmanager
def _running(stages: tuple[Prefetch[Any], ...], engine: Engine) -> Iterator[None]:
    """Each stage has its thread inside."""
    with ExitStack() as stack:
        stack.enter_context(_one_thread_in_libraries(engine))
        for stage in stages:
            stack.enter_context(stage)
        # All are told before the first is waited for: a stage may be waiting for its neighbour.
        for stage in stages:
            stack.callback(stage.stop)
        yield


@contextmanager
def _one_thread_in_libraries(engine: Engine) -> Iterator[None]:
    """Every stage has its thread already; those of OpenCV and PyTorch would wait for cores that the network uses."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    if not isinstance(engine, TorchEngine):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def _stage_times(stages: tuple[Prefetch[Any], ...]) -> dict[str, StageTime]:
    """A stage's production less its wait for the one before it is its work."""
    starved = (0.0, *(stage.starving_seconds for stage in stages))
    return {
        stage.name: StageTime(max(0.0, stage.producing_seconds - waited), waited, stage.blocked_seconds)
        for stage, waited in zip(stages, starved, strict=False)
    }
