"""A live run for an hour: `python -m tests.soak [MINUTES]`, or `make soak`. It says what grew and what came late.

A clip on a local web server stands for the camera: each time that it ends, the camera counts as lost and is to be back
within two seconds. The page has a viewer by MJPEG, the virtual camera's driver is a stand-in, another process loads the
machine in every third minute, and the controls are changed all the time.
"""

from __future__ import annotations

import http.server
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import psutil

from streamseg.controls import Controls
from streamseg.decode import open_camera
from streamseg.frames import Frame
from streamseg.hardware.memory import tune_allocator
from streamseg.infer.adaptive import AdaptiveNetwork
from streamseg.live.sink import open_page
from streamseg.pipeline import run
from streamseg.settings import load_settings
from streamseg.sink.base import BaseSink, SinkClosed
from streamseg.sink.snapshots import RecordingSink, SnapshotSink
from streamseg.sink.tee import TeeSink
from streamseg.sink.virtual.loopback import LoopbackCamera
from streamseg.statistics import Statistics
from tests.test_virtual_camera import FakeDevice

SAMPLES = Path(__file__).parent.parent / "samples"
CLIP_SECONDS = 60
WARM_UP_SHARE = 1 / 3
"""The allocator's heaps reach their full size in the first twenty minutes of an hour."""
SAMPLE_SECONDS = 5.0
BLOCK_SECONDS = 240.0
"""Longer than a round of the changes and of the load. What a recording or another background holds comes and goes: the
least memory of each block is printed. It still moves by 4 MB, as heaps keep what they may and give it back, so that a
line through the blocks of an hour tells its slope to 3 MB an hour only. What is never given back shows in the least
of each half."""
SLOWEST_MS = 10_000
"""Latencies are counted by the millisecond: a list of them all would grow by 3 MB an hour."""
LIMITS = {"memory_mb_an_hour": 1.0, "threads_grown": 0, "descriptors_grown": 0, "back_seconds": 2.0, "p99_ms": 250.0}

VIEWER = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1]) as stream:
    while stream.read(65536):
        pass
"""
LOAD = "while True: pass"


class Discarding(FakeDevice):
    """The virtual camera's driver; it forgets what it was given."""

    def write(self, planes: np.ndarray) -> None:  # type: ignore[type-arg]
        planes.tobytes()


@dataclass
class Watch(BaseSink):
    """Looks at every finished frame: how late it is, and how long the camera was away; ends the run."""

    controls: Controls
    ends_seconds: float
    frames_by_ms: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(SLOWEST_MS, np.int64))
    away_seconds: list[float] = field(default_factory=list)
    lost_since: float | None = None
    cards: int = 0

    summary = ""

    def write(self, frame: Frame) -> None:
        now = time.monotonic()
        if now > self.ends_seconds:
            raise SinkClosed
        if frame.card is None:
            self.frames_by_ms[min(int((now - frame.captured_seconds) * 1000), SLOWEST_MS - 1)] += 1
            if self.lost_since is not None:
                self.away_seconds.append(now - self.lost_since)
            self.lost_since = None
        elif frame.card == "paused":
            self.lost_since = None
        else:
            self.cards += 1
            self.lost_since = self.lost_since or now

    def latency_ms(self, quantile: float) -> float:
        """The least whole number of milliseconds that so many of the frames took less than."""
        counted = np.cumsum(self.frames_by_ms)
        return float(np.searchsorted(counted, quantile * counted[-1]) + 1)


def write_long_clip(path: Path) -> None:
    """Repeats the sample's packets until the clip lasts CLIP_SECONDS."""
    with av.open(str(SAMPLES / "talk.mp4")) as source, av.open(str(path), "w") as output:
        video = source.streams.video[0]
        copied = output.add_stream_from_template(video)
        packets = [packet for packet in source.demux(video) if packet.dts is not None]
        length = max(packet.pts + packet.duration for packet in packets if packet.pts is not None)
        time_base = video.time_base
        assert time_base
        repeats = int(CLIP_SECONDS / float(length * time_base)) + 1
        first = [(packet.pts, packet.dts) for packet in packets]
        for turn in range(repeats):
            for packet, (pts, dts) in zip(packets, first, strict=True):
                packet.stream, packet.time_base = copied, time_base  # Muxing changes it.
                packet.pts, packet.dts = pts + turn * length, dts + turn * length
                output.mux(packet)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **named: object) -> None:
            super().__init__(*arguments, directory=str(folder), **named)  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_address[1]}"
        serving.shutdown()
        thread.join()


