"""Crews for tests: one that works in this process, and engines and clips whose mattes are known exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from torch import Tensor

from streamseg.batch.schedule import FileResult, work_off
from streamseg.batch.tasks import Result, SegmentTask, Task, Work
from streamseg.batch.work import run_task
from streamseg.batch.worker import Lost
from streamseg.decode import TimeRange, open_source
from streamseg.decode.time_range import WHOLE
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.engines import register_engine
from streamseg.infer.engines.base import IMAGENET_MEAN, IMAGENET_STD
from streamseg.pipeline import run
from streamseg.settings import Settings, load_settings
from streamseg.sink import open_sink
from streamseg.sink.images import sequence_pattern
from tests.synthetic import DiscEngine

RATE = 30


class LevelEngine:
    """Takes blue for alpha, so that a clip says itself what its mattes are."""

    name = "level"
    device = "cpu"

    def alpha(self, frames: Tensor) -> Tensor:
        return (frames[:, 2:3] * IMAGENET_STD[2] + IMAGENET_MEAN[2]).clamp(0, 1)


def register_engines() -> None:
    """Engines `disc` and `level`, for this process or a worker's."""
    register_engine("disc", lambda net, threads, device: DiscEngine())
    register_engine("level", lambda net, threads, device: LevelEngine())


def no_event(task: Task) -> None:
    pass


class OneByOne:
    """Does tasks in this process, the one given first; `before` sees each of them and may raise, or return a result."""

    size = 1
    frames = 0

    def __init__(self, before: Callable[[Task], Result | Lost | None] = no_event) -> None:
        self._before, self._waiting = before, list[Task]()
        self.done: list[Task] = []

    @property
    def has_room(self) -> bool:
        return not self._waiting

    def give(self, task: Task) -> None:
        self._waiting.append(task)

    def results(self, timeout_seconds: float) -> Sequence[tuple[Task, Result | Lost]]:
        if not self._waiting:
            return []
        task = self._waiting.pop()
        found = self._before(task)
        self.done.append(task)
        return [(task, run_task(task, lambda frames: None) if found is None else found)]

    def end(self) -> None:
        self._waiting.clear()

    @property
    def segments(self) -> list[int]:
        """Numbers of the segments that were matted, in order."""
        return [task.segment.number for task in self.done if isinstance(task, SegmentTask)]


def settings_of(engine: str = "disc", **settings: object) -> Settings:
    return load_settings(overrides={"engine": engine, "model": "nano", "input_size": 96, **settings})


def work_on(source: Path, out: Path | str, settings: Settings, seconds: float, time_range: TimeRange = WHOLE) -> Work:
    pattern = sequence_pattern(str(out))
    return Work(str(source), pattern or Path(out), settings, seconds, pattern is not None, time_range)


def done(work: Work, crew: OneByOne) -> FileResult:
    (result,) = work_off([work], crew)
    assert not result.has_failed, result.message
    return result


def single_run(source: Path, out: Path | str, settings: Settings, time_range: TimeRange = WHOLE) -> Path:
    """What the whole line writes in one piece."""
    register_engines()
    engine = LevelEngine() if settings.infer.engine == "level" else DiscEngine()
    with (
        open_source(str(source), time_range) as opened,
        open_sink(str(out), opened.info, settings.composite.kind, settings.output) as sink,
    ):
        run(opened, engine, sink, settings)
    return Path(out)


def frames_of(path: Path) -> list[Frame]:
    with open_source(str(path)) as source:
        return list(source)


def largest_difference(one: list[Frame], other: list[Frame]) -> int:
    """Of pixels, in levels of 255, once number and times are the same."""
    assert [frame.pts for frame in one] == [frame.pts for frame in other]
    return max(int(np.abs(a.pixels.astype(int) - b.pixels).max()) for a, b in zip(one, other, strict=True))


def write_levels(path: Path, pictures: list[Pixels], times: list[Fraction] | None = None, gop: int = 15) -> Path:
    """Lossless RGB in Matroska, with a keyframe every `gop` frames."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264rgb", rate=RATE, options={"qp": "0", "preset": "ultrafast", "g": str(gop)})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "rgb24"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 90_000)
        for index, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = round((times[index] if times else Fraction(index, RATE)) * 90_000)
            frame.time_base = Fraction(1, 90_000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def blobs(*places: tuple[int, int, int, float], width_px: int = 96, height_px: int = 64) -> Pixels:
    """Squares (left, top, side, alpha) in blue over a red slope that moves nowhere."""
    pixels = np.zeros((height_px, width_px, 3), np.uint8)
    pixels[..., 0] = np.arange(width_px)
    for left, top, side, alpha in places:
        pixels[top : top + side, left : left + side, 2] = round(255 * alpha)
    return pixels
