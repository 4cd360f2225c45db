from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from streamseg.errors import DataError, EngineError, MissingExtraError, WeightsError
from streamseg.infer.engines import open_engine
from streamseg.model.foreign import ForeignNet
from streamseg.model.quantized import QuantizedNet
from streamseg.model.u2net import LITE, U2Net
from streamseg.model.weights import load_model, load_weights, read_info, save_weights
from train import graphs
from train.data import Pair, pairs_at
from train.evaluate import evaluate
from train.export import export, read_averaged, read_trained
from train.graphs import onnx_bytes

CPU = torch.device("cpu")
CARD = {"name": "little", "recipe": "none; random", "licence": "Apache-2.0"}


@pytest.fixture(scope="module")
def net() -> U2Net:
    """Random weights, with alpha all over its range."""
    torch.manual_seed(3)
    made = U2Net(LITE)
    with torch.no_grad():
        for _ in range(3):
            made.train()(torch.randn(2, 3, 64, 64))
        made.fuse.weight.mul_(6)
    return made.eval()


@pytest.fixture
def pairs(root: Path) -> list[Pair]:
    return pairs_at(root / "set")


@pytest.fixture
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "SIZE_PX", 64)
    monkeypatch.setattr(graphs, "CALIBRATION_IMAGES", 4)
    monkeypatch.setattr(graphs, "WATCHED_IMAGES", 1)


def run_onnx(content: bytes, frames: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"frames": frames.numpy()})[0]


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 96, 160), (3, 3, 32, 45)])
def test_onnx_takes_any_batch_and_size(net: U2Net, shape: tuple[int, ...]) -> None:
    frames = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(frames).numpy()
    assert np.ptp(expected) > 0.1
    content = onnx_bytes(net, CARD)
    np.testing.assert_allclose(run_onnx(content, frames), expected, atol=1e-5)
    told = {prop.key: prop.value for prop in onnx.load_from_string(content).metadata_props}
    assert told.items() >= {**CARD, "architecture": "lite", "format": "streamseg-onnx-1"}.items()


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_an_exported_graph_runs_as_the_network_itself(net: U2Net, tmp_path: Path, engine: str) -> None:
    out = tmp_path / "little.onnx"
    export(net, CARD, out, False, [], [])
    model = load_model(out)
    assert isinstance(model, ForeignNet)
    assert model.facts().items() >= {**CARD, "normalisation": "ImageNet's mean and deviation"}.items()
    frames = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(open_engine(engine, model).alpha(frames), net(frames), atol=1e-4, rtol=0)


