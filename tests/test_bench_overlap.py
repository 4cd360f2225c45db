"""What a GPU did at a time, from traces made up for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console

from streamseg.bench.benchmark import Workload, measure
from streamseg.bench.overlap import GpuWatch, Overlap, overlap_of
from streamseg.bench.report import show
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.settings import CompositeSettings, InferSettings, Settings
from tests.synthetic import Clip, randomised

SMALL = Settings(infer=InferSettings(input_size=64), composite=CompositeSettings(bg="blur"))
UP, DOWN, ASIDE = "Memcpy HtoD (Pinned -> Device)", "Memcpy DtoH (Device -> Pinned)", "Memcpy DtoD (Device -> Device)"


def kernel(start_us: float, end_us: float) -> dict[str, Any]:
    return {"ph": "X", "cat": "kernel", "name": "conv", "ts": start_us, "dur": end_us - start_us, "args": {"stream": 7}}


def copy(name: str, start_us: float, end_us: float) -> dict[str, Any]:
    return kernel(start_us, end_us) | {"cat": "gpu_memcpy", "name": name}


ON_THE_CPU = [
    {"ph": "X", "cat": "cuda_runtime", "name": "cudaMemcpyAsync", "ts": 0, "dur": 9999},
    {"ph": "M", "name": "process_name", "ts": 0},
]


def test_copies_beside_and_under_kernels() -> None:
    found = overlap_of([*ON_THE_CPU, copy(UP, 0, 1000), kernel(1000, 5000), copy(DOWN, 4000, 6000)])
    assert found == Overlap(elapsed_ms=6, computing_ms=4, upload_ms=1, download_ms=2, hidden_ms=1)
    assert found.computing_share == pytest.approx(4 / 6)
    assert found.hidden_share == pytest.approx(1 / 3)
    assert found.as_json()["hidden_share"] == found.hidden_share


def test_three_streams_in_any_order() -> None:
    """Kernels that overlap count once, and a copy goes on from one kernel to the next."""
    events = [kernel(3000, 4000), copy(UP, 1500, 3500), kernel(0, 2000), copy(DOWN, 500, 1500), kernel(1000, 2500)]
    found = overlap_of(events)
    assert found == Overlap(elapsed_ms=4, computing_ms=3.5, upload_ms=2, download_ms=1, hidden_ms=2.5)


def test_copies_within_the_device_are_work() -> None:
    found = overlap_of([kernel(0, 1000), copy(ASIDE, 1000, 2000), copy(UP, 1000, 1500)])
    assert found == Overlap(elapsed_ms=2, computing_ms=2, upload_ms=0.5, download_ms=0, hidden_ms=0.5)


def test_without_copies_all_of_them_are_hidden() -> None:
    found = overlap_of([kernel(0, 10)])
    assert found is not None
    assert found.hidden_share == 1


@pytest.mark.parametrize("events", [[], ON_THE_CPU, [copy(UP, 0, 5)]])
def test_without_kernels_there_is_nothing_to_tell(events: list[dict[str, Any]]) -> None:
    assert overlap_of(events) is None


def test_a_cpu_is_watched_in_vain() -> None:
    assert GpuWatch().stop() is None
    watch = GpuWatch()
    watch.start()
    torch.ones(8).sum()
    assert watch.stop() is None


def test_the_line_of_a_gpu_is_measured_and_the_overlap_told(clip: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    result = measure(Workload(str(clip.path), SMALL, 12), StreamedEngine(randomised(), torch.device("cpu")))
    assert list(result.stages) == ["decode", "gpu", "sink"]
    assert result.overlap is None
    assert result.as_json()["overlap"] is None
    overlap = Overlap(elapsed_ms=200, computing_ms=150, upload_ms=8, download_ms=4, hidden_ms=9)
    seen = replace(result, overlap=overlap)
    show(seen, Console())
    told = "GPU, over 200 ms: computes 75% of the time; copies up 8.0 ms and down 4.0 ms, 75% of that while it computes"
    assert told in capsys.readouterr().out
    assert seen.as_json()["overlap"]["computing_share"] == 0.75


@pytest.mark.gpu
def test_a_gpu_is_seen_at_work(clip: Clip) -> None:
    found = measure(Workload(str(clip.path), SMALL, 20), StreamedEngine(randomised())).overlap
    assert found is not None
    assert 0 < found.computing_share <= 1
    assert 0 <= found.hidden_share <= 1
    assert min(found.upload_ms, found.download_ms) > 0
