"""What all tests share: one torch thread, synthetic clips with known alpha, and the development data if it is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from streamseg.hardware import cuda
from tests.synthetic import Clip, write_clip

SHARED = Path(__file__).parents[2] / "shared"
SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run several times faster on one thread when the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def folders_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled networks are kept for all tests, and not beside the user's; what the user downloaded is not seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    """24 frames of 128x96 at 24000/1001 with sound."""
    return write_clip(tmp_path_factory.mktemp("clip") / "disc.mp4")


@pytest.fixture
def shared() -> Path:
    """The development data beside the checkout; tests that need it skip where it is not."""
    if not SHARED.is_dir():
        pytest.skip("no development data in ../shared")
    return SHARED


@pytest.fixture
def buffers_made(monkeypatch: pytest.MonkeyPatch) -> list[cuda.Buffer]:
    """What memory the test had made on the host for a GPU."""
    made: list[cuda.Buffer] = []
    original = cuda.CudaStreams.host_buffer

    def counted(streams: cuda.CudaStreams, buffer: cuda.Buffer) -> torch.Tensor:
        made.append(buffer)
        return original(streams, buffer)

    monkeypatch.setattr(cuda.CudaStreams, "host_buffer", counted)
    return made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
