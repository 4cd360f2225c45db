"""What a GPU is told, in what order; the device itself is a stand-in that writes down what it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.hardware import cuda, nvidia
from streamseg.hardware.cuda import SLOTS
from streamseg.image import Pixels
from streamseg.infer.engines import ENGINES
from streamseg.infer.engines.base import network_tensor, predict
from streamseg.infer.engines.torch_engine import StreamedEngine, TorchEngine
from streamseg.infer.every_frame import infer
from streamseg.model.u2net import U2Net
from tests.synthetic import frames, randomised

CPU = torch.device("cpu")


class Recorder:
    """In the place of `torch.cuda`: streams are numbers, and events know what they were recorded behind."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.streams = 0

    def Stream(self) -> str:
        self.streams += 1
        return ("upload", "compute", "download")[self.streams - 1]

    def Event(self) -> RecordedEvent:
        return RecordedEvent(self)

    @contextmanager
    def stream(self, name: str) -> Iterator[None]:
        self.log.append(f"on {name}")
        yield

    def synchronize(self) -> None:
        self.log.append("the host waits for everything")


class RecordedEvent:
    def __init__(self, device: Recorder) -> None:
        self._device, self._after = device, "nothing"

    def record(self, stream: str) -> None:
        self._after = stream

    def wait(self, stream: str) -> None:
        self._device.log.append(f"{stream} waits for {self._after}")

    def synchronize(self) -> None:
        self._device.log.append(f"the host waits for {self._after}")


@pytest.fixture(scope="module")
def net() -> U2Net:
    return randomised()


def pictures(count: int, height: int = 64, width: int = 96, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def alone(net: U2Net, small: Pixels) -> Tensor:
    return TorchEngine(net, CPU).alpha(network_tensor(small))


def test_streams_wait_for_each_other_and_the_host_for_the_mattes_alone(
    net: U2Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Recorder()
    monkeypatch.setattr(torch, "get_device_module", lambda _: device)
    engine = StreamedEngine(net, CPU)
    engine.submit(pictures(1))()
    device.log.clear()
    assert len(list(predict(engine, (pictures(1, seed=n) for n in range(3))))) == 3
    batch = ["on upload", "on compute", "compute waits for upload", "on download", "download waits for compute"]
    wait = "the host waits for download"
    assert device.log == batch * 3 + [wait] * 3


def test_batches_are_in_flight_up_to_the_slots(net: U2Net) -> None:
    engine, asked = StreamedEngine(net, CPU), []

    def batches() -> Iterator[Pixels]:
        for n in range(6):
            asked.append(n)
            yield pictures(1, seed=n)

    mattes = predict(engine, batches())
    next(mattes)
    assert asked == list(range(SLOTS))
    next(mattes)
    assert asked == list(range(SLOTS + 1))


def test_mattes_come_in_order_and_outlive_the_slots(net: U2Net) -> None:
    batches = [pictures(2, seed=n) for n in range(7)]
    mattes = list(predict(StreamedEngine(net, CPU), batches))
    assert len(mattes) == len(batches)
    for matte, small in zip(mattes, batches, strict=True):
        torch.testing.assert_close(matte, alone(net, small), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sizes", [(3, 3, 1), (1, 3), (2,)])
def test_batches_of_any_length(sizes: tuple[int, ...], net: U2Net) -> None:
    batches = [pictures(count, seed=n) for n, count in enumerate(sizes)]
    for matte, small in zip(predict(StreamedEngine(net, CPU), batches), batches, strict=True):
        torch.testing.assert_close(matte, alone(net, small), atol=1e-4, rtol=0)


def test_sizes_change_while_batches_are_in_flight(net: U2Net) -> None:
    batches = [pictures(1, *size, seed=n) for n, size in enumerate([(64, 96), (96, 64), (64, 96), (64, 96)])]
    for matte, small in zip(predict(StreamedEngine(net, CPU), batches), batches, strict=True):
        torch.testing.assert_close(matte, alone(net, small), atol=1e-4, rtol=0)


def test_threads_may_share_it(net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each makes buffers for its own size; without a lock both would do so at once."""
    capture, both = cuda.capture_graph, threading.Barrier(2, timeout=0.3)

    def capture_beside(*args: Any) -> cuda.Network:
        with suppress(threading.BrokenBarrierError):
            both.wait()
        return capture(*args)

    monkeypatch.setattr(cuda, "capture_graph", capture_beside)
    engine = StreamedEngine(net, CPU)
    batches = [pictures(1), pictures(1, width=128)]
    with ThreadPoolExecutor(2) as pool:
        mattes = list(pool.map(lambda small: engine.submit(small)(), batches))
    for matte, small in zip(mattes, batches, strict=True):
        torch.testing.assert_close(matte, alone(net, small), atol=1e-4, rtol=0)


def test_buffers_are_made_once_for_a_size(net: U2Net, buffers_made: list[cuda.Buffer]) -> None:
    list(predict(StreamedEngine(net, CPU), (pictures(2, seed=n) for n in range(9))))
    assert len(buffers_made) == 2 * SLOTS


def test_a_frame_keeps_its_matte_when_the_engine_runs_ahead(net: U2Net) -> None:
    given = frames(9)
    ahead, plain = (list(infer(given, engine, 64, 2)) for engine in (StreamedEngine(net, CPU), TorchEngine(net, CPU)))
    assert [frame for batch in ahead for frame in batch.frames] == given
    for one, other in zip(ahead, plain, strict=True):
        torch.testing.assert_close(one.alpha, other.alpha, atol=1e-4, rtol=0)


def test_a_gpu_gets_the_streams(net: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[U2Net] = []
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr("streamseg.infer.engines.torch_engine.StreamedEngine", lambda net, device: opened.append(net))
    ENGINES["torch"](net, None, torch.device("cuda"))
    assert opened == [net]


@pytest.mark.gpu
def test_nothing_waits_in_secret(net: U2Net) -> None:
    """Every wait for the GPU but that for a matte's own event is an error here."""
    engine = StreamedEngine(net)
    batches = [pictures(2, seed=n) for n in range(8)]
    engine.submit(batches[0])()
    torch.cuda.set_sync_debug_mode("error")
    try:
        mattes = list(predict(engine, batches))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for matte, small in zip(mattes, batches, strict=True):
        torch.testing.assert_close(matte, alone(net, small), atol=0.02, rtol=0)


def test_ffmpeg_gets_the_gpu_that_pytorch_has() -> None:
    assert nvidia.has_gpu() == torch.cuda.is_available()
