"""The pipeline: runs each stage ahead on its own thread, connected by queues; an error in one stage ends all."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import cv2
import torch

from streamseg.composite.background import Background, chosen_background
from streamseg.composite.live import composite_live
from streamseg.composite.stage import composite
from streamseg.controls import Controls
from streamseg.decode import SeekableSource, Source
from streamseg.frames import Batch, Frame, VideoInfo
from streamseg.gpu.line import composite_on_gpu
from streamseg.hardware.cuda import SLOTS
from streamseg.infer.crops import infer_with_crops
from streamseg.infer.engines.base import Engine
from streamseg.infer.engines.torch_engine import StreamedEngine, TorchEngine
from streamseg.infer.every_frame import warm_up
from streamseg.infer.keyframes import KeyframeInterval, infer_keyframes
from streamseg.infer.live import LIVE_BUDGET, FixedNetwork, LiveNetwork, infer_live
from streamseg.settings import InferSettings, Settings, SmoothSettings
from streamseg.sink import BaseSink, Sink, SinkClosed
from streamseg.smooth.filters import FILTER_WARMUP_SECONDS, settling_seconds
from streamseg.smooth.seams import Seams
from streamseg.smooth.stage import smooth
from streamseg.statistics import StageTime, Statistics

T = TypeVar("T")

RUN_AHEAD = 3
"""Items in the queue between two stages, for sources that are not live."""


class Prefetch(Generic[T]):
    """Runs an iterable ahead on its own thread, with a queue of at most `depth` items.

    Offline, the thread waits while the queue is full. Live, a full queue drops its oldest item. An exception of the
    iterable is raised to the consumer after the items before it.

    Attributes:
        name: of the stage.
        dropped: number of items dropped.
        producing_seconds: time inside the iterable.
        blocked_seconds: time that the thread waited for room in the queue.
        starving_seconds: time that the consumer waited for an item.
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
        """End the consumer at once and the thread at its next item; do not wait for the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _produce(self) -> None:
        """Fill the queue on the thread; close the iterable at the end and keep its exception for the consumer."""
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
        """Yield the iterator's items and add up the time that it takes for them."""
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
        """Append an item to the queue; return whether to go on."""
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
    controls: Controls | None = None,
    network: LiveNetwork | None = None,
    seams: Seams | None = None,
) -> Statistics:
    """Run the pipeline from `source` to `sink`; the sink runs in the calling thread.

    Args:
        source: yields frames; of a live source only the newest frame is processed.
        engine: runs the network.
        sink: takes the finished frames; the run ends when it raises SinkClosed.
        settings: of all stages.
        frame_limit: number of frames to read from the source; None for all.
        on_frame: called after every finished frame.
        run_ahead: items in the queue between two stages, offline; the output does not depend on it.
        statistics: updated with every frame, for a caller that displays them; a new object if None.
        background: replaces the background that the settings name, and is not closed.
        controls: settings of a live run that change while it goes on, in place of `settings`.
        network: live, which network runs on the next frame, in place of `engine`.
        seams: the ends of the stretch that the source is of, if it is not a whole video; with all work on a GPU, whose
            filter forgets, they are not looked at.

    Returns:
        Statistics of the run, with the stages' times.

    Raises:
        StreamsegError: a stage failed; all threads have ended.
    """
    live = source.info.live
    depth = 1 if live else run_ahead
    statistics = statistics or Statistics()
    if live:
        warm_up(engine, source.info, settings.infer.input_size)
    opened: AbstractContextManager[Background | None] = nullcontext(background)
    begin = _skip_to_resume_point(source, sink, settings.smooth)
    if begin is not None:  # A background video does not begin anew where the run goes on.
        opened = chosen_background(settings.composite, background, begin)
    frames = _decode_ahead(islice(source, frame_limit), source.info, settings.infer, depth)
    with opened as behind:
        if controls:
            stages = (
                frames,
                *_controlled_stages(
                    frames, network or FixedNetwork(engine, settings.infer.input_size), controls, source.info
                ),
            )
        else:
            stages = (frames, *_stages(frames, engine, settings, source.info, depth, behind, seams))
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


def _skip_to_resume_point(source: Source, sink: Sink, settings: SmoothSettings) -> Fraction | None:
    """Skip what an interrupted run has written, up to where the filter has to begin.

    Who stays was chosen at the beginning, and has to be followed from there.

    Returns:
        The pts of the source's first frame; None if nothing was skipped.
    """
    resume_at = sink.resume_at if isinstance(sink, BaseSink) else Fraction(0)
    warm_up_at = resume_at - Fraction(max(FILTER_WARMUP_SECONDS, settling_seconds(settings)))
    if warm_up_at <= 0 or not isinstance(source, SeekableSource) or source.first_pts < 0 or settings.picks:
        return None
    source.skip_to(warm_up_at)
    return source.first_pts


