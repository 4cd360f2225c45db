"""Adaptive network of a live run: a cheaper one while the machine is busy, the better one again when it is not."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median
from typing import Self

from streamseg.errors import StreamsegError
from streamseg.frames import VideoInfo
from streamseg.hardware import cpu
from streamseg.infer import engines
from streamseg.infer.engines.base import Engine, call_seconds
from streamseg.infer.letterbox import black_images
from streamseg.infer.live import LIVE_BUDGET
from streamseg.infer.select import PACE_BUDGET
from streamseg.model.precision import LIVE_MODEL
from streamseg.settings import AUTO, InferSettings

DOWN_SECONDS = 2.0
"""A network whose calls have been too slow for so long gives way to a cheaper one."""
UP_SECONDS = 5.0
"""After so long with time to spare, a better network is tried; twice as long after each try that failed."""
MAX_UP_SECONDS = 160.0
RELAPSE_SECONDS = 15.0
"""A better network that gives way again within this time counts as a try that failed."""

OBSERVED_CALLS = 15
SIZE_STEP = 0.8
LEAST_SIZE_PX = 256
"""Below this input size, mattes become coarse quickly."""
LEAST_THREADS_TO_HALVE = 4


@dataclass(frozen=True, slots=True)
class Rung:
    """One way of running the network; a ladder of them leads from the best to the cheapest.

    Attributes:
        model: name or file of the weights.
        input_size: long side of the network's input in pixels.
        threads: of the engine on a CPU.
    """

    model: str
    input_size: int
    threads: int

    def __str__(self) -> str:
        return f"{self.model} at {self.input_size} px, {self.threads} thread{'s' if self.threads > 1 else ''}"


def ladder(settings: InferSettings, cores: int) -> tuple[Rung, ...]:
    """Return the ways of running the network that the settings allow, the best first.

    The network takes smaller and smaller inputs, and in the end, on a processor of many cores, fewer threads, which
    other programs disturb less.
    """
    model = LIVE_MODEL if settings.model == AUTO else settings.model
    threads = max(1, cores - 1)
    rungs = [Rung(model, settings.input_size, threads)]
    size = _smaller(settings.input_size)
    while size >= LEAST_SIZE_PX:
        rungs.append(Rung(model, size, threads))
        size = _smaller(size)
    if threads >= LEAST_THREADS_TO_HALVE:
        rungs.append(Rung(model, rungs[-1].input_size, threads // 2))
    return tuple(rungs)


def _smaller(size_px: int) -> int:
    return int(size_px * SIZE_STEP) // 32 * 32


Opener = Callable[[InferSettings, Rung], Engine]


def open_rung(settings: InferSettings, rung: Rung) -> Engine:
    """Open the engine of a rung.

    Raises:
        EngineError: as `open_engine`.
        WeightsError: as `load_model` and `chosen_model`.
    """
    return engines.load_engine(settings.model_copy(update={"model": rung.model}), threads=rung.threads)


class AdaptiveNetwork:
    """The network of a live run, which changes with the load and with the settings; see `LiveNetwork`.

    Networks are opened and measured on a thread of their own, while the one before goes on.

    Attributes:
        rung: what runs now.
    """

    def __init__(
        self,
        settings_now: Callable[[], InferSettings],
        info: VideoInfo,
        tell: Callable[[str], object] = lambda _: None,
        report: Callable[[StreamsegError], object] = lambda _: None,
        opener: Opener = open_rung,
        clock: Callable[[], float] = time.monotonic,
        executor: Executor | None = None,
        measure: Callable[[Engine, VideoInfo, int], float] | None = None,
    ) -> None:
        """Open the network at the largest input at which it keeps the camera's pace now.

        Args:
            settings_now: returns the settings of inference, which may change.
            info: of the source, whose rate is to be kept.
            tell: is told what was chosen and why.
            report: is told of a network that does not open; the one before goes on.
            opener: opens the engine of a rung.
            clock: in seconds.
            executor: runs what takes long; a thread of its own by default.
            measure: returns the seconds of a call, at an input size.

        Raises:
            EngineError: as `open_engine`.
            WeightsError: as `load_model` and `chosen_model`.
        """
        self._settings_now, self._info, self._clock = settings_now, info, clock
        self._tell, self._report = tell, report
        self._open, self._measure = opener, measure or _measured_seconds
        self._executor = executor or ThreadPoolExecutor(1, "streamseg-adapt")
        self._frame_seconds = float(1 / info.rate)
        self._settings = settings_now()
        self._rungs = self._rungs_in_use = ladder(self._settings, cpu.cores())
        self._engines: dict[Rung, Engine] = {}
        self._seconds: dict[Rung, float] = {}
        self._calls: deque[float] = deque(maxlen=OBSERVED_CALLS)
        self._slow_since: float | None = None
        self._spare_since: float | None = None
        self._up_seconds, self._went_up = UP_SECONDS, float("-inf")
        self._opening: tuple[Rung, Future[Engine]] | None = None
        self.rung = self._best_now()
        self.engine = self._engines[self.rung]
        if self._settings.model == AUTO or self.rung != self._rungs[0]:
            self._say("chosen", self._seconds[self.rung])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    @property
    def input_size(self) -> int:
        """See `LiveNetwork`."""
        return self.rung.input_size

    def observe(self, engine: Engine, call_seconds: float) -> None:
        """See `LiveNetwork`: step down when calls are too slow, up when there is time to spare."""
        self._finish_opening()
        if self._settings_now() != self._settings:
            self._restart()
        if engine is not self.engine or self._opening:
            return
        self._calls.append(call_seconds)
        if len(self._calls) < OBSERVED_CALLS:
            return
        seconds, now, place = median(self._calls), self._clock(), self._rungs.index(self.rung)
        is_slow = seconds > LIVE_BUDGET * self._frame_seconds
        self._slow_since = (self._slow_since or now) if is_slow else None
        self._spare_since = (self._spare_since or now) if place and self._fits_better(place, seconds) else None
        if self._slow_since is not None and now - self._slow_since >= DOWN_SECONDS and place + 1 < len(self._rungs):
            if now - self._went_up < RELAPSE_SECONDS:
                self._up_seconds = min(2 * self._up_seconds, MAX_UP_SECONDS)
            self._move_to(self._rungs[place + 1])
        elif self._spare_since is not None and now - self._spare_since >= self._up_seconds:
            self._move_to(self._rungs[place - 1])

    def _fits_better(self, place: int, seconds: float) -> bool:
        """Return whether the next better rung may keep pace, by what it cost when both were measured."""
        better, current = self._seconds.get(self._rungs[place - 1]), self._seconds.get(self.rung)
        expected = seconds * better / current if better and current else seconds
        return expected <= PACE_BUDGET * self._frame_seconds

    def _best_now(self) -> Rung:
        """Open and measure networks from the best on; return the first that keeps pace, else the fastest."""
        for rung in self._rungs:
            self._seconds[rung] = self._seconds_of(self._opened(rung), rung)
            if self._seconds[rung] <= PACE_BUDGET * self._frame_seconds:
                return rung
        return min(self._seconds, key=lambda rung: self._seconds[rung])

    def _opened(self, rung: Rung) -> Engine:
        if rung not in self._engines:
            # Networks of one model and number of threads share an engine, which compiles once for every size.
            shared = (
                engine
                for other, engine in self._engines.items()
                if (other.model, other.threads) == (rung.model, rung.threads)
            )
            self._engines[rung] = next(shared, None) or self._open(self._settings, rung)
        return self._engines[rung]

    def _seconds_of(self, engine: Engine, rung: Rung) -> float:
        return self._measure(engine, self._info, rung.input_size)

    def _move_to(self, rung: Rung) -> None:
        """Open, warm up and measure another rung on the executor; it is taken over by a later `observe`."""
        self._slow_since = self._spare_since = None
        if self._calls:  # Under the load at which the other one will be measured, so that the two compare.
            self._seconds[self.rung] = median(self._calls)

        def open_and_measure() -> Engine:
            engine = self._opened(rung)
            self._seconds[rung] = self._seconds_of(engine, rung)
            return engine

        self._opening = rung, self._executor.submit(open_and_measure)

    def _finish_opening(self) -> None:
        if not self._opening or not self._opening[1].done():
            return
        (rung, opening), self._opening = self._opening, None
        try:
            engine = opening.result()
        except StreamsegError as error:
            self._rungs = self._rungs_in_use
            self._report(error)
            return
        self._rungs_in_use = self._rungs
        seconds = self._seconds[rung]
        is_up = rung in self._rungs and self.rung in self._rungs[self._rungs.index(rung) + 1 :]
        if is_up and seconds > PACE_BUDGET * self._frame_seconds:
            self._up_seconds = min(2 * self._up_seconds, MAX_UP_SECONDS)
            return
        if is_up:
            self._went_up = self._clock()
        # The engine last: whoever sees the new one finds its size too.
        self.rung, self.engine = rung, engine
        self._calls.clear()
        self._say("time to spare" if is_up else "the machine is busy", seconds)

    def _restart(self) -> None:
        """Follow a change of the settings: begin with the best rung again."""
        self._settings = self._settings_now()
        self._rungs = ladder(self._settings, cpu.cores())
        self._engines = {self.rung: self.engine}
        self._up_seconds = UP_SECONDS
        self._move_to(self._rungs[0])

    def _say(self, why: str, seconds: float) -> None:
        frame_ms = self._frame_seconds * 1000
        self._tell(f"{self.rung}: {seconds * 1000:.0f} ms of the camera's {frame_ms:.0f} ms a frame ({why})")


def _measured_seconds(engine: Engine, info: VideoInfo, input_size: int) -> float:
    return call_seconds(engine, black_images(info, input_size))
