"""Networks from elsewhere: what graphs and the TOML beside them say, what engines make of it, what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from streamseg.errors import EngineError, WeightsError
from streamseg.frames import Frame, VideoInfo
from streamseg.infer.engines import open_engine
from streamseg.infer.engines.base import Engine, network_tensor
from streamseg.infer.every_frame import infer, warm_up
from streamseg.infer.keyframes import KeyframeInterval, infer_keyframes
from streamseg.infer.letterbox import Letterbox, network_input, small_images
from streamseg.infer.live import FixedNetwork, infer_live
from streamseg.model.foreign import ForeignNet, read_foreign
from streamseg.model.u2net import U2Net
from streamseg.model.weights import load_model, load_weights
from tests.synthetic import frames as disc_frames
from tests.synthetic import picture
from tests.test_cli import expect_one_line_error, streamseg

onnx = pytest.importorskip("onnx")
FLOAT, HALF, BYTE, LONG = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "UINT8", "INT64"))
ANY = ("n", 3, "h", "w")
PLAIN = "[input]\nscale = 1\n"
"""Pixels in [0, 1]."""

Shape = Sequence[int | str] | None
Node = Any


@pytest.fixture(params=["openvino", "onnx"])
def engine_name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip({"onnx": "onnxruntime"}.get(request.param, request.param))
    return str(request.param)


def port(name: str, shape: Shape, kind: int = FLOAT) -> Any:
    return onnx.helper.make_tensor_value_info(name, kind, shape)


def node(kind: str, given: str, out: str, **attributes: Any) -> Node:
    return onnx.helper.make_node(kind, given.split(), [out], **attributes)


def grey(given: str = "x", out: str = "alpha") -> Node:
    """The mean of the channels."""
    return node("ReduceMean", given, out, axes=[1])


def write(
    path: Path,
    nodes: Sequence[Node],
    inputs: Sequence[Any] = (port("x", ANY),),
    outputs: Sequence[Any] = (port("alpha", ("n", 1, "h", "w")),),
    tensors: Sequence[tuple[str, Any]] = (),
    toml: str | None = None,
) -> Path:
    """An ONNX file, and the TOML beside it."""
    stored = [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in tensors]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, stored)
    versions = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=versions, ir_version=8), path)
    if toml is not None:
        path.with_suffix(".toml").write_text(toml)
    return path


def opened(engine_name: str, path: Path) -> Engine:
    net = load_model(path)
    assert isinstance(net, ForeignNet)
    return open_engine(engine_name, net)


def pixels(count: int = 1, height: int = 64, width: int = 96) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), np.uint8)


def means(rgb: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """Of the channels, `(N, 1, h, w)` in [0, 1]."""
    return torch.from_numpy(rgb).float().mean(3)[:, None] / 255


def resized(maps: Tensor, *size: int) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)


def agree(alpha: Tensor, expected: Tensor, atol: float = 1e-5) -> None:
    assert (alpha.dtype, alpha.shape) == (torch.float32, expected.shape)
    assert expected.std() > 0.02, "a flat matte would agree with anything"
    torch.testing.assert_close(alpha, expected, atol=atol, rtol=0)


# What networks are given


def test_without_a_word_frames_come_as_for_imagenet(engine_name: str, tmp_path: Path) -> None:
    engine = opened(engine_name, write(tmp_path / "x.onnx", [grey()]))
    assert (engine.name, engine.device) == (engine_name, "cpu")
    for shape in ((1, 64, 96), (3, 32, 64), (1, 64, 96)):
        given = network_tensor(pixels(*shape))
        agree(engine.alpha(given), given.mean(1, keepdim=True).clamp(0, 1))


@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [
        (1.0, None, None),
        (255.0, (50.0, 60.0, 70.0), (200.0, 300.0, 400.0)),
        (None, (0.5, 0.4, 0.3), None),
        (None, None, (2.0, 1.0, 0.5)),
        (2.0, (0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
    ],
)
def test_normalisation(
    scale: float | None, mean: Sequence[float] | None, std: Sequence[float] | None, engine_name: str, tmp_path: Path
) -> None:
    given = {"scale": scale, "mean": mean and list(mean), "std": std and list(std)}
    toml = "[input]\n" + "".join(f"{key} = {value}\n" for key, value in given.items() if value is not None)
    engine = opened(engine_name, write(tmp_path / "x.onnx", [grey()], toml=toml))
    rgb = pixels()
    levels = rgb / 255 * (scale or 1)
    expected = ((levels - (mean or (0, 0, 0))) / (std or (1, 1, 1))).mean(3).clip(0, 1)
    agree(engine.alpha(network_tensor(rgb)), torch.from_numpy(expected).float()[:, None])


def bytes_network(path: Path, toml: str | None = None) -> Path:
    """NHWC uint8 in, the mean of the channels out."""
    nodes = [
        node("Cast", "x", "f", to=FLOAT),
        node("ReduceMean", "f", "m", axes=[3]),
        node("Mul", "m share", "alpha"),
    ]
    ports = [port("x", ("n", "h", "w", 3), BYTE)], [port("alpha", ("n", "h", "w", 1))]
    return write(path, nodes, *ports, [("share", np.float32(1 / 255))], toml)


def test_pixels_as_they_are_with_channels_last(engine_name: str, tmp_path: Path) -> None:
    engine = opened(engine_name, bytes_network(tmp_path / "x.onnx"))
    rgb = pixels(2)
    agree(engine.alpha(network_tensor(rgb)), means(rgb), atol=1e-6)


def test_half_precision(engine_name: str, tmp_path: Path) -> None:
    ports = [port("x", ANY, HALF)], [port("alpha", ("n", 1, "h", "w"), HALF)]
    engine = opened(engine_name, write(tmp_path / "x.onnx", [grey()], *ports, toml=PLAIN))
    rgb = pixels(2)
    agree(engine.alpha(network_tensor(rgb)), means(rgb), atol=2e-3)


def fixed(path: Path, toml: str = PLAIN) -> Path:
    """Takes one image of 64 x 96 px."""
    return write(path, [grey()], [port("x", (1, 3, 64, 96))], [port("alpha", (1, 1, 64, 96))], toml=toml)


def test_a_network_of_one_size_and_no_batches(engine_name: str, tmp_path: Path) -> None:
    engine = opened(engine_name, fixed(tmp_path / "x.onnx"))
    rgb = pixels(3)
    agree(engine.alpha(network_tensor(rgb)), means(rgb))
    other = pixels(2, 96, 64)
    agree(engine.alpha(network_tensor(other)), resized(resized(means(other), 64, 96), 96, 64))


def test_a_size_that_is_said(engine_name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", [grey()], toml=PLAIN + "size_px = [32, 48]\n")
    rgb = pixels(2)
    agree(opened(engine_name, path).alpha(network_tensor(rgb)), resized(resized(means(rgb), 32, 48), 64, 96))


def test_multiples(engine_name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", [grey()], toml=PLAIN + "multiple_of_px = 64\n")
    rgb = pixels(1, 64, 96)
    agree(opened(engine_name, path).alpha(network_tensor(rgb)), resized(resized(means(rgb), 64, 128), 64, 96))


# What they answer


def linear(path: Path, toml: str | None = None) -> Path:
    """A weighted sum: 6 times the mean less 3, at half the size."""
    nodes = [
        node("AveragePool", "x", "half", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "half weight bias", "alpha"),
    ]
    tensors = [("weight", np.full((1, 3, 1, 1), 2, np.float32)), ("bias", np.float32([-3]))]
    return write(path, nodes, outputs=[port("alpha", None)], tensors=tensors, toml=toml)


@pytest.mark.parametrize("values", [None, "logits", "alpha"])
def test_logits_and_another_size(values: str | None, engine_name: str, tmp_path: Path) -> None:
    said = f'[output]\nvalues = "{values}"\n' if values else ""
    engine = opened(engine_name, linear(tmp_path / "x.onnx", PLAIN + said))
    rgb = pixels(2)
    found = F.avg_pool2d(means(rgb), 2) * 6 - 3
    expected = found.clamp(0, 1) if values == "alpha" else found.sigmoid()
    agree(engine.alpha(network_tensor(rgb)), resized(expected, 64, 96))


def test_logits_that_the_graph_makes_alpha_of(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", [grey("x", "m"), node("Sigmoid", "m", "alpha")], toml=PLAIN)
    rgb = pixels()
    agree(opened("openvino", path).alpha(network_tensor(rgb)), means(rgb).sigmoid())


@pytest.mark.parametrize(
    ("said", "factor"),
    [
        ("", 0.5),
        ('name = "alpha"', 0.5),
        ('name = "quarter"', 0.25),
        ("name = 2", 0.25),
        ('name = "last"\nlayout = "NHWC"', 0.125),
    ],
)
def test_one_of_several_outputs(said: str, factor: float, engine_name: str, tmp_path: Path) -> None:
    """The first that can be a matte, unless another one is asked for."""
    nodes = [
        node("ReduceMean", "x", "features", axes=[2, 3], keepdims=0),
        grey("x", "m"),
        node("Mul", "m half", "alpha"),
        node("Mul", "alpha half", "with_side"),
        node("Squeeze", "with_side one", "quarter"),
        node("Mul", "with_side half", "eighth"),
        node("Transpose", "eighth", "last", perm=[0, 2, 3, 1]),
    ]
    outputs = [
        port("features", ("n", 3)),
        port("alpha", ("n", 1, "h", "w")),
        port("quarter", ("n", "h", "w")),
        port("last", ("n", "h", "w", 1)),
    ]
    tensors = [("half", np.float32(0.5)), ("one", np.int64([1]))]
    path = write(tmp_path / "x.onnx", nodes, outputs=outputs, tensors=tensors, toml=f"{PLAIN}[output]\n{said}\n")
    rgb = pixels(2)
    agree(opened(engine_name, path).alpha(network_tensor(rgb)), means(rgb) * factor)


# In the line


def test_a_networks_own_size_takes_the_place_of_the_setting(engine_name: str, tmp_path: Path) -> None:
    engine = opened(engine_name, fixed(tmp_path / "x.onnx"))
    given = [Frame(index, Fraction(index, 25), each) for index, each in enumerate(pixels(3, 90, 160))]
    letterbox = Letterbox.of(90, 160, 96)
    expected = [resized(means(small_images([frame.image], letterbox)), 64, 96) for frame in given]
    expected = [letterbox.crop(resized(each, letterbox.input_height, letterbox.input_width)) for each in expected]
    ways = (
        infer(given, engine, 320, 2),
        infer_keyframes(given, engine, 320, KeyframeInterval(1, VideoInfo(1, 1).rate)),
        infer_live(given, FixedNetwork(engine, 320), 1e9),
    )
    for batches in ways:
        agree(torch.cat([batch.alpha for batch in batches]), torch.cat(expected))
    warm_up(engine, VideoInfo(160, 90), 320)


def test_a_tiny_network_has_frames_within_their_margin(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", [grey()], toml=PLAIN + "size_px = [8, 8]\n")
    (batch,) = infer(disc_frames(1, 160, 90), opened("openvino", path), 320)
    assert batch.alpha.shape[2:] == (27, 48)


# Who runs them


def double_inverse(path: Path) -> Path:
    """An operation of ONNX Runtime's own, twice, so that it shows only where it is missing."""
    nodes = [
        grey("x", "m"),
        node("Inverse", "m", "i", domain="com.microsoft"),
        node("Inverse", "i", "alpha", domain="com.microsoft"),
    ]
    return write(path, nodes, [port("x", (1, 3, 8, 8))], [port("alpha", (1, 1, 8, 8))], toml=PLAIN)


