"""The benchmark's arithmetic and its files; how fast anything is, no test says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from streamseg.bench import baseline as bench_seed
from streamseg.bench.baseline import baseline_fps
from streamseg.bench.benchmark import BenchmarkResult, Speedup, Workload, in_turns, measure
from streamseg.bench.report import show
from streamseg.cli.app import app
from streamseg.errors import ConfigError
from streamseg.model.precision import LIVE_MODEL
from streamseg.settings import CompositeSettings, InferSettings, Settings
from streamseg.statistics import StageTime
from tests.synthetic import DiscEngine, ListSource, frames, randomised, write_clip

KNOBS = ["--input-size", "64", "--engine", "openvino", "--precision", "int8"]
SMALL = Settings(infer=InferSettings(input_size=64), composite=CompositeSettings(bg="blur"))


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return str(write_clip(tmp_path / "x.mp4", 25).path)


def result(memory_mb: list[float]) -> BenchmarkResult:
    stages = {"decode": StageTime(1, 0, 4), "infer": StageTime(4, 0.5, 0.5)}
    return BenchmarkResult(20, 0, 4.0, [10.0, 20.0, 30.0, 40.0, 50.0], stages, "infer", 0.8, 200.0, 0.8, memory_mb)


def test_a_run(clip: str) -> None:
    found = measure(Workload(clip, SMALL, 20), DiscEngine())
    assert found.frames == 20
    assert found.fps > 0
    assert list(found.stages) == ["decode", "infer", "composite", "sink"]
    assert found.stages[found.bottleneck].busy == max(stage.busy for stage in found.stages.values())
    assert 0 < found.share_of_bottleneck <= 1.01
    assert len(found.latencies_ms) == 20


def test_live_the_engine_is_no_measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("streamseg.bench.benchmark.open_camera", lambda spec: ListSource(frames(12), live=True))
    found = measure(Workload("0", SMALL, 12, live=True), DiscEngine())
    assert found.frames + found.dropped == 12
    assert found.share_of_engine is None
    assert found.fresh_share is not None
    assert 0 < found.fresh_share <= 1
    show(found, Console())
    said = capsys.readouterr().out
    assert "ms a call\n" in said
    assert "age of the mattes p50" in said


def test_offline_no_matte_has_an_age(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = measure(Workload(clip, SMALL, 10), DiscEngine())
    assert found.as_json().items() >= {"matte_ages_ms": None, "matte_age_ms": None, "fresh_share": None}.items()
    show(found, Console())
    assert "age of the mattes" not in capsys.readouterr().out


def test_the_age_of_mattes() -> None:
    live = replace(result([]), matte_ages_ms=[0.0, 0.0, 0.0, 0.0, 50.0], fresh_share=0.8)
    assert live.matte_age_ms == {"p50": 0.0, "p95": pytest.approx(40), "p99": pytest.approx(48)}
    console = Console(record=True)
    show(live, console)
    assert "age of the mattes p50 0, p95 40, p99 48 ms; fresh ones for 80.0% of the frames" in console.export_text()
    assert live.as_json()["matte_age_ms"] == live.matte_age_ms


def test_stations_account_for_the_whole_time(clip: str) -> None:
    """Work, waiting for frames and waiting for room are all that a stage does, so none can be more than the run."""
    found = measure(Workload(clip, SMALL, 25, encode=True), DiscEngine())
    elapsed_seconds = found.frames / found.fps
    for stage in found.stages.values():
        assert stage.busy + stage.starved + stage.blocked <= elapsed_seconds * 1.05
    assert found.stages["sink"].busy > 0


def test_latency_at_shares() -> None:
    assert result([]).latency_ms == {"p50": 30.0, "p95": 48.0, "p99": 49.6}


def test_memory() -> None:
    flat, growing = result([500.0] * 40), result([500.0 + 10 * n for n in range(40)])
    assert flat.mb_per_1000_frames == pytest.approx(0, abs=1e-6)
    assert growing.mb_per_1000_frames == pytest.approx(1000)
    assert growing.peak_memory_mb == 890
    assert result([500.0] * 8).mb_per_1000_frames is None
    assert result([]).peak_memory_mb == 0


def test_in_turns() -> None:
    """A B A B, and the ratio of each pair."""
    calls: list[str] = []
    speeds = iter([30.0, 10.0, 40.0, 10.0, 20.0, 10.0])

    def way(name: str) -> float:
        calls.append(name)
        return next(speeds)

    ratio = in_turns(lambda: way("a"), lambda: way("b"), 3)
    assert calls == ["a", "b"] * 3
    assert ratio.turns == [3.0, 4.0, 2.0]
    assert ratio.as_json() == {"median": 3.0, "least": 2.0, "most": 4.0, "turns": [3.0, 4.0, 2.0]}


class TestSeed:
    def test_it_mattes(self, clip: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same frames through the network at 320x320, enlarged, over the background."""
        seen: list[np.ndarray] = []
        net = randomised().eval()
        honest = bench_seed._composite
        monkeypatch.setattr(bench_seed, "_composite", lambda *given: seen.append(honest(*given)) or seen[-1])
        with torch.no_grad():
            assert baseline_fps(Workload(clip, SMALL, 2), net) > 0
        assert [pixels.shape for pixels in seen] == [(96, 128, 3)] * 2
        assert all(pixels.dtype == np.uint8 for pixels in seen)

    def test_it_encodes(self, clip: str) -> None:
        assert baseline_fps(Workload(clip, SMALL, 2, encode=True), randomised().eval()) > 0

    def test_foregrounds_are_unknown_to_it(self, clip: str) -> None:
        with pytest.raises(ConfigError, match="needs a background"):
            baseline_fps(Workload(clip, Settings(), 2), randomised())


