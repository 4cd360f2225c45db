"""Statistics of a run: frames, frame rate, latency, age of the mattes, and the time of each stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamseg.frames import Frame, counted

KEPT_DELAYS = 600
"""Number of last frames whose latency and matte age are kept."""

RATE_FRAMES = 60
"""Number of last frames whose rate a preview shows."""


@dataclass(slots=True)
class StageTime:
    """Time of one stage, in seconds.

    Attributes:
        busy: at work.
        starved: waiting for the stage before it.
        blocked: waiting for room in the queue to the next stage.
    """

    busy: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0


@dataclass(slots=True)
class Statistics:
    """Statistics of a run so far; the stages' times are known when it has ended.

    Attributes:
        frames: finished frames.
        fresh: finished frames with a matte of their own; all, except for live sources.
        dropped: frames of a live source that were dropped.
        started_seconds: monotonic clock at the start.
        elapsed_seconds: from the start to the last finished frame.
        finished_seconds: monotonic clock at the end of each of the last `RATE_FRAMES` frames.
        latencies_ms: from capture to output, of the last `KEPT_DELAYS` frames.
        matte_ages_ms: `Frame.matte_age_seconds` of the same frames, in milliseconds.
        stages: name of a stage -> its time.
    """

    frames: int = 0
    fresh: int = 0
    dropped: int = 0
    started_seconds: float = field(default_factory=time.monotonic)
    elapsed_seconds: float = 0.0
    finished_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_FRAMES))
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_DELAYS))
    matte_ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_DELAYS))
    stages: dict[str, StageTime] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Finished frames a second since the start."""
        return self.frames / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def recent_fps(self) -> float:
        """Finished frames a second of late."""
        times = self.finished_seconds
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0

    @property
    def fresh_share(self) -> float:
        """Fraction of finished frames with a matte of their own, in [0, 1]."""
        return self.fresh / self.frames if self.frames else 0.0

    def latency_ms(self, quantile: float = 0.5) -> float:
        """Return a quantile of the last frames' latency from capture to output, in milliseconds."""
        return _quantile(self.latencies_ms, quantile)

    def matte_age_ms(self, quantile: float = 0.5) -> float:
        """Return a quantile of the last frames' matte age, in milliseconds."""
        return _quantile(self.matte_ages_ms, quantile)

    def __str__(self) -> str:
        return f"{counted(self.frames, 'frame')}, {self.fps:.1f} fps"

    def live_text(self) -> str:
        """Return rate and median latency of the last frames, and the number of dropped ones, for a preview."""
        return f"{self.recent_fps:.1f} fps   {self.latency_ms():.0f} ms   {self.dropped} dropped"

    def count(self, frame: Frame, dropped: int) -> None:
        """Count a frame that was just written to the sink.

        Args:
            frame: the frame.
            dropped: frames that the source has dropped so far.
        """
        now = time.monotonic()
        self.frames, self.dropped = self.frames + 1, dropped
        self.fresh += frame.matte_age_seconds == 0
        self.elapsed_seconds = now - self.started_seconds
        self.finished_seconds.append(now)
        self.latencies_ms.append((now - frame.captured_seconds) * 1000)
        self.matte_ages_ms.append(frame.matte_age_seconds * 1000)


def _quantile(values: Iterable[float], quantile: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0
