"""Benchmark of the pipeline: frame rate, latency, stage times, memory, and two configurations compared in turns.

Speeds of a shared machine drift, so comparisons are made in turns within one run and reported as ratios.

The bound for a 16:9 frame at the default size (192x320): lite takes 11.85 thousand million multiply-adds (GMAC) and
moves 62 million numbers in and out of its 118 convolutions, full 35.2 and 131 with its weights. Two cores of an AMD
EPYC with AVX-512 VNNI multiply 2048x2048 matrices at 93 GMAC/s in float32 and 436 in int8, and copy 52 GB/s or more: by
bandwidth alone lite would take 1.2 ms in int8, so arithmetic is the bound. OpenVINO reaches 92 GMAC/s of the 93 in
float32 (129 ms; full 357 ms) and 313 of the 436 in int8 (38 ms).
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
from streamseg.infer.letterbox import black_images
from streamseg.pipeline import run
from streamseg.settings import Settings
from streamseg.sink import BaseSink, open_sink
from streamseg.statistics import StageTime, Statistics

FRAMES_BETWEEN_SAMPLES = 10
WARM_UP_FRAMES = 10
PROFILED_FRAMES = 60
SAMPLES_FOR_A_SLOPE = 20
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6 if hasattr(os, "sysconf") else 0.0


class NullSink(BaseSink):
    """Sink that discards frames: the pipeline without an encoder."""

    summary = "frames discarded"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""


@dataclass(frozen=True)
class BenchmarkResult:
    """Result of one run.

    Attributes:
        frames: finished frames.
        dropped: frames of a live source that were dropped.
        fps: finished frames a second, from the start of the run.
        latencies_ms: from decoder to sink, of the last frames.
        stages: name of a stage -> its time in seconds.
        bottleneck: the stage that was busy longest.
        share_of_bottleneck: fps as a fraction of what that stage alone would reach.
        engine_ms: time of a call of the engine alone, on a batch.
        share_of_engine: fps as a fraction of what the engine alone would reach; None live, where it runs when it is
            free.
        memory_mb: memory of the process, every ten frames; empty if the system does not tell.
        matte_ages_ms: live, `Frame.matte_age_seconds` of the last frames in milliseconds; else None.
        fresh_share: live, fraction of frames with a matte of their own; else None.
        overlap: of copies and kernels on a GPU, from a short run of its own, since profiling costs time; None on a CPU.
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
        """Percentiles of the latency in milliseconds."""
        return _percentiles(self.latencies_ms)

    @property
    def matte_age_ms(self) -> dict[str, float] | None:
        """Percentiles of the mattes' age in milliseconds; None if not live."""
        return None if self.matte_ages_ms is None else _percentiles(self.matte_ages_ms)

    @property
    def peak_memory_mb(self) -> float:
        """Greatest memory of the process."""
        return max(self.memory_mb, default=0.0)

    @property
    def mb_per_1000_frames(self) -> float | None:
        """Growth of memory over the second half of the run; None if that is too short to tell."""
        second_half = self.memory_mb[len(self.memory_mb) // 2 :]
        if len(second_half) < SAMPLES_FOR_A_SLOPE:
            return None
        return float(np.polyfit(np.arange(len(second_half)) * FRAMES_BETWEEN_SAMPLES, second_half, 1)[0] * 1000)

    def as_json(self) -> dict[str, Any]:
        """Return all figures for a JSON file."""
        names = ("latency_ms", "matte_age_ms", "peak_memory_mb", "mb_per_1000_frames")
        overlap = self.overlap.as_json() if self.overlap else None
        return asdict(self) | {name: getattr(self, name) for name in names} | {"overlap": overlap}


@dataclass(frozen=True)
class Speedup:
    """Speed of one way relative to another, turn by turn.

    Attributes:
        turns: frames a second of the first way over those of the second, for each turn.
    """

    turns: list[float]

    @property
    def median(self) -> float:
        """Median of the turns."""
        return stats.median(self.turns)

    def as_json(self) -> dict[str, float | list[float]]:
        """Return the figures for a JSON file."""
        return {"median": self.median, "least": min(self.turns), "most": max(self.turns), "turns": self.turns}


@dataclass(frozen=True)
class Workload:
    """Work that a benchmark measures.

    Attributes:
        clip: what `open_source` takes.
        settings: of the pipeline.
        frames: number of frames to take of the clip.
        encode: encode to a temporary file, instead of discarding the frames.
        live: read the clip at its own pace, as a camera, and drop frames that the pipeline has no time for.
    """

    clip: str
    settings: Settings
    frames: int
    encode: bool = False
    live: bool = False

    def open(self) -> BaseSource:
        """Open the clip; raise InputError if it cannot be read."""
        return (open_camera if self.live else open_source)(self.clip)


def measure(workload: Workload, engine: Engine) -> BenchmarkResult:
    """Run the pipeline over a clip once and measure it.

    Args:
        workload: what to do.
        engine: what `open_engine` returned.

    Raises:
        InputError: the clip cannot be read.
    """
    memory_mb: list[float] = []
    infer = workload.settings.infer
    with workload.open() as source:
        batch = black_images(source.info, infer.input_size, 1 if workload.live else infer.batch_size)
        engine_ms = call_seconds(engine, batch) * 1000
    statistics = _run(workload, engine, lambda so_far: _sample_memory(so_far, memory_mb))
    name, slowest = max(statistics.stages.items(), key=lambda stage: stage[1].busy)
    return BenchmarkResult(
        frames=statistics.frames,
        dropped=statistics.dropped,
        fps=statistics.fps,
        latencies_ms=list(statistics.latencies_ms),
        stages=statistics.stages,
        bottleneck=name,
        share_of_bottleneck=slowest.busy / statistics.elapsed_seconds,
        engine_ms=engine_ms,
        share_of_engine=None if workload.live else statistics.fps * engine_ms / 1000 / infer.batch_size / infer.stride,
        memory_mb=memory_mb,
        matte_ages_ms=list(statistics.matte_ages_ms) if workload.live else None,
        fresh_share=statistics.fresh_share if workload.live else None,
        overlap=_measure_overlap(workload, engine)
        if isinstance(engine, StreamedEngine) and not workload.live
        else None,
    )


def pipeline_fps(workload: Workload, engine: Engine) -> float:
    """Measure only frames a second, for a turn of a comparison; raise the errors of `measure`."""
    return _run(workload, engine, lambda _: None).fps


def in_turns(first: Callable[[], float], second: Callable[[], float], turns: int) -> Speedup:
    """Run two ways of the same work alternately.

    Args:
        first: runs the work once and returns its frames a second.
        second: the same, the other way.
        turns: number of runs of each.
    """
    return Speedup([first() / second() for _ in range(turns)])


def _run(workload: Workload, engine: Engine, on_frame: Callable[[Statistics], None]) -> Statistics:
    """Run the pipeline over a clip once, with a warm engine."""
    infer = workload.settings.infer
    with tempfile.TemporaryDirectory() as folder, workload.open() as source:
        if not workload.live:  # For a live source, `run` warms the engine up itself.
            predict_one(engine, black_images(source.info, infer.input_size, infer.batch_size))
        with _open_sink(workload, source, Path(folder)) as sink:
            return run(source, engine, sink, workload.settings, workload.frames, on_frame)


def _percentiles(values: list[float]) -> dict[str, float]:
    """Return the 50th, 95th and 99th percentile by name."""
    return {f"p{percent}": float(np.percentile(values, percent)) for percent in (50, 95, 99)}


def _measure_overlap(workload: Workload, engine: Engine) -> Overlap | None:
    """Profile the GPU for some frames, once the pipeline is full."""
    watch = GpuWatch()

    def on_frame(so_far: Statistics) -> None:
        if so_far.frames == WARM_UP_FRAMES:
            watch.start()

    _run(replace(workload, frames=min(workload.frames, WARM_UP_FRAMES + PROFILED_FRAMES)), engine, on_frame)
    return watch.stop()


def _open_sink(workload: Workload, source: BaseSource, folder: Path) -> BaseSink:
    """Return the sink of a workload."""
    if not workload.encode:
        return NullSink()
    kind = workload.settings.composite.kind
    suffix = ".mp4" if kind != "foreground" else ".mov"
    return open_sink(str(folder / f"bench{suffix}"), source.info, kind, workload.settings.output)


def _sample_memory(so_far: Statistics, memory_mb: list[float]) -> None:
    """Append the process's resident memory in MB, every `FRAMES_BETWEEN_SAMPLES` frames."""
    if so_far.frames % FRAMES_BETWEEN_SAMPLES == 0:
        with suppress(OSError):
            pages = Path("/proc/self/statm").read_text().split()[1]
            memory_mb.append(int(pages) * PAGE_MB)
