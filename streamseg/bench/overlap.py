"""GPU overlap: how much of the uploads and downloads is hidden behind computation, from a profiler's trace."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile

from streamseg.hardware import cuda

Span = tuple[float, float]
"""Start and end, in microseconds."""


@dataclass(frozen=True)
class Overlap:
    """Times of a GPU over a run, in milliseconds.

    Attributes:
        elapsed_ms: from the first event to the last.
        computing_ms: time with at least one kernel running.
        upload_ms: sum of copies to the GPU.
        download_ms: sum of copies from the GPU.
        hidden_ms: time of copies during which a kernel ran.
    """

    elapsed_ms: float
    computing_ms: float
    upload_ms: float
    download_ms: float
    hidden_ms: float

    @property
    def computing_share(self) -> float:
        """Computing time as a fraction of the elapsed time, in [0, 1]."""
        return self.computing_ms / self.elapsed_ms

    @property
    def hidden_share(self) -> float:
        """Hidden time as a fraction of the copies' time, in [0, 1]; 1 if nothing was copied."""
        copying_ms = self.upload_ms + self.download_ms
        return self.hidden_ms / copying_ms if copying_ms else 1.0

    def as_json(self) -> dict[str, float]:
        """Return the figures for a JSON file."""
        shares = {"computing_share": self.computing_share, "hidden_share": self.hidden_share}
        return asdict(self) | shares


class GpuWatch:
    """Profiles the GPU from `start` to `stop`, in all threads and streams; on a CPU it records nothing."""

    def __init__(self) -> None:
        on_gpu = cuda.best_device().type == "cuda"
        self._profile = profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU])
        self._started = False

    def start(self) -> None:
        """Start the profiler."""
        self._profile.start()
        self._started = True

    def stop(self) -> Overlap | None:
        """Stop the profiler; return None if it was not started or no kernel ran."""
        if not self._started:
            return None
        self._profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, "trace.json")
            self._profile.export_chrome_trace(str(trace))
            return overlap_of(json.loads(trace.read_text(encoding="utf-8"))["traceEvents"])


def overlap_of(events: Iterable[Mapping[str, Any]]) -> Overlap | None:
    """Compute the overlap from a trace of PyTorch's profiler.

    Args:
        events: `traceEvents` in any order; a GPU's have the category `kernel`, `gpu_memcpy` or `gpu_memset`, a start
            `ts` and a duration `dur` in microseconds.

    Returns:
        The overlap; None if no kernel ran.
    """
    kernels: list[Span] = []
    up: list[Span] = []
    down: list[Span] = []
    for event in events:
        if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset"):
            # Copies from one place on the device to another are a part of the computation.
            spans = up if "HtoD" in event["name"] else down if "DtoH" in event["name"] else kernels
            spans.append((event["ts"], event["ts"] + event["dur"]))
    if not kernels:
        return None
    computing, busy = _union(kernels), _union([*kernels, *up, *down])
    return Overlap(
        elapsed_ms=(busy[-1][1] - busy[0][0]) / 1000,
        computing_ms=_total_ms(computing),
        upload_ms=_total_ms(up),
        download_ms=_total_ms(down),
        hidden_ms=sum(_total_ms(_intersection(_union(copies), computing)) for copies in (up, down)),
    )


def _union(spans: Sequence[Span]) -> list[Span]:
    """Merge spans that touch; return them in order."""
    united: list[Span] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(united[-1][1], end)
        else:
            united.append((start, end))
    return united


def _intersection(first: Sequence[Span], second: Sequence[Span]) -> list[Span]:
    """Intersect two ordered lists of spans."""
    common: list[Span] = []
    i = j = 0
    while i < len(first) and j < len(second):
        start, end = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if start < end:
            common.append((start, end))
        if first[i][1] < second[j][1]:
            i += 1
        else:
            j += 1
    return common


def _total_ms(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in spans) / 1000