def _decode_ahead(frames: Iterable[Frame], info: VideoInfo, settings: InferSettings, depth: int) -> Prefetch[Frame]:
    """Return the decoding stage, whose queue holds the frames of `depth` calls of the network; live, the newest one."""
    frames_per_call = 1 if info.live else settings.batch_size * settings.stride
    if info.pixel_aspect != 1:
        frames = (replace(frame, pixel_aspect=info.pixel_aspect) for frame in frames)
    return Prefetch(frames, depth * frames_per_call, info.live, "decode")


def _stages(
    frames: Iterable[Frame],
    engine: Engine,
    settings: Settings,
    info: VideoInfo,
    depth: int,
    background: Background | None,
    seams: Seams | None,
) -> tuple[Prefetch[Any], ...]:
    """Return the stages from decoder to sink; on a GPU, one stage infers, smooths and composites on every frame."""
    on_gpu = not settings.smooth.picks  # Who stays is found on the CPU.
    if isinstance(engine, StreamedEngine) and on_gpu and _runs_on_every_frame(engine, settings.infer, info):
        batch_size, ahead = (1, 0) if info.live else (settings.infer.batch_size, SLOTS - 1)
        return (Prefetch(composite_on_gpu(frames, engine, settings, batch_size, ahead, background), depth, name="gpu"),)
    batches = Prefetch(_infer(frames, engine, settings.infer, info), depth, name="infer")
    smoothed = smooth(batches, settings.smooth, looks_ahead=not info.live, seams=seams)
    composites = composite(smoothed, settings.composite, background)
    return batches, Prefetch(composites, depth, name="composite")


def _controlled_stages(
    frames: Iterable[Frame], network: LiveNetwork, controls: Controls, info: VideoInfo
) -> tuple[Prefetch[Any], ...]:
    """Return the stages of a live run whose settings change while it goes on; on a GPU only the network runs there."""
    batches = Prefetch(infer_live(frames, network, float(1 / info.rate)), 1, name="infer")
    smoothed = smooth(batches, lambda: controls.smooth)
    return batches, Prefetch(composite_live(smoothed, controls), 1, name="composite")


def _runs_on_every_frame(engine: Engine, settings: InferSettings, info: VideoInfo) -> bool:
    """Return whether the network runs on every frame; live, whether a warm call fits in `LIVE_BUDGET`."""
    if not info.live:
        return settings.stride == 1 and not settings.refine
    started = time.perf_counter()
    warm_up(engine, info, settings.input_size)
    return time.perf_counter() - started <= LIVE_BUDGET / info.rate


def _infer(frames: Iterable[Frame], engine: Engine, settings: InferSettings, info: VideoInfo) -> Iterator[Batch]:
    """Return the batches of inference on every frame, on keyframes or live, as the source and the settings demand."""
    size = settings.input_size
    if info.live:
        return infer_live(frames, FixedNetwork(engine, size), float(1 / info.rate))
    if settings.stride > 1:
        return infer_keyframes(frames, engine, size, KeyframeInterval(settings.stride, info.rate), settings.batch_size)
    return infer_with_crops(frames, engine, settings)


def mattes(source: Source, engine: Engine, settings: Settings, run_ahead: int = RUN_AHEAD) -> Generator[Batch]:
    """Yield a source's frames with smoothed mattes, while decoder and network run ahead on threads.

    Closing the iterator ends the threads.

    Args:
        source: yields frames; of a live source only the newest frame is processed.
        engine: runs the network.
        settings: of the stages.
        run_ahead: items in the queue between two stages, offline.

    Raises:
        StreamsegError: a stage failed; all threads have ended.
    """
    depth = 1 if source.info.live else run_ahead
    frames = _decode_ahead(source, source.info, settings.infer, depth)
    batches = Prefetch(_infer(frames, engine, settings.infer, source.info), depth, name="infer")
    with _running((frames, batches), engine):
        yield from smooth(batches, settings.smooth, looks_ahead=not source.info.live)


@contextmanager
def _running(stages: tuple[Prefetch[Any], ...], engine: Engine) -> Iterator[None]:
    """Run every stage on its thread inside the `with` block."""
    with ExitStack() as stack:
        stack.enter_context(_one_thread_in_libraries(engine))
        for stage in stages:
            stack.enter_context(stage)
        # Stop every stage before joining any of them: a stage may be blocked on its neighbour.
        for stage in stages:
            stack.callback(stage.stop)
        yield


@contextmanager
def _one_thread_in_libraries(engine: Engine) -> Iterator[None]:
    """Limit OpenCV, and PyTorch if another engine runs the network, to one thread each.

    Every stage has its own thread; the libraries' threads would compete for the cores that the network uses.
    """
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
    """Compute each stage's time; its busy time is its producing time less its wait for the stage before it."""
    starved = (0.0, *(stage.starving_seconds for stage in stages))
    return {
        stage.name: StageTime(max(0.0, stage.producing_seconds - waited), waited, stage.blocked_seconds)
        for stage, waited in zip(stages, starved, strict=False)
    }
