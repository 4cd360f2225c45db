"""Which form of packaged weights runs, and on what."""

from __future__ import annotations

import pytest
import torch

from streamseg.decode.images import read_image
from streamseg.errors import WeightsError
from streamseg.hardware import cpu
from streamseg.infer.engines import load_engine
from streamseg.infer.letterbox import Letterbox, network_input
from streamseg.model.precision import chosen_model
from streamseg.settings import InferSettings
from tests.conftest import SAMPLES


@pytest.fixture
def made_for_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr("streamseg.hardware.cpu.multiplies_int8", lambda: True)


@pytest.mark.parametrize(
    ("overrides", "chosen"),
    [
        ({}, "lite-int8"),
        ({"model": "auto"}, "lite-int8"),
        ({"model": "lite"}, "lite-int8"),
        ({"model": "lite-duts"}, "lite-duts-int8"),
        ({"engine": "openvino"}, "lite-int8"),
        ({"precision": "fp32"}, "lite"),
        ({"engine": "torch"}, "lite"),
        ({"engine": "onnx"}, "lite"),
        ({"engine": "onnx", "precision": "int8"}, "lite-int8"),
        ({"model": "mine.safetensors"}, "mine.safetensors"),
        ({"model": "lite-int8", "precision": "int8"}, "lite-int8"),
        ({"model": "mine.int8.onnx"}, "mine.int8.onnx"),
        ({"model": "mine.onnx"}, "mine.onnx"),
    ],
)
def test_the_form_that_runs(overrides: dict[str, str], chosen: str, made_for_int8: None) -> None:
    assert chosen_model(InferSettings.model_validate(overrides)) == chosen


def test_a_processor_without_the_instructions_runs_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.hardware.cpu.multiplies_int8", lambda: False)
    assert chosen_model(InferSettings()) == "lite"
    assert chosen_model(InferSettings(precision="int8")) == "lite-int8"


def test_a_gpu_runs_the_float_weights(monkeypatch: pytest.MonkeyPatch, made_for_int8: None) -> None:
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cuda"))
    assert chosen_model(InferSettings()) == "lite"
    assert chosen_model(InferSettings(engine="openvino")) == "lite-int8"


@pytest.mark.parametrize(
    ("facts", "fast"),
    [
        ({"avx2": True, "avx512_vnni": False}, False),
        ({"avx512_vnni": True}, True),
        ({"avx_vnni": True}, True),
        ({"architecture": "aarch64"}, False),
    ],
)
def test_what_the_processor_tells(facts: dict[str, object], fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: facts, raising=False)
    assert cpu.multiplies_int8() is fast


def test_an_older_pytorch_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("torch.cpu.get_capabilities", raising=False)
    assert not cpu.multiplies_int8()


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        ({"model": "lite-int8", "precision": "fp32"}, "lite-int8 is int8; .* float32 weights, such as lite"),
        ({"model": "mine.INT8.onnx", "precision": "fp32"}, "mine.INT8.onnx is int8"),
        (
            {"model": "mine.pth", "precision": "int8"},
            "mine.pth is not packaged in int8; make it: python -m train export",
        ),
        ({"model": "mine.onnx", "precision": "fp32"}, "mine.onnx runs in the precision that it was exported in"),
    ],
)
def test_a_precision_that_there_is_not(overrides: dict[str, str], problem: str) -> None:
    with pytest.raises(WeightsError, match=problem):
        chosen_model(InferSettings.model_validate(overrides))


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_int8_and_float32_say_nearly_the_same(engine: str) -> None:
    photo = read_image(SAMPLES / "portrait.jpg")
    frames = network_input([photo], Letterbox.of(photo.shape[0], photo.shape[1], 320))
    float32, int8 = (
        load_engine(InferSettings.model_validate({"engine": engine, "precision": precision})).alpha(frames)
        for precision in ("fp32", "int8")
    )
    assert 0 < (float32 - int8).abs().mean() < 0.02