class TestCommand:
    def test_figures_and_image(self, clip: str, tmp_path: Path) -> None:
        out, png = tmp_path / "b.json", tmp_path / "b.png"
        flags = ["--frames", "10", *KNOBS, "--json", str(out), "--png", str(png)]
        done = CliRunner().invoke(app, ["bench", clip, *flags])
        assert done.exit_code == 0, done.output
        assert "held up by" in done.output
        figures = json.loads(out.read_text())
        assert figures["frames"] == 10
        assert figures["network"] == "lite-int8 on openvino, cpu"
        assert figures["settings"]["infer"]["input_size"] == 64
        assert figures["settings"]["infer"]["model"] == "lite"
        assert "ratio" not in figures
        assert png.stat().st_size > 5000

    def test_live_it_chooses_a_network_as_webcam_does(self, clip: str, tmp_path: Path) -> None:
        out = tmp_path / "b.json"
        done = CliRunner().invoke(app, ["bench", clip, "--live", "--frames", "10", *KNOBS, "--json", str(out)])
        assert done.exit_code == 0, done.output
        model = done.output.split(":")[0]
        assert model == LIVE_MODEL
        assert f"{model}: " in done.output and " ms a frame, " in done.output
        figures = json.loads(out.read_text())
        assert figures["settings"]["infer"]["model"] == model
        assert set(figures["matte_age_ms"]) == {"p50", "p95", "p99"}
        assert 0 < figures["fresh_share"] <= 1

    def test_two_configurations_in_turns(self, clip: str, tmp_path: Path) -> None:
        for name, size in (("a", 64), ("b", 96)):
            (tmp_path / f"{name}.toml").write_text(f"[infer]\ninput_size = {size}\n[composite]\nbg = 'blur'\n")
        pair = ["--compare", str(tmp_path / "a.toml"), str(tmp_path / "b.toml"), "--turns", "2"]
        done = CliRunner().invoke(app, ["bench", clip, "--frames", "10", *pair, "--json", str(tmp_path / "b.json")])
        assert done.exit_code == 0, done.output
        assert "times as fast" in done.output
        assert len(json.loads((tmp_path / "b.json").read_text())["ratio"]["turns"]) == 2

    def test_a_missing_configuration_is_told_before_anything_is_measured(self, clip: str, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["bench", clip, "--compare", str(tmp_path / "a.toml"), "b.toml"])
        assert done.exit_code == 2
        assert "cannot read the configuration" in done.output
        assert "fps" not in done.output

    @pytest.mark.parametrize("flags", [("--png", "b.svg"), ("--png", "no/b.png"), ("--json", "no/b.json")])
    def test_what_the_figures_cannot_be_written_to_is_told_before_they_are_measured(
        self, clip: str, flags: tuple[str, str]
    ) -> None:
        done = CliRunner().invoke(app, ["bench", clip, *flags])
        assert done.exit_code == 2
        assert "must end in .png" in done.output or "there is no folder no" in done.output
        assert "fps" not in done.output

    def test_no_such_clip(self) -> None:
        done = CliRunner().invoke(app, ["bench", "missing.mp4"])
        assert done.exit_code == 2
        assert "no such file" in done.output


def test_a_ratio_of_one_turn() -> None:
    assert Speedup([2.5]).median == 2.5
