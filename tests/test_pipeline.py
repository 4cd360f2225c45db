"""The line as a whole: what it gives, that threads and queues do not show, and how it ends when a stage fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.decode import Source
from streamseg.errors import EngineError, InputError, OutputError, StreamsegError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.engines.base import Engine
from streamseg.infer.engines.torch_engine import TorchEngine
from streamseg.pipeline import Prefetch, run
from streamseg.settings import Settings, load_settings
from streamseg.sink import SinkClosed
from tests.synthetic import Collector, DiscEngine, ListSource, frames, randomised, true_alpha

MATTE = load_settings(overrides={"matte_only": True, "smooth": "none", "input_size": 128})


def collect(
    source: Source, settings: Settings = MATTE, engine: Engine | None = None, run_ahead: int = 3
) -> list[Pixels]:
    with Collector() as sink:
        run(source, engine or DiscEngine(), sink, settings, run_ahead=run_ahead)
    return [frame.pixels for frame in sink.frames]


def test_the_matte_is_the_disc() -> None:
    mattes = collect(ListSource(frames(8)))
    assert len(mattes) == 8
    for index, matte in enumerate(mattes):
        assert np.abs(matte.astype(int) - true_alpha(index)).mean() < 1.5


@pytest.mark.parametrize("run_ahead", [1, 2, 16])
def test_queue_depth_does_not_show(run_ahead: int) -> None:
    expected = collect(ListSource(frames(9)))
    assert all(map(np.array_equal, collect(ListSource(frames(9)), run_ahead=run_ahead), expected))


@pytest.mark.parametrize("smooth", ["none", "ema", "one-euro"])
@pytest.mark.parametrize("batch_size", [2, 4, 64])
def test_batch_size_does_not_show(batch_size: int, smooth: str) -> None:
    overrides = {"matte_only": True, "smooth": smooth, "input_size": 128}
    expected = collect(ListSource(frames(9)), load_settings(overrides=overrides))
    found = collect(ListSource(frames(9)), load_settings(overrides=overrides | {"batch_size": batch_size}))
    assert len(found) == 9
    assert max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, expected, strict=True)) <= 1


def test_frames_keep_order_index_and_time() -> None:
    with Collector() as sink:
        run(ListSource(frames(7)), DiscEngine(), sink, MATTE)
    assert [(frame.index, frame.pts) for frame in sink.frames] == [(i, Fraction(i, 25)) for i in range(7)]


def test_the_frame_limit_counts_source_frames() -> None:
    with Collector() as sink:
        statistics = run(ListSource(frames(9)), DiscEngine(), sink, MATTE, frame_limit=4)
    assert statistics.frames == 4


def test_the_engine_is_called_once_a_batch() -> None:
    engine = DiscEngine()
    collect(ListSource(frames(9)), load_settings(overrides={"matte_only": True, "batch_size": 4}), engine)
    assert engine.calls == 3


class Failing:
    """Stands in for any stage: works `good` times, then raises."""

    def __init__(self, error: BaseException, good: int) -> None:
        self.error, self.good = error, good

    def step(self) -> None:
        self.good -= 1
        if self.good < 0:
            raise self.error


class FailingSource(ListSource):
    def __init__(self, failing: Failing) -> None:
        super().__init__(frames(30))
        self.failing = failing

    def __iter__(self) -> Iterator[Frame]:
        for frame in super().__iter__():
            self.failing.step()
            yield frame


class FailingEngine(DiscEngine):
    def __init__(self, failing: Failing) -> None:
        super().__init__()
        self.failing = failing

    def alpha(self, frames: Tensor) -> Tensor:
        self.failing.step()
        return super().alpha(frames)


class FailingSink(Collector):
    def __init__(self, failing: Failing) -> None:
        super().__init__()
        self.failing = failing

    def write(self, frame: Frame) -> None:
        self.failing.step()
        super().write(frame)


@pytest.mark.parametrize("good", [0, 1, 7])
@pytest.mark.parametrize("stage", ["decode", "infer", "smooth", "composite", "sink"])
def test_a_fault_anywhere_ends_the_run_with_its_error(stage: str, good: int, monkeypatch: pytest.MonkeyPatch) -> None:
    error = {"decode": InputError, "infer": EngineError, "sink": OutputError}.get(stage, StreamsegError)("broken")
    failing = Failing(error, good)
    source: Source = FailingSource(failing) if stage == "decode" else ListSource(frames(30))
    engine = FailingEngine(failing) if stage == "infer" else DiscEngine()
    sink = FailingSink(failing) if stage == "sink" else Collector()
    if stage == "smooth":
        monkeypatch.setattr("streamseg.smooth.stage.CutDetector.is_cut", lambda *_: failing.step() or False)
    if stage == "composite":
        blank = np.zeros((96, 128), np.uint8)
        monkeypatch.setattr("streamseg.composite.stage.refine", lambda *_: failing.step() or blank)
    with pytest.raises(type(error), match="broken"), sink:
        run(source, engine, sink, load_settings())
    assert sink.ended == "discarded"
    assert _our_threads() == []


def test_ctrl_c_completes_the_output_and_ends_the_threads() -> None:
    failing = Failing(KeyboardInterrupt(), 5)
    sink = FailingSink(failing)
    with pytest.raises(KeyboardInterrupt), sink:
        run(ListSource(frames(30)), DiscEngine(), sink, MATTE)
    assert (sink.ended, len(sink.frames)) == ("complete", 5)
    assert _our_threads() == []


def test_a_closed_window_ends_the_run() -> None:
    class Window(Collector):
        def write(self, frame: Frame) -> None:
            if len(self.frames) == 3:
                raise SinkClosed
            super().write(frame)

    with Window() as sink:
        run(ListSource(frames(30)), DiscEngine(), sink, MATTE)
    assert len(sink.frames) == 3
    assert _our_threads() == []


def test_live_keeps_the_newest_and_counts_what_it_drops() -> None:
    taken = threading.Event()

    def camera() -> Iterator[int]:
        yield 0
        taken.wait()
        yield from range(1, 6)

    with Prefetch(camera(), depth=1, live=True) as newest:
        items = iter(newest)
        assert next(items) == 0
        taken.set()
        newest._thread.join()
        assert (list(items), newest.dropped) == ([5], 4)


def test_offline_waits_and_drops_nothing() -> None:
    with Prefetch(range(100), depth=1) as everything:
        assert list(everything) == list(range(100))
    assert everything.dropped == 0


def test_items_before_an_error_come_first() -> None:
    def broken() -> Iterator[int]:
        yield from (1, 2)
        raise ValueError("third")

    with Prefetch(broken(), depth=8) as items:
        ahead = iter(items)
        assert (next(ahead), next(ahead)) == (1, 2)
        with pytest.raises(ValueError, match="third"):
            next(ahead)


def test_a_station_that_is_left_early_closes_its_generator() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with Prefetch(endless(), depth=2) as items:
        next(iter(items))
    assert closed.is_set()


class SlowCamera(ListSource):
    """Gives the next frame when the last one has come out at the end."""

    def __init__(self, sink: Collector, rate: Fraction) -> None:
        super().__init__(frames(6), live=True)
        self.info = replace(self.info, rate=rate)
        self.sink = sink

    def __iter__(self) -> Iterator[Frame]:
        for index, frame in enumerate(super().__iter__()):
            while len(self.sink.frames) < index:
                time.sleep(0)
            yield Frame(frame.index, frame.pts, frame.pixels, captured_seconds=time.monotonic())
        while len(self.sink.frames) < len(self._items):
            time.sleep(0)
        self.ended()

    def ended(self) -> None:
        """All frames have come out."""


def test_a_live_run_sees_every_frame_of_a_slow_camera() -> None:
    with Collector() as sink:
        statistics = run(SlowCamera(sink, Fraction(1, 3600)), DiscEngine(), sink, MATTE)
    assert (statistics.frames, statistics.dropped) == (6, 0)
    assert 0 < statistics.latency_ms() <= statistics.latency_ms(0.95)
    assert (statistics.fresh_share, statistics.matte_age_ms(0.95)) == (1, 0)


def test_a_live_run_tells_the_age_of_mattes() -> None:
    """The network warms up, does the first frame and keeps the second until all are out."""

    class Stuck(DiscEngine):
        may_end = threading.Event()

        def alpha(self, frames: Tensor) -> Tensor:
            alpha = super().alpha(frames)
            if self.calls > 2:
                assert self.may_end.wait(timeout=60)
            return alpha

    class Camera(SlowCamera):
        def ended(self) -> None:
            engine.may_end.set()

    engine = Stuck()
    with Collector() as sink:
        camera = Camera(sink, Fraction(10**9))  # no frame has time to wait
        statistics = run(camera, engine, sink, MATTE)
    captured = [frame.captured_seconds for frame in sink.frames]
    ages_ms = [(seconds - captured[0]) * 1000 for seconds in captured]
    assert list(statistics.matte_ages_ms) == pytest.approx(ages_ms)
    assert statistics.matte_age_ms() == pytest.approx(ages_ms[3])
    assert (statistics.frames, statistics.fresh) == (6, 1)
    assert statistics.fresh_share == pytest.approx(1 / 6)


def _our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streamseg")]


class Watching:
    """Sees how many threads the libraries have in the network's stage."""

    def alpha(self, frames: Tensor) -> Tensor:
        self.seen = cv2.getNumThreads(), torch.get_num_threads()
        return torch.zeros(len(frames), 1, *frames.shape[2:])


class Other(Watching, DiscEngine):
    pass


class InTorch(Watching, TorchEngine):
    pass


@pytest.mark.parametrize(("engine", "of_torch"), [(Other(), 1), (InTorch(randomised(), torch.device("cpu")), 3)])
def test_libraries_have_one_thread_in_every_station(engine: Watching, of_torch: int) -> None:
    """But for PyTorch where it runs the network."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Collector() as sink:
            run(ListSource(frames(3)), engine, sink, MATTE)
        after = cv2.getNumThreads(), torch.get_num_threads()
    finally:
        torch.set_num_threads(before[1])
    assert engine.seen == (1, of_torch)
    assert after == (before[0], 3)
