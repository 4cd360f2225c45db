from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor

from streamseg.errors import MissingExtraError
from streamseg.infer.engines import open_engine
from streamseg.model.quantized import QuantizedNet
from streamseg.model.u2net import LITE, FusedU2Net, Stage, U2Net
from train import quantize
from train.graphs import onnx_bytes
from train.quantize import quantized, sensitivities

CULPRIT = "body.decoder.3.decoder.0.conv"
NODE = "/body/decoder.3/decoder.0/conv/Conv"
SMALL = replace(LITE, encoder=(Stage(2, 3, 4, 8), *[Stage(2, 8, 4, 8)] * 5), decoder=(Stage(2, 16, 4, 8),) * 5)


@pytest.fixture(scope="module")
def net() -> U2Net:
    """Random weights, with alpha all over its range."""
    torch.manual_seed(3)
    made = U2Net(SMALL)
    block: Any = made.body.decoder[3]
    with torch.no_grad():
        block.encoder[-1].bn.bias[0] = 1  # so that this channel is no dead one
        for _ in range(3):
            made.train()(torch.randn(2, 3, 64, 64))
        made.fuse.weight.mul_(20)
    return made.eval()


@pytest.fixture(scope="module")
def spoiled(net: U2Net) -> U2Net:
    """The same function, but the culprit's first input channel is far beyond its others, and weighs as much less."""
    made = copy.deepcopy(net)
    block: Any = made.body.decoder[3]
    with torch.no_grad():
        block.encoder[-1].bn.weight[0] *= 10_000
        block.encoder[-1].bn.bias[0] *= 10_000
        block.decoder[0].conv.weight[:, 0] /= 10_000
    return made


@pytest.fixture(scope="module")
def frames() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 3, 64, 64, generator=generator) for _ in range(2)]


def graph_of(net: U2Net) -> Any:
    return onnx.load_from_string(onnx_bytes(net, {}))


def float_convolutions(graph: Any) -> list[str]:
    """The convolutions whose weights are no quantized ones."""
    made_by = {output: node.op_type for node in graph.graph.node for output in node.output}
    convs = [node for node in graph.graph.node if node.op_type == "Conv"]
    return [node.name for node in convs if made_by.get(node.input[1]) != "DequantizeLinear"]


def drift(net: U2Net, graph: Any, frames: Sequence[Tensor], folder: Path) -> float:
    (folder / "x.int8.onnx").write_bytes(graph.SerializeToString())
    int8 = open_engine("openvino", QuantizedNet(folder / "x.int8.onnx"))
    with torch.no_grad():
        return float(torch.stack([(int8.alpha(each) - net(each)).abs().mean() for each in frames]).mean())


def test_the_convolution_that_does_not_bear_int8_stays_in_float(
    net: U2Net, spoiled: U2Net, frames: list[Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        torch.testing.assert_close(spoiled(frames[0]), net(frames[0]), atol=1e-4, rtol=0)
    graph, in_float = quantized(spoiled, graph_of(spoiled), frames, frames)
    assert in_float == [CULPRIT]
    assert float_convolutions(graph) == [NODE]
    assert drift(spoiled, graph, frames, tmp_path) <= quantize.MAX_DRIFT
    monkeypatch.setattr(quantize, "COUNTS_IN_FLOAT", (0,))
    graph, in_float = quantized(spoiled, graph_of(spoiled), frames, frames)
    assert in_float == [] and drift(spoiled, graph, frames, tmp_path) > quantize.MAX_DRIFT


def test_a_network_that_bears_int8_is_quantized_whole(net: U2Net, frames: list[Tensor], tmp_path: Path) -> None:
    graph, in_float = quantized(net, graph_of(net), frames, frames)
    assert in_float == float_convolutions(graph) == []
    assert 0 < drift(net, graph, frames, tmp_path) <= quantize.MAX_DRIFT


def test_each_convolution_is_judged_alone(net: U2Net, spoiled: U2Net, frames: list[Tensor]) -> None:
    fused = FusedU2Net(net)
    before = fused(frames[0])
    sound, worse = sensitivities(fused, frames), sensitivities(FusedU2Net(spoiled), frames)
    assert len(sound) == 50 and min(sound.values()) > 0
    assert worse.pop(CULPRIT) > 10 * sound[CULPRIT]
    assert max(worse.values()) < 2 * max(sound.values())
    assert torch.equal(fused(frames[0]), before), "it was only watched"


def test_a_missing_package_is_named(net: U2Net, frames: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"needs the package nncf: pip install 'streamseg\[train\]'"):
        quantized(net, graph_of(net), frames, frames)
