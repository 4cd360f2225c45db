"""What was fallen back to is logged once, with its reason; `-v` shows it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from streamseg.cli.app import app
from streamseg.fallback import log_fallback
from streamseg.infer.engines import ENGINES, open_engine
from streamseg.model.precision import chosen_model
from streamseg.settings import InferSettings
from tests.conftest import SAMPLES
from tests.synthetic import DiscEngine, randomised


@pytest.fixture(autouse=True)
def afresh(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    log_fallback.cache_clear()
    caplog.set_level(logging.INFO, "streamseg")
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(logging.getLogger("streamseg"), "handlers", [])


def missing(*_: object) -> DiscEngine:
    raise ImportError("No module named 'openvino'")


def test_an_engine(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "openvino", missing)
    monkeypatch.setitem(ENGINES, "onnx", lambda *_: DiscEngine())
    for _ in range(2):
        open_engine("auto", randomised())
    assert caplog.messages == [
        "the network runs on onnx, since others do not open: openvino: No module named 'openvino'"
    ]


def test_a_precision(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.hardware.cpu.multiplies_int8", lambda: False)
    chosen_model(InferSettings(model="nano"))
    assert caplog.messages == ["nano runs in float32: no engine is faster for its int8 form on this processor"]


def test_v_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "openvino", missing)
    monkeypatch.setitem(ENGINES, "onnx", lambda *_: DiscEngine())
    arguments = ["image", str(SAMPLES / "portrait.jpg"), "-o", str(tmp_path / "x.png"), "--input-size", "64"]
    for flags, tells in (([], False), (["-v"], True)):
        log_fallback.cache_clear()
        done = CliRunner().invoke(app, [*flags, *arguments])
        assert done.exit_code == 0, done.output
        assert ("streamseg.infer.engines: the network runs on onnx" in done.stderr) == tells
