"""Measures the whole pipeline, not its parts: what a user gets, and which stage holds it up.

Speeds of a shared machine drift, so comparisons are made in turns within one run and reported as ratios.

Where the bound is, for a 16:9 frame at the default size (192x320): lite takes 11.85 thousand million multiply-adds
(GMAC) and moves 62 million numbers in and out of its 118 convolutions, full 35.2 and 131 with its weights. Two cores of
an AMD EPYC with AVX-512 VNNI multiply 2048x2048 matrices at 93 GMAC/s in float32 and 436 in int8, and copy 52 GB/s or
more: by bandwidth alone lite would take 1.2 ms in int8, so arithmetic is the bound. OpenVINO reaches 92 GMAC/s of the
93 in float32 (129 ms; full 357 ms) and 313 of the 436 in int8 (38 ms).
"""

from __future__ import annotations

import os
import statistics as stats
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamseg.bench.overlap import GpuWatch, Overlap
from streamseg.decode import BaseSource, open_camera, open_source
from streamseg.frames import Frame
from streamseg.infer.engines.base import Engine, call_seconds, predict_one
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.infer.letterbox import black_pictures
from streamseg.pipeline import run
from streamseg.settings import Settings
from streamseg.sink import BaseSink, open_sink
from streamseg.statistics import StageTime, Statistics

FRAMES_BETWEEN_LOOKS = 10
FRAMES_BEFORE_WATCHING = 10
FRAMES_WATCHED = 60
LOOKS_FOR_A_SLOPE = 20
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6 if hasattr(os, "sysconf") else 0.0


class Discarded(BaseSink):
    """Takes frames and keeps none: a webcam's pipeline without an encoder."""

    summary = "frames discarded"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""


