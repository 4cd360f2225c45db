from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from streamseg.errors import DataError
from train import resident
from train.composites import BACKGROUNDS, CUTOUTS, Composites, Placement, laid_over
from train.config import Augment, Config
from train.data import find_pairs
from train.loader import Sources, TrainingSet, training_batches
from train.resident import ResidentSet
from train.schedule import Key, Plan

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]

PERSON = {
    "squash": False,
    "scale": (0.5, 1.7),
    "stretch": 0.4,
    "vertical_flip": 0.5,
    "photometric": 0.6,
    "wide_share": 0.5,
}


def sets(config: Config, **augment: object) -> tuple[TrainingSet, TrainingSet]:
    """The same set decoded by the host and held on the device."""
    data, settings = config.data, Augment.model_validate({**config.augment.model_dump(), **augment})
    config = config.model_copy(update={"augment": settings})
    on_device = config.model_copy(update={"data": data.model_copy(update={"on_gpu": True})})
    pairs = find_pairs(data.root, data.train)
    return tuple(TrainingSet(Sources(pairs), each, Plan.of(each, len(pairs))) for each in (config, on_device))  # type: ignore[return-value]


def noted(calls: list[str], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose calls are noted by name."""

    def wrapper(*arguments: Any) -> Any:
        calls.append(name)
        return function(*arguments)

    return wrapper


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


def test_composites_and_webcam_frames_are_rendered_once(small: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.resident.RENDERED", 6)
    rendered: list[int] = []

    class Frames:
        """Of one level; the cut-out shows nothing."""

        cutouts = (None,)

        def __init__(self, level: int) -> None:
            self.level = level

        def frame(self, short_side_px: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
            rendered.append(self.level)
            shape = (short_side_px, short_side_px + int(rng.integers(9)))
            return np.full((*shape, 3), self.level, np.uint8), np.full(shape, self.level, np.uint8)

        def cutout(self, index: int) -> np.ndarray:
            return np.zeros((9, 9, 4), np.uint8)

    config = small()
    data = config.data.model_copy(update={"webcam_share": 0.5, "composite_share": 0.5, "cache_px": 48})
    config, pairs = config.model_copy(update={"data": data}), find_pairs(data.root, data.train)
    held = ResidentSet(pairs, Frames(100), Frames(200), config, CPU)  # type: ignore[arg-type]
    assert sorted(rendered) == [100] * 6 + [200] * 6
    assert len({picture.shape for picture in held.webcam}) > 1
    alphas = held.batch([Key(step, 0, 0.0) for step in range(200)])[1]
    levels = [round(float(alpha.mean() * 255)) for alpha in alphas]
    assert 70 < levels.count(200) < 130
    assert 10 < levels.count(100) < 40, "half of the composites; the others are over pairs"
    assert len(rendered) == 12


def composites_in(folder: Path, heights_px: tuple[int, ...]) -> Path:
    """A black background, and soft cut-outs of two colours of those heights."""
    for name in (CUTOUTS, BACKGROUNDS):
        (folder / name).mkdir()
    cv2.imwrite(str(folder / BACKGROUNDS / "x.png"), np.zeros((50, 60, 3), np.uint8))
    for height_px in heights_px:
        whole = np.full((height_px - 18, height_px // 2, 4), 220, np.uint8)
        cutout = cv2.GaussianBlur(cv2.copyMakeBorder(whole, 9, 9, 9, 9, cv2.BORDER_CONSTANT), (0, 0), 3)
        cutout[: height_px // 2, :, 0], cutout[:, : height_px // 3, 2] = 20, 90
        cv2.imwrite(str(folder / CUTOUTS / f"{height_px}.png"), cutout)
    return folder


def test_cutouts_lie_over_the_same_pairs_as_on_the_host(
    small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same places, as large and as often; each way has its own filter for resizing."""
    monkeypatch.setattr("train.resident.RENDERED", 1)
    config = small()
    update = {"composites": str(composites_in(tmp_path, (50, 40))), "composite_share": 0.6, "cache_px": 48}
    host, on_device = sets(config.model_copy(update={"data": config.data.model_copy(update=update)}), **PERSON)
    chosen: list[str] = []
    for name in ("frame", "onto"):
        monkeypatch.setattr(Composites, name, noted(chosen, name, getattr(Composites, name)))
    held = ResidentSet(on_device.pairs, on_device.composites, None, on_device.config, CPU)
    over_pairs = 0
    for step in range(60):
        chosen.clear()
        key = Key(step, step % len(host.pairs), 0.5)
        image, alpha = host[key]
        if "frame" not in chosen:  # Those of the device are rendered ones.
            images, alphas = held.batch([key])
            assert (images[0] - image).abs().mean() < 0.02
            assert (alphas[0] - alpha).abs().mean() < 0.003
            over_pairs += chosen == ["onto"]
    assert 8 < over_pairs < 30


def test_cutouts_are_held_as_tall_as_they_are_shown(
    small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.resident.RENDERED", 1)
    config = small()
    pairs = find_pairs(config.data.root, config.data.train)
    held = ResidentSet(pairs, Composites(composites_in(tmp_path, (40, 500))), None, config, CPU)
    tallest_px = max(picture.shape[1] for picture in held.pictures)
    assert sorted(cutout.shape[1] for cutout in held.cutouts) == [40, round(1.3 * tallest_px)]


@pytest.mark.parametrize("corner", [(-4, 2), (6, 8), (-30, 0), (0, 40), (2, 22), (-2, -3)])
def test_a_cutout_may_stand_over_any_side(corner: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (12, 15, 4)).astype(np.uint8)
    rgba = rng.integers(0, 256, (20, 20, 4)).astype(np.uint8)
    rgba[..., :3] = np.minimum(rgba[..., :3], rgba[..., 3:])
    placement = Placement((20, 20), True, corner)
    image, mask = laid_over(picture[..., :3], picture[..., 3], placement.of(rgba, (12, 15)))
    planes = (torch.from_numpy(pixels.transpose(2, 0, 1).copy()) for pixels in (picture, rgba))
    found = resident.laid_over(*planes, placement)
    meant = np.dstack((image, mask)).transpose(2, 0, 1).astype(int)
    assert np.abs(found.numpy() - meant).max() <= 1


def test_pictures_of_many_sizes_make_one_batch(small: MakeConfig) -> None:
    class Grey:
        stem = "grey"

        def __init__(self, height: int, width: int) -> None:
            self.size = (height, width)

        def load(self) -> tuple[np.ndarray, np.ndarray]:
            return np.full((*self.size, 3), 77, np.uint8), np.full(self.size, 255, np.uint8)

    sizes = [(1, 1), (20, 90), (90, 20), (33, 64), (300, 200)]
    held = ResidentSet([Grey(*size) for size in sizes], None, None, small(), CPU)
    alphas = held.batch([Key(0, index, 0.0) for index in range(len(sizes))])[1]
    assert alphas.shape == (5, 1, 32, 32)
    assert (alphas == 1).all()


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
