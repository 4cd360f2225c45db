"""Frames become the network's input, the engines are chosen, and batches come out in order."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.errors import EngineError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.infer.engines import ENGINES, load_engine, open_engine
from streamseg.infer.engines.base import IMAGENET_MEAN, IMAGENET_STD, call_seconds, normalise
from streamseg.infer.engines.torch_engine import TorchEngine
from streamseg.infer.every_frame import infer, warm_up
from streamseg.infer.letterbox import MARGIN_PX, TALL_GROWTH, Letterbox, network_input
from streamseg.model.u2net import U2Net
from streamseg.model.weights import MODELS
from streamseg.settings import InferSettings
from tests.synthetic import DiscEngine, frames, randomised


@pytest.fixture(scope="module")
def net() -> U2Net:
    return randomised()


def as_rgb(normalised: Tensor) -> Tensor:
    """Network input back to levels from 0 to 255."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (normalised * std + mean) * 255


def seen(pictures: list[Pixels], input_size: int) -> Tensor:
    """The frames' own part of the network's input, in levels from 0 to 255."""
    letterbox = Letterbox.of(pictures[0].shape[0], pictures[0].shape[1], input_size)
    return as_rgb(letterbox.crop(network_input(pictures, letterbox)))


@pytest.mark.parametrize(
    ("height", "width", "input_size", "inner", "whole"),
    [
        (1080, 1920, 320, (171, 304), (192, 320)),
        (720, 1280, 256, (135, 240), (160, 256)),
        (480, 640, 320, (228, 304), (256, 320)),
        (640, 480, 320, (304, 228), (320, 256)),
        (512, 512, 320, (304, 304), (320, 320)),
        (16, 16, 64, (48, 48), (64, 64)),
        (1280, 720, 320, (379, 213), (416, 256)),  # grows until it is two thirds of 320 px wide
        (908, 480, 320, (400, 211), (416, 256)),  # grows to 1.3 times 320 px, margin included
        (100, 10_000, 320, (3, 304), (64, 320)),
        (10_000, 100, 320, (400, 4), (416, 64)),
    ],
)
def test_inset(height: int, width: int, input_size: int, inner: tuple[int, int], whole: tuple[int, int]) -> None:
    letterbox = Letterbox.of(height, width, input_size)
    assert (letterbox.height, letterbox.width) == inner
    assert (letterbox.input_height, letterbox.input_width) == whole


@pytest.mark.parametrize("size", [(1400, 60), (60, 1400)])
@pytest.mark.parametrize("name", ["nano", "nano-int8"])
def test_the_smallest_network_takes_banners(name: str, size: tuple[int, int]) -> None:
    engine = load_engine(InferSettings(model=name, engine="openvino"))
    (batch,) = infer(frames(1, *size), engine, 320)
    assert min(batch.alpha.shape[-2:]) >= 1


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_a_damaged_network_in_int8_is_one_line(tmp_path: Path, engine: str) -> None:
    damaged = tmp_path / "mine.int8.onnx"
    damaged.write_bytes((MODELS / "nano.int8.onnx").read_bytes()[:50_000])
    with pytest.raises(EngineError, match=f"no inference engine opens: {engine}: ") as caught:
        load_engine(InferSettings(model=str(damaged), engine=engine))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("height", [1, 17, 99, 480, 1081, 9999])
@pytest.mark.parametrize("width", [1, 31, 640, 1919, 9999])
@pytest.mark.parametrize("input_size", [64, 100, 320, 2048])
def test_inset_is_divided_by_the_network_and_has_its_margin(height: int, width: int, input_size: int) -> None:
    letterbox = Letterbox.of(height, width, input_size)
    assert letterbox.input_height % 32 == letterbox.input_width % 32 == 0
    bottom = letterbox.input_height - letterbox.height - letterbox.top
    right = letterbox.input_width - letterbox.width - letterbox.left
    assert min(letterbox.top, letterbox.left, bottom, right) >= MARGIN_PX
    assert max(letterbox.height, letterbox.width) <= TALL_GROWTH * input_size
    if min(letterbox.height, letterbox.width) > 20:
        assert letterbox.height / letterbox.width == pytest.approx(height / width, rel=0.03)


def test_the_edges_are_repeated_and_the_matte_is_cut_back_to_the_frame() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    letterbox = Letterbox.of(48, 48, 64)
    levels = as_rgb(network_input([pixels], letterbox)).round()
    assert (letterbox.crop(levels)[0].permute(1, 2, 0) == torch.from_numpy(pixels)).all()
    assert (levels[0, :, 0, 0] == torch.from_numpy(pixels[0, 0])).all()
    assert (levels[0, :, -1, -1] == torch.from_numpy(pixels[-1, -1])).all()


