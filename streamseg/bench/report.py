"""Benchmark reports: on the terminal, as JSON and as a chart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from streamseg.bench.benchmark import BenchmarkResult, Speedup
from streamseg.bench.overlap import Overlap
from streamseg.errors import MissingExtraError
from streamseg.media.atomic import atomic_write


def show(result: BenchmarkResult, console: Console) -> None:
    """Print a table of the stages, and the pipeline's figures."""
    table = Table("stage", "busy, ms/frame", "starved", "blocked")
    for name, stage in result.stages.items():
        parts = (stage.busy, stage.starved, stage.blocked)
        table.add_row(name, *(f"{seconds / result.frames * 1000:.1f}" for seconds in parts))
    console.print(table)
    console.print(f"{result.fps:.1f} fps over {result.frames} frames, {result.dropped} dropped", soft_wrap=True)
    console.print(f"latency {_percentiles_text(result.latency_ms)}", soft_wrap=True)
    if result.matte_age_ms:
        ages = f"age of the mattes {_percentiles_text(result.matte_age_ms)}"
        console.print(f"{ages}; fresh ones for {result.fresh_share:.1%} of the frames", soft_wrap=True)
    share = f"{result.share_of_bottleneck:.0%} of what it alone would give"
    console.print(f"held up by {result.bottleneck}; the pipeline reaches {share}", soft_wrap=True)
    share_of_engine = result.share_of_engine
    reached = "" if share_of_engine is None else f"; the pipeline reaches {share_of_engine:.0%} of it"
    console.print(f"engine alone {result.engine_ms:.1f} ms a call{reached}", soft_wrap=True)
    if result.overlap:
        console.print(_overlap_text(result.overlap), soft_wrap=True)
    if result.memory_mb:
        slope = result.mb_per_1000_frames
        growth = "" if slope is None else f", {slope:+.1f} MB per 1,000 frames in the second half"
        console.print(f"memory {result.peak_memory_mb:.0f} MB at most{growth}", soft_wrap=True)


def _overlap_text(overlap: Overlap) -> str:
    copies = f"copies up {overlap.upload_ms:.1f} ms and down {overlap.download_ms:.1f} ms"
    return (
        f"GPU, over {overlap.elapsed_ms:.0f} ms: computes {overlap.computing_share:.0%} of the time; {copies}, "
        f"{overlap.hidden_share:.0%} of that while it computes"
    )


def _percentiles_text(values_ms: dict[str, float]) -> str:
    return ", ".join(f"{name} {milliseconds:.0f}" for name, milliseconds in values_ms.items()) + " ms"


def show_ratio(ratio: Speedup, what: str, console: Console) -> None:
    """Print the ratio of a comparison on one line."""
    turns = f"{min(ratio.turns):.2f} to {max(ratio.turns):.2f} in {len(ratio.turns)} turns"
    console.print(f"{what}: {ratio.median:.2f} times as fast ({turns})", soft_wrap=True)


def write_json(path: Path, result: BenchmarkResult, ratio: Speedup | None, **about: Any) -> None:
    """Write all figures, and the ratio of a comparison under `ratio`.

    Raises:
        OutputError: the file cannot be written.
    """
    figures = about | result.as_json() | ({"ratio": ratio.as_json()} if ratio else {})
    atomic_write(path, json.dumps(figures, indent=2).encode())


def draw(path: Path, result: BenchmarkResult) -> None:
    """Draw the stages' times and a histogram of the latency.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing a benchmark", "matplotlib", "train") from error
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(result.stages)
    start = [0.0] * len(names)
    for part, colour in (("busy", "tab:blue"), ("starved", "lightgrey"), ("blocked", "tab:orange")):
        widths = [getattr(result.stages[name], part) / result.frames * 1000 for name in names]
        left.barh(names, widths, left=start, color=colour, label=part)
        start = [sum(pair) for pair in zip(start, widths, strict=True)]
    left.invert_yaxis()
    left.set_xlabel("ms a frame")
    figure.legend(loc="outside upper left", ncols=3)
    right.hist(result.latencies_ms, bins=30)
    right.set_xlabel("latency, ms")
    right.set_ylabel("frames")
    figure.savefig(path)
