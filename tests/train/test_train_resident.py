from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamseg.errors import DataError
from train.composites import Composites
from train.config import Augment, Config
from train.data import find_pairs
from train.loader import TrainingSet, training_batches
from train.resident import ResidentSet
from train.schedule import Key, Plan

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]

PERSON = {"squash": False, "scale": (0.5, 1.7), "stretch": 0.4, "vertical_flip": 0.5, "photometric": 0.6}


def sets(config: Config, **augment: object) -> tuple[TrainingSet, TrainingSet]:
    """The same set decoded by the host and held on the device."""
    data, settings = config.data, Augment.model_validate({**config.augment.model_dump(), **augment})
    config = config.model_copy(update={"augment": settings})
    on_device = config.model_copy(update={"data": data.model_copy(update={"on_gpu": True})})
    pairs = find_pairs(data.root, data.train)
    return tuple(TrainingSet(pairs, each, Plan.of(each, len(pairs))) for each in (config, on_device))  # type: ignore[return-value]


@pytest.mark.parametrize("augment", [{}, PERSON])
def test_both_ways_show_the_same_pictures(small: MakeConfig, augment: dict[str, object]) -> None:
    host, device = (training_batches(data, 0, CPU) for data in sets(small(), **augment))
    for one, other in zip(host, device, strict=True):
        # Both round to whole levels; curves widen a level that rounds the other way.
        assert torch.allclose(one[0], other[0], atol=0.06)
        assert (one[0] - other[0]).abs().mean() < 0.003
        assert torch.allclose(one[1], other[1], atol=1.01 / 255)


def test_cameras_and_shares_work_on_the_device(small: MakeConfig) -> None:
    data = sets(small(), blur=1, noise=1, jpeg=1, low_light=1)[1]
    whole = list(training_batches(data, 0, CPU))
    again = list(training_batches(data, 0, CPU))
    assert all(
        torch.equal(a, b) for one, other in zip(whole, again, strict=True) for a, b in zip(one, other, strict=True)
    )
    shares = [list(training_batches(data, 0, CPU, rank, 2)) for rank in range(2)]
    for step, (images, _) in enumerate(whole):
        assert images.isfinite().all()
        assert torch.equal(images[::2], shares[0][step][0])
        assert torch.equal(images[1::2], shares[1][step][0])


def test_composites_are_rendered_once(small: MakeConfig, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.resident.RENDERED", 6)
    config = small()
    data = config.data.model_copy(update={"composite_share": 1.0, "cache_px": 48})
    made = Composites(shared / "data" / "composites.tar")
    held = ResidentSet([], made, config.model_copy(update={"data": data}), CPU)
    assert len(held.composites) == 6
    images, alphas = held.batch([Key(0, 0, 0.0), Key(0, 1, 0.0)])
    assert images.shape == (2, 3, 32, 32)
    assert alphas.shape == (2, 1, 32, 32)


def test_a_full_device_is_one_line(small: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(DataError, match=r"full after 0 pictures: lower data\.cache_px or set data\.on_gpu=false"):
        list(training_batches(sets(small())[1], 0, CPU))


@pytest.mark.gpu
def test_a_gpu_makes_batches_that_nothing_waits_for(small: MakeConfig) -> None:
    """But for the JPEGs, which are kornia's."""
    camera = {"blur": 1, "noise": 1, "low_light": 1}
    batches = training_batches(sets(small(), **PERSON, **camera)[1], 0, torch.device("cuda"))
    next(batches)
    torch.cuda.set_sync_debug_mode("error")
    try:
        images, alphas = next(batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert images.is_cuda
    assert alphas.is_cuda
    assert images.isfinite().all()