def test_the_alpha_of_a_batch_has_the_shape_of_the_frame() -> None:
    (batch,) = infer(frames(1, 160, 90), DiscEngine(), 64)
    assert batch.alpha.shape == (1, 1, 27, 48)


def test_network_input_is_normalised_rgb() -> None:
    colour = (200, 100, 50)
    tensor = network_input([np.full((90, 160, 3), colour, np.uint8)], Letterbox.of(90, 160, 64))
    assert tensor.shape == (1, 3, 64, 64)
    assert tensor.dtype == torch.float32
    levels = as_rgb(tensor)
    for channel, level in enumerate(colour):
        assert torch.allclose(levels[:, channel], torch.tensor(float(level)), atol=1e-3)


def test_normalise_by_hand() -> None:
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    assert normalise(pixels).flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert pixels.flatten().tolist() == [0, 128, 255]


def test_shrinking_averages_over_all_pixels() -> None:
    """One white pixel in each 10x10 block: every block weighs the same, and levels are rounded to whole ones."""
    pixels = np.zeros((480, 480, 3), np.uint8)
    pixels[3::10, 7::10] = 255
    levels = seen([pixels], 64)
    assert torch.allclose(levels, torch.tensor(3.0), atol=1e-3)  # 255 / 100 = 2.55 -> 3


def test_enlarging_interpolates_between_pixels() -> None:
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = 240
    row = seen([pixels], 64)[0, 0, 30].round()
    assert row[21:27].tolist() == [0, 0, 80, 160, 240, 240]


def test_frames_keep_their_places() -> None:
    pictures = [np.full((64, 64, 3), level, np.uint8) for level in (10, 20, 30)]
    levels = seen(pictures, 64)
    assert levels[:, 0, 0, 0].round().tolist() == [10, 20, 30]
    left_half = np.zeros((56, 112, 3), np.uint8)
    left_half[:, :56] = 255
    assert (seen([left_half], 128)[0, 1].round() == torch.from_numpy(left_half[..., 1])).all()


def without(monkeypatch: pytest.MonkeyPatch, package: str, engine: str) -> None:
    """Makes `import package` fail as if it were not installed."""
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"streamseg.infer.engines.{engine}_engine", raising=False)
    monkeypatch.delattr(f"streamseg.infer.engines.{engine}_engine", raising=False)


def raiser(error: Exception) -> Callable[..., DiscEngine]:
    def fail(*_: object) -> DiscEngine:
        raise error

    return fail


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cpu"))


