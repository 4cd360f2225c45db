"""What a run did, and where its time went."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamseg.frames import Frame

DELAYS_KEPT = 600
"""Of so many last frames the latency and the age of the matte are kept."""


@dataclass(slots=True)
class StageTime:
    """Where the time of one stage went, in seconds.

    Attributes:
        busy: at work.
        starved: waiting for the stage before it.
        blocked: waiting for room before the next one.
    """

    busy: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0


@dataclass(slots=True)
class Statistics:
    """What a run did so far; the time of the stages is there when it has ended.

    Attributes:
        frames: how many came out.
        fresh: how many of them with a matte of their own; all, but for live sources.
        dropped: how many a live source lost.
        started_seconds: monotonic clock at the start.
        elapsed_seconds: from there to the last frame out.
        latencies_ms: from capture to output, of the last frames.
        matte_ages_ms: see `Frame.matte_age_seconds`, of the same ones.
        stages: by their names.
    """

    frames: int = 0
    fresh: int = 0
    dropped: int = 0
    started_seconds: float = field(default_factory=time.monotonic)
    elapsed_seconds: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=DELAYS_KEPT))
    matte_ages_ms: deque[float] = field(default_factory=lambda: deque(maxlen=DELAYS_KEPT))
    stages: dict[str, StageTime] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Finished frames a second since the start."""
        return self.frames / self.elapsed_seconds if self.elapsed_seconds else 0.0

    @property
    def fresh_share(self) -> float:
        """Of all finished frames, those with a matte of their own."""
        return self.fresh / self.frames if self.frames else 0.0

    def latency_ms(self, share: float = 0.5) -> float:
        """The latency from capture to output that `share` of the last frames kept to, in milliseconds."""
        return _kept_to(self.latencies_ms, share)

    def matte_age_ms(self, share: float = 0.5) -> float:
        """The age of the matte that `share` of the last frames kept to, in milliseconds."""
        return _kept_to(self.matte_ages_ms, share)

    def __str__(self) -> str:
        return f"{self.frames} frames, {self.fps:.1f} fps"

    def live_text(self) -> str:
        """Frame rate and latency so far, for a preview."""
        return f"{self.fps:.1f} fps  {self.latency_ms():.0f} ms"

    def count(self, frame: Frame, dropped: int) -> None:
        """Adds a frame that was just handed to the sink."""
        now = time.monotonic()
        self.frames, self.dropped = self.frames + 1, dropped
        self.fresh += frame.matte_age_seconds == 0
        self.elapsed_seconds = now - self.started_seconds
        self.latencies_ms.append((now - frame.captured_seconds) * 1000)
        self.matte_ages_ms.append(frame.matte_age_seconds * 1000)


def _kept_to(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
