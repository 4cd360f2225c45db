"""What a GPU does at the same time: how much of the copying to and from it is hidden behind computation."""

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
    """A stretch of a GPU's time; all in milliseconds.

    Attributes:
        elapsed_ms: from the first thing that it did to the last.
        computing_ms: while at least one kernel ran.
        upload_ms: how long copies to it took, one after the other.
        download_ms: how long copies from it took.
        hidden_ms: how much of the copies' time a kernel ran in.
    """

    elapsed_ms: float
    computing_ms: float
    upload_ms: float
    download_ms: float
    hidden_ms: float

    @property
    def computing_share(self) -> float:
        """Of the time, in [0, 1]."""
        return self.computing_ms / self.elapsed_ms

    @property
    def hidden_share(self) -> float:
        """Of the copies' time, in [0, 1]; 1 where nothing was copied."""
        copying_ms = self.upload_ms + self.download_ms
        return self.hidden_ms / copying_ms if copying_ms else 1.0

    def as_json(self) -> dict[str, float]:
        """For a file."""
        shares = {"computing_share": self.computing_share, "hidden_share": self.hidden_share}
        return asdict(self) | shares


class GpuWatch:
    """Notes what the GPU does from `start` to `stop`, in all threads and streams; on a CPU it sees nothing."""

    def __init__(self) -> None:
        on_gpu = cuda.best_device().type == "cuda"
        self._profile = profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU])
        self._started = False

    def start(self) -> None:
        """From here on."""
        self._profile.start()
        self._started = True

    def stop(self) -> Overlap | None:
        """Up to here; None if it was not started, or a GPU did nothing meanwhile."""
        if not self._started:
            return None
        self._profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, "trace.json")
            self._profile.export_chrome_trace(str(trace))
            return overlap_of(json.loads(trace.read_text(encoding="utf-8"))["traceEvents"])


def overlap_of(events: Iterable[Mapping[str, Any]]) -> Overlap | None:
    """Reads a trace of PyTorch's profiler.

    Args:
        events: what its `traceEvents` hold, in any order; those of a GPU are of the category `kernel`, `gpu_memcpy` or
            `gpu_memset`, with their start `ts` and duration `dur` in microseconds.

    Returns:
        What a GPU did; None where no kernel ran.
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
    computing, everything = _united(kernels), _united([*kernels, *up, *down])
    return Overlap(
        elapsed_ms=(everything[-1][1] - everything[0][0]) / 1000,
        computing_ms=_total_ms(computing),
        upload_ms=_total_ms(up),
        download_ms=_total_ms(down),
        hidden_ms=sum(_total_ms(_common(_united(copies), computing)) for copies in (up, down)),
    )


def _united(spans: Sequence[Span]) -> list[Span]:
    """The same time as spans in order that do not touch."""
    united: list[Span] = []
    for start, end in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = united[-1][0], max(united[-1][1], end)
        else:
            united.append((start, end))
    return united


def _common(first: Sequence[Span], second: Sequence[Span]) -> list[Span]:
    """The time that lies in both, each in order."""
    common: list[Span] = []
    mine = theirs = 0
    while mine < len(first) and theirs < len(second):
        start, end = max(first[mine][0], second[theirs][0]), min(first[mine][1], second[theirs][1])
        if start < end:
            common.append((start, end))
        if first[mine][1] < second[theirs][1]:
            mine += 1
        else:
            theirs += 1
    return common


def _total_ms(spans: Iterable[Span]) -> float:
    return sum(end - start for start, end in spans) / 1000