def test_onnx_runtime_runs_what_openvino_does_not_know(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    net = load_model(double_inverse(tmp_path / "x.onnx"))
    engine = open_engine("auto", net)
    assert engine.name == "onnx"
    rgb = pixels(1, 8, 8)
    agree(engine.alpha(network_tensor(rgb)), means(rgb), atol=0.02)
    with pytest.raises(
        EngineError, match=r"openvino: No conversion rule found for operations: com\.microsoft\.Inverse"
    ):
        open_engine("openvino", net)


def test_a_graph_that_nobody_runs_is_refused_with_everyones_reason(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write(tmp_path / "x.onnx", [node("Frobnicate", "x", "alpha")])
    with pytest.raises(
        WeightsError, match=r"none that runs here: openvino: .*Frobnicate.*; onnx: .*Frobnicate"
    ) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["openvino", "onnxruntime", "onnx"])
def test_one_runtime_is_enough(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "openvino":
        pytest.importorskip("onnxruntime")
    path = linear(tmp_path / "x.onnx", PLAIN + '[output]\nvalues = "logits"\n')
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.setitem(sys.modules, name, None)
    for engine in {"openvino": ["openvino"], "onnxruntime": ["onnx"]}.get(missing, []):
        monkeypatch.delitem(sys.modules, f"streamseg.infer.engines.{engine}_engine", raising=False)
    engine = opened("auto", path)
    assert engine.name == ("onnx" if missing == "openvino" else "openvino")
    rgb = pixels()
    agree(engine.alpha(network_tensor(rgb)), resized((F.avg_pool2d(means(rgb), 2) * 6 - 3).sigmoid(), 64, 96))


def test_pytorch_does_not_run_graphs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = load_model(write(tmp_path / "x.onnx", [grey()]))
    for name in ("torch", "torch-compile"):
        with pytest.raises(
            EngineError, match=r"x\.onnx is an ONNX graph, which PyTorch does not run: take openvino or"
        ):
            open_engine(name, net)
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cuda"))
    assert open_engine("auto", net).name == "openvino"


def test_the_official_network_is_ours_where_it_can_be_read(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "u2netp.onnx"
    path.symlink_to(shared / "weights" / "u2netp.onnx")
    own = load_model(path)
    assert isinstance(own, U2Net)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert isinstance(load_model(path), U2Net), "OpenVINO reads it"
    path.with_suffix(".toml").write_text("")
    net = load_model(path)
    assert isinstance(net, ForeignNet), "it is described"
    assert (net.input.size_px, net.input.normalisation, net.output.index, net.output.are_logits) == (
        (320, 320),
        None,
        0,
        False,
    )
    given = network_input([picture(0)], Letterbox.of(96, 128, 320))
    with torch.no_grad():
        expected = resized(own(resized(given, 320, 320)), *given.shape[2:])
    agree(open_engine("onnx", net).alpha(given), expected, atol=1e-3)
    monkeypatch.undo()
    path.with_suffix(".toml").write_text("[output]\nname = 1\n")
    described = load_model(path)
    assert isinstance(described, ForeignNet) and described.output.index == 1


# What is refused

TWO_IMAGES = [port("image", ANY), port("trimap", ("n", 3, "h", "w"))]
RECURRENT = [port("src", ANY), port("r1i", None), port("downsample_ratio", (1,))]


@pytest.mark.parametrize(
    ("inputs", "outputs", "problem"),
    [
        (TWO_IMAGES, ["alpha"], r"2 inputs: image \(\?, 3, \?, \?\) float32, trimap .*whose one input is an image"),
        (RECURRENT, ["alpha"], r"3 inputs: src .*, r1i \(.*, downsample_ratio \(1\) float32; .* recurrent states"),
        ([port("x", (1, 4, 64, 64))], ["alpha"], r"x \(1, 4, 64, 64\) float32 is no image of 3 channels"),
        ([port("x", (3, 64, 64))], ["alpha"], r"is no image of 3 channels, \(N, 3, h, w\) or \(N, h, w, 3\)"),
        ([port("x", None)], ["alpha"], r"x \(\?\) float32 is no image of 3 channels"),
        ([port("x", ANY, LONG)], ["alpha"], r"int64 has pixels of a type that is not run; .*float32, float16, uint8"),
        ([port("x", (4, 3, 64, 64))], ["alpha"], "takes 4 images at a time; 1 or any number"),
        ([port("x", (1, 3, 64, "w"))], ["alpha"], r"\(1, 3, 64, \?\) float32 fixes one side only; .*size_px ="),
    ],
)  # fmt: skip
def test_inputs_that_are_refused(inputs: list[Any], outputs: list[str], problem: str, tmp_path: Path) -> None:
    first = inputs[0].name
    nodes = [node("Cast", first, "f", to=FLOAT), node("Relu", "f", outputs[0])]
    path = write(tmp_path / "x.onnx", nodes, inputs, [port(name, None) for name in outputs])
    with pytest.raises(WeightsError, match=problem) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "colours"), node("ReduceMean", "x", "scores", axes=[2, 3], keepdims=0)]
    outputs = [port("colours", ANY), port("scores", ("n", 3))]
    path = write(tmp_path / "x.onnx", nodes, outputs=outputs)
    with pytest.raises(
        WeightsError, match=r"no output of one channel, .*: colours \(\?, 3, \?, \?\) .*, scores \(\?, 3\)"
    ):
        load_model(path)


def test_an_output_that_shows_only_when_it_runs(engine_name: str, tmp_path: Path) -> None:
    nodes = [node("Shape", "x", "shape"), node("Gather", "shape order", "turned"), node("Reshape", "x turned", "alpha")]
    tensors = [("order", np.int64([0, 2, 1, 3]))]
    path = write(tmp_path / "x.onnx", nodes, outputs=[port("alpha", ("n", "a", "b", "c"))], tensors=tensors)
    with pytest.raises(
        EngineError, match=r"output alpha is \(1, 64, 3, 96\), no map of one channel; .*x\.toml"
    ) as caught:
        opened(engine_name, path).alpha(network_tensor(pixels()))
    assert "\n" not in str(caught.value)


def test_a_size_that_a_graph_of_any_size_does_not_take(engine_name: str, tmp_path: Path) -> None:
    nodes = [grey("x", "m"), node("Reshape", "m shape", "alpha")]
    tensors = [("shape", np.int64([1, 1, 32, 32]))]
    path = write(tmp_path / "x.onnx", nodes, outputs=[port("alpha", (1, 1, 32, 32))], tensors=tensors, toml=PLAIN)
    engine = opened(engine_name, path)
    problem = (
        rf"{engine_name} does not run .*x\.onnx on 64 x 96 px \(input\.size_px in .*x\.toml gives it one size\): ."
    )
    with pytest.raises(EngineError, match=problem) as caught:
        engine.alpha(network_tensor(pixels()))
    assert "\n" not in str(caught.value)
    path.with_suffix(".toml").write_text(PLAIN + "size_px = [32, 32]\n")
    rgb = pixels()
    agree(opened(engine_name, path).alpha(network_tensor(rgb)), resized(resized(means(rgb), 32, 32), 64, 96))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"<!DOCTYPE html>\n<html>",
        lambda content: content[: len(content) // 2],
        lambda content: b"",
    ],
    ids=["html", "half", "empty"],
)
def test_a_damaged_file(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = linear(tmp_path / "x.onnx")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match="is not an ONNX graph, or a damaged one") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("toml", "problem"),
    [
        ("[input]\nmeen = [0, 0, 0]\n", r"unknown key input\.meen; known are input\.size_px, .*, output\.values"),
        ("[output]\nvalues = 'probability'\n", r"output\.values: .*'alpha' or 'logits' \(got 'probability'\)"),
        ("mean = [0, 0, 0]\n", "unknown key mean; known are input"),
        ("[input]\nmean = [0, 0]\n", r"input\.mean"),
        ("[input]\nstd = [1, 0, 1]\n", r"input\.std\.1: .*greater than 0 \(got 0\)"),
        ("[input]\nsize_px = [0, 64]\n", r"input\.size_px\.0"),
        ("[input]\nsize_px = [64, 64]\n", r"input\.size_px says 64 x 64 px, and its input is x \(1, 3, 64, 96\)"),
        ("[input]\nmultiple_of_px = 8\n", "is for networks of any size, and this one takes 64 x 96 px"),
        ("[input]\nlayout = 'NHWC'\n", "is no image of 3 channels"),
        ("[output]\nname = 'd0'\n", r"output\.name = 'd0' is none of its outputs: alpha \(1, 1, 64, 96\) float32"),
        ("[output]\nname = 1\n", r"output\.name = 1 is none of its outputs"),
        ("[output]\nlayout = 'NHWC'\n", r"no output of one channel"),
        ("[input\n", "cannot read .*, which describes the network beside it"),
    ],
)
def test_a_description_that_does_not_fit(toml: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=problem) as caught:
        load_model(fixed(tmp_path / "x.onnx", toml))
    assert "x.toml" in str(caught.value) and "\n" not in str(caught.value)