def disturb(controls: Controls, images: list[Path], ends: threading.Event) -> None:
    """Changes something every few seconds, and loads the machine in every third minute."""
    changes = itertools.cycle(
        [
            {"bg": str(images[0])},
            {"mirror": True},
            {"bg": "blur", "blur": 2.0},
            {"matte_only": True},
            {"matte_only": False, "bg": "#00b140"},
            {"paused": True},
            {"paused": False, "mirror": False},
            {"subject": "largest", "feather": 2, "light_wrap": 0.3},
            {"gate": False, "match_colors": True, "shadow": True},
            {"subject": "all", "feather": 0, "light_wrap": 0.0},
            {"gate": True, "match_colors": False, "shadow": False},
            {"smooth": "ema"},
            {"recording": True},
            {"recording": False, "smooth": "motion"},
            {"bg": None},
        ]
    )
    load: subprocess.Popen[bytes] | None = None
    began = time.monotonic()
    while not ends.wait(7):
        controls.change(**next(changes))
        if np.random.default_rng().random() < 0.1:
            controls.ask_snapshot()
        is_loaded = int((time.monotonic() - began) / 60) % 3 == 2
        if is_loaded and not load:
            load = subprocess.Popen([sys.executable, "-c", LOAD])
        elif load and not is_loaded:
            load.kill()
            load.wait()
            load = None
    if load:
        load.kill()
        load.wait()


@dataclass
class Samples:
    """What the process holds, every few seconds."""

    seconds: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def take(self, ends: threading.Event) -> None:
        process, began = psutil.Process(), time.monotonic()
        while not ends.wait(SAMPLE_SECONDS):
            self.seconds.append(time.monotonic() - began)
            self.memory_mb.append(process.memory_info().rss / 1e6)
            self.threads.append(process.num_threads())
            self.descriptors.append(process.num_fds())
            if len(self.seconds) % 60 == 0:
                print(
                    f"{self.seconds[-1] / 60:.0f} min: {self.memory_mb[-1]:.0f} MB, {self.threads[-1]} threads",
                    flush=True,
                )


def report(samples: Samples, watch: Watch, statistics: Statistics) -> dict[str, float]:
    first = int(len(samples.seconds) * WARM_UP_SHARE)
    half = first + (len(samples.seconds) - first) // 2
    seconds = samples.seconds[-1] - samples.seconds[first]
    blocks = np.array_split(samples.memory_mb[first:], max(2, round(seconds / BLOCK_SECONDS)))
    print("least MB of each block:", " ".join(f"{block.min():.1f}" for block in blocks))

    def growth(counts: Sequence[float]) -> float:
        """Of the least that is held: between changes, there may be more for a moment."""
        return float(min(counts[half:]) - min(counts[first:half]))

    return {
        "minutes": samples.seconds[-1] / 60,
        "frames": statistics.frames,
        "fps": statistics.fps,
        "dropped": statistics.dropped,
        "fresh": statistics.fresh_share,
        "memory_mb": float(np.median(samples.memory_mb[half:])),
        "memory_mb_an_hour": growth(samples.memory_mb) * 3600 / (seconds / 2),
        "threads": float(np.median(samples.threads[half:])),
        "threads_grown": growth(samples.threads),
        "descriptors": float(np.median(samples.descriptors[half:])),
        "descriptors_grown": growth(samples.descriptors),
        "p50_ms": watch.latency_ms(0.5),
        "p95_ms": watch.latency_ms(0.95),
        "p99_ms": watch.latency_ms(0.99),
        "times_lost": len(watch.away_seconds),
        "back_seconds": max(watch.away_seconds, default=0.0),
    }


def main(minutes: float) -> int:
    tune_allocator()
    samples, statistics = Samples(), Statistics()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_long_clip(folder / "clip.mkv")
        address = stack.enter_context(server(folder))
        controls = Controls(load_settings(overrides={"bg": "blur"}))
        source = open_camera(f"{address}/clip.mkv", controls=controls)
        stack.enter_context(source)
        network = stack.enter_context(AdaptiveNetwork(lambda: controls.current.infer, source.info, print))
        page = open_page(source.info, controls, statistics, lambda rgb: rgb[..., 0], port=0)
        virtual = LoopbackCamera(source.info, Discarding())  # type: ignore[arg-type]
        watch = Watch(controls, time.monotonic() + minutes * 60)
        files = SnapshotSink(controls, folder), RecordingSink(source.info, controls, folder)
        ends = threading.Event()
        helpers = [
            threading.Thread(target=disturb, args=(controls, [SAMPLES / "beach.jpg"], ends)),
            threading.Thread(target=samples.take, args=(ends,)),
        ]
        feed = page.url.replace("/?", "/feed.mjpeg?")
        viewer = subprocess.Popen([sys.executable, "-c", VIEWER, feed])
        for helper in helpers:
            helper.start()
        try:
            with TeeSink([watch, page, virtual, *files], print) as sink:
                run(
                    source,
                    network.engine,
                    sink,
                    controls.current,
                    statistics=statistics,
                    controls=controls,
                    network=network,
                )
        finally:
            ends.set()
            for helper in helpers:
                helper.join()
            viewer.kill()
            viewer.wait()
    figures = report(samples, watch, statistics)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}, indent=1))
    broken = [
        f"{name}: {figures[name]:.3g}, limit {limit:g}" for name, limit in LIMITS.items() if figures[name] > limit
    ]
    print("\n".join(broken) or "within all limits")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