def test_int8_runs_on_both_runtimes_and_tells_what_it_cost(
    net: U2Net, pairs: list[Pair], tmp_path: Path, small_frames: None
) -> None:
    out = tmp_path / "little.int8.onnx"
    export(net, CARD, out, False, pairs, pairs)
    kinds = {node.op_type for node in onnx.load(out).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert out.stat().st_size < 0.45 * len(onnx_bytes(net, CARD))
    frames = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(frames)
    model = load_model(out)
    assert isinstance(model, QuantizedNet)
    engine = open_engine("auto", model)
    assert engine.name == "openvino"
    difference = (engine.alpha(frames) - expected).abs()
    assert 0 < difference.mean() < 0.05
    assert np.abs(run_onnx(out.read_bytes(), frames) - expected.numpy()).mean() < 0.05
    info = read_info(out)
    assert (info.name, info.architecture, info.out_channels) == ("little-int8", "lite", 1)
    assert info.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert "post-training, 4 images" in info.metadata["quantization"]
    after = evaluate(engine.alpha, pairs, 64, False, CPU)
    assert info.metadata["quantization_check"].startswith(f"max F {after.max_f:.4f}")
    with pytest.raises(EngineError, match=r"torch: little\.int8\.onnx is an int8 network"):
        open_engine("torch", model)
    with pytest.raises(WeightsError, match="has no weights to train or convert"):
        load_weights(out)


def test_openvino_files_hold_the_same_network(
    net: U2Net, pairs: list[Pair], tmp_path: Path, small_frames: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.export.int8_bytes", lambda net, card, *_: onnx_bytes(net, card))
    export(net, CARD, tmp_path / "little.int8.xml", False, pairs, pairs)
    core = openvino.Core()
    frames = torch.randn(1, 3, 64, 64)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # it takes bfloat16 where the processor has it
    compiled = core.compile_model(core.read_model(tmp_path / "little.int8.xml"), "CPU", exact)
    with torch.no_grad():
        np.testing.assert_allclose(compiled(frames.numpy())[0], net(frames).numpy(), atol=1e-4)
    assert sorted(path.suffix for path in tmp_path.glob("little*")) == [".bin", ".xml"]


@pytest.mark.parametrize("name", ["little.int8.onnx", "little.int8.xml", "little.onnx", "little.safetensors"])
@pytest.mark.parametrize(
    ("after", "told"),
    [
        (
            {"max_f": 0.924},
            r"max F 0\.9240 \(0\.9300 in float32\), MAE 0\.0500 \(0\.0500\) on 8 images; at most 0\.005",
        ),
        ({"mae": 0.056}, r"max F 0\.9300 \(0\.9300 in float32\), MAE 0\.0560 \(0\.0500\) on 8 images; at most 0\.005"),
    ],
)
def test_what_loses_too_much_is_refused(
    net: U2Net,
    pairs: list[Pair],
    tmp_path: Path,
    small_frames: None,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    after: dict[str, float],
    told: str,
) -> None:
    scores = evaluate(lambda frames: torch.rand(frames.shape[0], 1, *frames.shape[2:]), pairs, 64, False, CPU)
    before = replace(scores, max_f=0.93, mae=0.05)
    found = iter((before, replace(before, **after)))
    monkeypatch.setattr(graphs, "_scores", lambda *_: next(found))
    monkeypatch.setattr(graphs, "quantized", lambda net, graph, *_: (graph, []))
    with pytest.raises(DataError, match=f"loses too much: {told}"):
        export(net, CARD, tmp_path / name, name.endswith(".safetensors"), pairs, pairs)
    assert not list(tmp_path.glob("little*"))


def test_weights_are_averaged_and_the_card_tells_it(net: U2Net, tmp_path: Path) -> None:
    other = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in other.state_dict().values():
            tensor += 2
    paths = [tmp_path / "early.safetensors", tmp_path / "late.safetensors"]
    for path, weights, steps in zip(paths, (other, net), ("10 steps", "20 steps"), strict=True):
        save_weights(path, weights, {**CARD, "recipe": steps, "metrics": "max F .7"})
    averaged, card = read_averaged(paths)
    for name, tensor in net.state_dict().items():
        change = 1 if tensor.is_floating_point() else 0
        torch.testing.assert_close(averaged.state_dict()[name], tensor + change)
    assert card["recipe"] == "20 steps; mean of these weights and those of: 10 steps"
    assert card["metrics"] == "not measured"
    assert read_averaged(paths, "max F .8")[1]["metrics"] == "max F .8"


def test_weights_of_different_networks_are_not_averaged() -> None:
    with pytest.raises(DataError, match="different networks cannot be averaged"):
        read_averaged([Path("nano"), Path("u2netp")])


def test_half_precision_weights_load_as_float(net: U2Net, tmp_path: Path) -> None:
    save_weights(tmp_path / "whole.safetensors", net, CARD)
    copied, card = read_trained(tmp_path / "whole.safetensors", metrics="measured")
    assert card == {**CARD, "metrics": "measured"}
    export(copied, card, tmp_path / "half.safetensors", True, [], [])
    whole, half = (tmp_path / f"{name}.safetensors" for name in ("whole", "half"))
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    again = load_weights(half)
    assert next(again.parameters()).dtype == torch.float32
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(frames), net(frames), atol=0.02, rtol=0)


def test_damaged_and_foreign_int8_files_are_named(net: U2Net, tmp_path: Path) -> None:
    damaged, foreign = tmp_path / "damaged.int8.onnx", tmp_path / "foreign.int8.onnx"
    damaged.write_bytes(b"not a graph")
    foreign.write_bytes(onnx_bytes(net, {}))
    with pytest.raises(WeightsError, match="is not an int8 network, or a damaged one"):
        read_info(damaged)
    with pytest.raises(WeightsError, match="was not exported by streamseg's training"):
        read_info(foreign)
    with pytest.raises(EngineError, match="openvino: "):
        open_engine("openvino", load_model(damaged))


def test_a_missing_package_is_named(net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"needs the package onnx: pip install 'streamseg\[train\]'"):
        onnx_bytes(net, {})
