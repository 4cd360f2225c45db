"""Every engine keeps one contract: the network's own matte, whatever the shape and layout that it is given."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.hardware import cuda
from streamseg.infer.engines import AUTO_ENGINES, ENGINES, open_engine
from streamseg.infer.engines.base import Engine
from streamseg.infer.letterbox import Letterbox, network_input
from streamseg.model.quantized import SUFFIX
from streamseg.model.u2net import U2Net
from streamseg.model.weights import list_weights, load_model
from tests.conftest import SAMPLES
from tests.synthetic import picture, randomised

SHAPES = [(1, 3, 64, 96), (3, 3, 64, 96), (1, 3, 32, 32), (1, 3, 64, 96)]
"""In this order: the shape changes between calls, and the first one comes back."""

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def net() -> U2Net:
    """The lite network with random weights, and batch norms that keep its output from being flat."""
    return randomised()


@pytest.fixture(scope="module", params=AUTO_ENGINES)
def engine(request: pytest.FixtureRequest, net: U2Net) -> Engine:
    """Each engine that is installed, on the CPU."""
    if request.param == "torch":
        from streamseg.infer.engines.torch_engine import TorchEngine

        return TorchEngine(net, torch.device("cpu"))
    pytest.importorskip({"onnx": "onnxruntime"}.get(request.param, request.param))
    return ENGINES[request.param](net, None, CPU)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def expected(net: U2Net, frames: Tensor) -> Tensor:
    alpha = net(frames)
    assert alpha.std() > 0.01  # A flat matte would agree with anything.
    return alpha


def test_name_and_device(engine: Engine) -> None:
    assert ENGINES[engine.name]
    assert engine.device == "cpu"


def test_agrees_with_the_evaluation_form_while_shapes_change(engine: Engine, net: U2Net) -> None:
    for seed, shape in enumerate(SHAPES):
        frames = noise(*shape, seed=seed)
        alpha = engine.alpha(frames)
        assert alpha.shape == (shape[0], 1, *shape[2:])
        assert alpha.dtype == torch.float32
        assert alpha.device.type == "cpu"
        assert 0 <= alpha.min() <= alpha.max() <= 1
        torch.testing.assert_close(alpha, expected(net, frames), atol=1e-4, rtol=0)


def test_threads_do_not_show(net: U2Net) -> None:
    frames = noise(1, 3, 64, 96)
    one, all_of_them = (ENGINES["openvino"](net, threads, CPU).alpha(frames) for threads in (1, None))
    torch.testing.assert_close(one, all_of_them, atol=1e-4, rtol=0)


def test_a_matte_outlives_the_next_call(engine: Engine) -> None:
    first = engine.alpha(noise(1, 3, 64, 96, seed=1))
    kept = first.clone()
    second = engine.alpha(noise(1, 3, 64, 96, seed=2))
    assert not torch.equal(second, kept)
    assert torch.equal(first, kept)


def test_the_input_is_left_alone(engine: Engine) -> None:
    frames = noise(1, 3, 64, 96)
    before = frames.clone()
    engine.alpha(frames)
    assert torch.equal(frames, before)


def test_the_layout_of_the_input_does_not_matter(engine: Engine) -> None:
    frames = noise(3, 3, 64, 96)
    permuted = frames.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    cut_out = noise(3, 3, 80, 112)[:, :, 8:72, 8:104]
    assert not permuted.is_contiguous()
    torch.testing.assert_close(engine.alpha(permuted), engine.alpha(frames), atol=1e-5, rtol=0)
    torch.testing.assert_close(engine.alpha(cut_out), engine.alpha(cut_out.contiguous()), atol=1e-5, rtol=0)


def test_a_temporary_input_stays_readable_while_the_engine_runs(engine: Engine, net: U2Net) -> None:
    """What the line hands over is permuted: an engine that borrows a contiguous copy must keep it until it is done."""
    frames = network_input([picture(0), picture(9), picture(18)], Letterbox.of(96, 128, 96))
    assert not frames.is_contiguous()
    for _ in range(3):
        torch.testing.assert_close(engine.alpha(frames + 0), expected(net, frames), atol=1e-4, rtol=0)


def test_the_same_input_gives_the_same_matte(engine: Engine) -> None:
    frames = noise(1, 3, 64, 96)
    assert torch.equal(engine.alpha(frames), engine.alpha(frames))


def test_openvino_holds_the_borrowed_input_until_the_request_has_run(
    net: U2Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its request keeps no reference to a shared input: reading one that was freed gives rubbish or a crash."""
    pytest.importorskip("openvino")
    from streamseg.infer.engines import openvino_engine

    held: list[bool] = []

    class Request:
        """Stands in for OpenVINO's: looks for the input at the moment of inference."""

        def set_input_tensor(self, tensor: object) -> None:
            pass

        def infer(self) -> None:
            held.append(copies[0]() is not None)

        def get_output_tensor(self) -> object:
            return type("Output", (), {"data": np.zeros((1, 1, 64, 96), np.float32)})

    copies: list[weakref.ref[np.ndarray]] = []  # type: ignore[type-arg]
    copy = np.ascontiguousarray

    def watched(array: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        made = copy(array)
        copies.append(weakref.ref(made))
        return made

    engine = openvino_engine.OpenVinoEngine.__new__(openvino_engine.OpenVinoEngine)
    monkeypatch.setattr(engine, "_request_for", lambda _: Request(), raising=False)
    monkeypatch.setattr(openvino_engine.np, "ascontiguousarray", watched)
    engine.alpha(noise(1, 64, 96, 3).permute(0, 3, 1, 2))
    assert held == [True]


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where OpenVINO keeps compiled networks, asked for anew."""
    from streamseg.infer.engines import openvino_engine

    monkeypatch.setattr(openvino_engine, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    openvino_engine._cache_folder.cache_clear()
    yield tmp_path / "cache"
    openvino_engine._cache_folder.cache_clear()


def test_a_compiled_network_is_kept(net: U2Net, cache_folder: Path) -> None:
    first, second = (ENGINES["openvino"](net, 1, CPU).alpha(noise(1, 3, 64, 96)) for _ in range(2))
    assert len(list((cache_folder / "openvino").glob("*.blob"))) == 1
    assert torch.equal(first, second)


def test_without_a_folder_for_caches_it_compiles_every_time(net: U2Net, cache_folder: Path) -> None:
    cache_folder.write_text("a file in its place")
    frames = noise(1, 3, 64, 96)
    alpha = ENGINES["openvino"](net, 1, CPU).alpha(frames)
    torch.testing.assert_close(alpha, expected(net, frames), atol=1e-4, rtol=0)


def test_on_a_cpu_the_network_runs_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda.best_device() == torch.device("cpu")
    assert cuda.inference_dtype(torch.device("cpu")) is torch.float32


def test_a_gpu_is_taken_and_runs_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cuda.best_device() == torch.device("cuda")
    assert cuda.inference_dtype(torch.device("cuda", 1)) is torch.float16


@pytest.mark.gpu
def test_torch_on_a_gpu(net: U2Net) -> None:
    from streamseg.infer.engines.torch_engine import TorchEngine

    engine = TorchEngine(net)
    assert engine.device.startswith("cuda")
    for seed, shape in enumerate(SHAPES):
        frames = noise(*shape, seed=seed)
        alpha = engine.alpha(frames)
        assert (alpha.dtype, alpha.device.type) == (torch.float32, "cpu")
        torch.testing.assert_close(alpha, expected(net, frames), atol=0.02, rtol=0)


@pytest.mark.parametrize("name", [entry.name for entry in list_weights() if entry.file.endswith(SUFFIX)])
def test_packaged_int8_gives_the_mattes_of_its_float_weights(name: str) -> None:
    photo = cv2.cvtColor(cv2.imread(str(SAMPLES / "portrait.jpg")), cv2.COLOR_BGR2RGB)
    frames = network_input([photo], Letterbox.of(photo.shape[0], photo.shape[1], 320))
    exact, quantized = (
        open_engine("openvino", load_model(each)).alpha(frames) for each in (name.removesuffix("-int8"), name)
    )
    assert exact.max() > 0.9
    assert (exact - quantized).abs().mean() < 0.025  # Of the flag beside her, nano is unsure.