def test_an_output_that_is_asked_for_and_no_map(tmp_path: Path) -> None:
    nodes = [grey(), node("Relu", "x", "colours")]
    outputs = [port("alpha", ("n", 1, "h", "w")), port("colours", ANY)]
    path = write(tmp_path / "x.onnx", nodes, outputs=outputs, toml="[output]\nname = 'colours'\n")
    with pytest.raises(WeightsError, match=r"its output colours \(\?, 3, \?, \?\) float32 is no map of one channel"):
        load_model(path)


def test_pixels_as_they_are_have_no_normalisation(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"input\.mean is for float inputs; this one takes uint8"):
        load_model(bytes_network(tmp_path / "x.onnx", "[input]\nmean = [0.5, 0.5, 0.5]\n"))


def test_they_have_no_weights_to_train(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not the official U²-Net"):
        load_weights(write(tmp_path / "x.onnx", [grey()]))


# On the command line


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Black on the left, white on the right."""
    halves = np.zeros((90, 160, 3), np.uint8)
    halves[:, 80:] = 255
    cv2.imwrite(str(tmp_path / "photo.png"), halves)
    return tmp_path / "photo.png"


@pytest.mark.parametrize("network", [fixed, bytes_network])
def test_a_photo(network: Callable[[Path], Path], engine_name: str, photo: Path, tmp_path: Path) -> None:
    model, out = network(tmp_path / "x.onnx"), tmp_path / "matte.png"
    result = streamseg("image", photo, "-o", out, "--matte-only", "--model", model, "--engine", engine_name)
    assert result.exit_code == 0, result.output
    matte = cv2.imread(str(out), cv2.IMREAD_GRAYSCALE)
    assert matte is not None and matte.shape == (90, 160)
    assert matte[:, :70].max() <= 2 and matte[:, 90:].min() >= 253


def test_problems_are_one_line(photo: Path, tmp_path: Path) -> None:
    run = ("image", photo, "-o", tmp_path / "matte.png", "--matte-only", "--model")
    model = fixed(tmp_path / "x.onnx")
    for precision in ("int8", "fp32"):
        result = streamseg(*run, model, "--precision", precision)
        expect_one_line_error(result, "x.onnx runs in the precision that it was exported in; leave --precision")
    expect_one_line_error(streamseg(*run, model, "--engine", "torch"), "x.onnx is an ONNX graph")
    model.with_suffix(".toml").write_text("[input]\ncolor = 1\n")
    expect_one_line_error(streamseg(*run, model), "x.toml: unknown key input.color")
    model.with_suffix(".toml").unlink()
    model.write_bytes(b"<html>")
    expect_one_line_error(streamseg(*run, model), "x.onnx is not an ONNX graph, or a damaged one")
    assert not (tmp_path / "matte.png").exists()


def test_info(tmp_path: Path) -> None:
    result = streamseg("weights", "info", fixed(tmp_path / "x.onnx", "[input]\nmean = [0.5, 0.5, 0.5]\n"))
    assert result.exit_code == 0, result.output
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert told["file"] == str(tmp_path / "x.onnx")
    assert told["input"] == "NCHW, float32, 64 x 96 px (height, width), one at a time"
    assert told["normalisation"] == "scale 1, mean (0.5, 0.5, 0.5), std (1.0, 1.0, 1.0)"
    assert told["output"] == "alpha, NCHW, alpha in [0, 1]"
    assert told["description"] == str(tmp_path / "x.toml")
    facts = read_foreign(linear(tmp_path / "y.onnx")).facts()
    assert facts["input"] == "NCHW, float32, any size in multiples of 32 px"
    assert facts["normalisation"] == "ImageNet's mean and deviation"
    assert facts["output"] == "alpha, NCHW, logits"
    assert facts["description"] == f"none; {tmp_path / 'y.toml'} can change the above"