@dataclass(frozen=True)
class BenchmarkResult:
    """One run.

    Attributes:
        frames: how many came out.
        dropped: how many a live source lost.
        fps: from the first call to the last frame out.
        latencies_ms: from decoded to handed over, of the last frames.
        stages: where the time went, in seconds.
        bottleneck: the stage that worked most.
        share_of_bottleneck: fps as a share of what that stage alone would give.
        engine_ms: a call of the engine alone, on a batch.
        share_of_engine: fps as a share of what the engine alone would give; None live, where it runs when it is free.
        memory_mb: what the process held, every ten frames; empty where the system does not tell.
        matte_ages_ms: live, how much older than the last frames the pictures were that their mattes were computed on.
        fresh_share: live, of all frames, those with a matte of their own.
        overlap: how much a GPU does at a time, in a short run of its own, since watching costs time; None on a CPU.
    """

    frames: int
    dropped: int
    fps: float
    latencies_ms: list[float]
    stages: dict[str, StageTime]
    bottleneck: str
    share_of_bottleneck: float
    engine_ms: float
    share_of_engine: float | None
    memory_mb: list[float] = field(default_factory=list)
    matte_ages_ms: list[float] | None = None
    fresh_share: float | None = None
    overlap: Overlap | None = None

    @property
    def latency_ms(self) -> dict[str, float]:
        """At shares of the frames."""
        return _at_shares(self.latencies_ms)

    @property
    def matte_age_ms(self) -> dict[str, float] | None:
        """The same of the mattes' age."""
        return None if self.matte_ages_ms is None else _at_shares(self.matte_ages_ms)

    @property
    def peak_memory_mb(self) -> float:
        """The most that was seen."""
        return max(self.memory_mb, default=0.0)

    @property
    def mb_per_1000_frames(self) -> float | None:
        """How memory grew over the second half of the run; None where that was too short to tell."""
        later = self.memory_mb[len(self.memory_mb) // 2 :]
        if len(later) < LOOKS_FOR_A_SLOPE:
            return None
        return float(np.polyfit(np.arange(len(later)) * FRAMES_BETWEEN_LOOKS, later, 1)[0] * 1000)

    def as_json(self) -> dict[str, Any]:
        """All figures, for a file."""
        names = ("latency_ms", "matte_age_ms", "peak_memory_mb", "mb_per_1000_frames")
        overlap = self.overlap.as_json() if self.overlap else None
        return asdict(self) | {name: getattr(self, name) for name in names} | {"overlap": overlap}


@dataclass(frozen=True)
class Speedup:
    """How many times as fast the first of two is, turn by turn."""

    turns: list[float]

    @property
    def median(self) -> float:
        """The middle of the turns."""
        return stats.median(self.turns)

    def as_json(self) -> dict[str, float | list[float]]:
        """For a file."""
        return {"median": self.median, "least": min(self.turns), "most": max(self.turns), "turns": self.turns}


@dataclass(frozen=True)
class Workload:
    """What the pipeline is to do.

    Attributes:
        clip: what `open_source` takes.
        settings: the settings of the pipeline.
        frames: how many to take of it.
        encode: to H.264 in a file that is thrown away, instead of discarding the frames.
        live: at the clip's own pace, as a camera: frames that the pipeline has no time for are lost.
    """

    clip: str
    settings: Settings
    frames: int
    encode: bool = False
    live: bool = False

    def open(self) -> BaseSource:
        """Opens the clip; raises InputError where it cannot be read."""
        return (open_camera if self.live else open_source)(self.clip)


def measure(workload: Workload, engine: Engine) -> BenchmarkResult:
    """Runs the pipeline over a clip once.

    Args:
        workload: what to do.
        engine: what `open_engine` returned.

    Raises:
        InputError: the clip cannot be read.
    """
    memory_mb: list[float] = []
    infer = workload.settings.infer
    with workload.open() as source:
        batch = black_pictures(source.info, infer.input_size, 1 if workload.live else infer.batch_size)
        engine_ms = call_seconds(engine, batch) * 1000
    done = _run(workload, engine, lambda so_far: _look(so_far, memory_mb))
    name, slowest = max(done.stages.items(), key=lambda stage: stage[1].busy)
    return BenchmarkResult(
        frames=done.frames,
        dropped=done.dropped,
        fps=done.fps,
        latencies_ms=list(done.latencies_ms),
        stages=done.stages,
        bottleneck=name,
        share_of_bottleneck=slowest.busy / done.elapsed_seconds,
        engine_ms=engine_ms,
        share_of_engine=None if workload.live else done.fps * engine_ms / 1000 / infer.batch_size / infer.stride,
        memory_mb=memory_mb,
        matte_ages_ms=list(done.matte_ages_ms) if workload.live else None,
        fresh_share=done.fresh_share if workload.live else None,
        overlap=_overlap(workload, engine) if isinstance(engine, StreamedEngine) and not workload.live else None,
    )


def line_fps(workload: Workload, engine: Engine) -> float:
    """Frames a second alone, for a turn of a comparison; as `measure`."""
    return _run(workload, engine, lambda _: None).fps


def in_turns(first: Callable[[], float], second: Callable[[], float], turns: int) -> Speedup:
    """Runs two ways of the same work one after the other, again and again.

    Args:
        first: does it once and returns its frames a second.
        second: the same, the other way.
        turns: how often.
    """
    return Speedup([first() / second() for _ in range(turns)])


def _run(workload: Workload, engine: Engine, on_frame: Callable[[Statistics], None]) -> Statistics:
    """The line over a clip once, with the engine warm."""
    infer = workload.settings.infer
    with tempfile.TemporaryDirectory() as folder, workload.open() as source:
        if not workload.live:  # `run` warms up for a live source itself
            predict_one(engine, black_pictures(source.info, infer.input_size, infer.batch_size))
        with _sink(workload, source, Path(folder)) as sink:
            return run(source, engine, sink, workload.settings, workload.frames, on_frame)


def _at_shares(values: list[float]) -> dict[str, float]:
    return {f"p{percent}": float(np.percentile(values, percent)) for percent in (50, 95, 99)}


def _overlap(workload: Workload, engine: Engine) -> Overlap | None:
    """What the GPU does on some frames, once the pipeline is full."""
    watch = GpuWatch()

    def on_frame(so_far: Statistics) -> None:
        if so_far.frames == FRAMES_BEFORE_WATCHING:
            watch.start()

    _run(replace(workload, frames=min(workload.frames, FRAMES_BEFORE_WATCHING + FRAMES_WATCHED)), engine, on_frame)
    return watch.stop()


def _sink(workload: Workload, source: BaseSource, folder: Path) -> BaseSink:
    if not workload.encode:
        return Discarded()
    kind = workload.settings.composite.kind
    suffix = ".mp4" if kind != "foreground" else ".mov"
    return open_sink(str(folder / f"bench{suffix}"), source.info, kind, workload.settings.output)


def _look(so_far: Statistics, memory_mb: list[float]) -> None:
    if so_far.frames % FRAMES_BETWEEN_LOOKS == 0:
        with suppress(OSError):
            pages = Path("/proc/self/statm").read_text().split()[1]
            memory_mb.append(int(pages) * PAGE_MB)