def test_auto_takes_openvino_on_a_cpu(net: U2Net, monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    opened = DiscEngine()
    monkeypatch.setitem(ENGINES, "openvino", lambda *_: opened)
    assert open_engine("auto", net) is opened


def test_auto_falls_back_to_the_next_one(net: U2Net, monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    without(monkeypatch, "openvino", "openvino")
    assert open_engine("auto", net).name == "onnx"
    without(monkeypatch, "onnxruntime", "onnx")
    assert open_engine("auto", net).name == "torch"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_what_onnx_runtime_needs(package: str, net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, package, "onnx")
    with pytest.raises(EngineError, match=rf"onnx: {package} is not installed: pip install 'streamseg\[onnx\]'"):
        open_engine("onnx", net)


def test_auto_takes_torch_where_there_is_a_gpu(net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cuda"))
    opened = DiscEngine()
    monkeypatch.setitem(ENGINES, "torch", lambda *_: opened)
    assert open_engine("auto", net) is opened


def test_an_engine_by_name(net: U2Net, no_gpu: None) -> None:
    engine = open_engine("torch", net)
    assert (engine.name, engine.device) == ("torch", "cpu")


def test_a_named_engine_does_not_fall_back(net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "openvino", "openvino")
    with pytest.raises(EngineError, match=r"openvino: .*openvino"):
        open_engine("openvino", net)


def test_the_error_gives_every_reason_on_one_line(net: U2Net, monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    monkeypatch.setitem(ENGINES, "openvino", raiser(RuntimeError("no such processor\nat line 7\nin that file")))
    monkeypatch.setitem(ENGINES, "onnx", raiser(ImportError("no onnxruntime here")))
    monkeypatch.setitem(ENGINES, "torch", raiser(ImportError("no torch here")))
    with pytest.raises(EngineError) as caught:
        open_engine("auto", net)
    reasons = "openvino: no such processor; onnx: no onnxruntime here; torch: no torch here"
    assert str(caught.value) == f"no inference engine opens: {reasons}"


def test_the_time_of_a_call_is_the_median_of_a_few_after_the_first() -> None:
    """An engine that brings the clock forward by what each of its calls is to take."""
    took = iter([9.0, 0.2, 0.1, 0.3, 5.0, 0.1])
    now = [0.0]

    class Timed(DiscEngine):
        def alpha(self, frames: Tensor) -> Tensor:
            now[0] += next(took)
            return super().alpha(frames)

    small = np.zeros((1, 32, 32, 3), np.uint8)
    assert call_seconds(Timed(), small, clock=lambda: now[0]) == pytest.approx(0.2)
    assert list(took) == []


@pytest.mark.parametrize(("cores", "live", "threads"), [(4, True, 3), (1, True, 1), (4, False, None)])
def test_a_live_line_keeps_a_core(
    cores: int, live: bool, threads: int | None, monkeypatch: pytest.MonkeyPatch, no_gpu: None
) -> None:
    given: list[int | None] = []
    monkeypatch.setattr("streamseg.hardware.cpu.cores", lambda: cores)
    monkeypatch.setitem(ENGINES, "openvino", lambda _, threads, device: given.append(threads) or DiscEngine())
    load_engine(InferSettings(), live)
    assert given == [threads]


def test_compiling_is_asked_for(net: U2Net, monkeypatch: pytest.MonkeyPatch, no_gpu: None) -> None:
    compiled: list[TorchEngine] = []
    monkeypatch.setattr(TorchEngine, "compile", lambda engine: compiled.append(engine))
    open_engine("torch", net)
    assert compiled == []
    engine = open_engine("torch-compile", net)
    assert compiled == [engine]


def test_a_reason_without_words_is_named_by_its_kind(net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "torch", raiser(RuntimeError()))
    with pytest.raises(EngineError, match="torch: RuntimeError"):
        open_engine("torch", net)


def test_an_unknown_engine_lists_the_known_ones(net: U2Net) -> None:
    with pytest.raises(EngineError, match="unknown engine 'tpu'; known are auto, openvino, onnx, torch, torch-compile"):
        open_engine("tpu", net)


class Recorder(DiscEngine):
    """Keeps the shapes that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def alpha(self, frames: Tensor) -> Tensor:
        self.shapes.append(tuple(frames.shape))
        return super().alpha(frames)


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 64, [2]), (3, 1, [1, 1, 1]), (0, 4, [])]
)
def test_batches_hold_every_frame_in_order(count: int, batch_size: int, sizes: list[int]) -> None:
    engine = Recorder()
    given = frames(count)
    batches = list(infer(given, engine, 128, batch_size))
    assert [len(batch.frames) for batch in batches] == sizes
    assert [shape[0] for shape in engine.shapes] == sizes
    assert [frame for batch in batches for frame in batch.frames] == given
    for batch in batches:
        assert batch.alpha.shape == (len(batch.frames), 1, 84, 112)


def test_no_frame_is_read_before_it_is_needed() -> None:
    read: list[int] = []

    def source() -> object:
        for frame in frames(9):
            read.append(frame.index)
            yield frame

    next(infer(source(), DiscEngine(), 64, 2))  # type: ignore[arg-type]
    assert read == [0, 1]


def test_every_frame_has_its_own_matte() -> None:
    alone = [next(infer([frame], DiscEngine(), 128)).alpha[0] for frame in frames(5)]
    together = [alpha for batch in infer(frames(5), DiscEngine(), 128, 4) for alpha in batch.alpha]
    assert all(map(torch.equal, together, alone))
    assert not torch.equal(alone[0], alone[4])


def test_batch_size_does_not_show_in_the_networks_matte(net: U2Net) -> None:
    engine = TorchEngine(net, torch.device("cpu"))
    alone, together = (torch.cat([b.alpha for b in infer(frames(5), engine, 64, size)]) for size in (1, 3))
    assert alone.std() > 0.005
    assert (alone - together).abs().max() < 1 / 255


def test_warm_up_runs_the_shape_that_will_come() -> None:
    engine = Recorder()
    warm_up(engine, VideoInfo(1920, 1080), 320)
    list(infer([Frame(0, Fraction(0), np.zeros((1080, 1920, 3), np.uint8))], engine, 320))
    assert engine.shapes == [(1, 3, 192, 320)] * 2
