from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamseg.errors import DataError
from train import composites
from train.composites import Composites
from train.config import Config
from train.data import find_pairs
from train.loader import Sources, TrainingSet
from train.schedule import Key, Plan

ORANGE_BGR, GREEN_BGR = (0, 128, 255), (0, 200, 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a soft orange disc on transparent blue, and a green background."""
    alpha = np.zeros((80, 60), np.uint8)
    cv2.circle(alpha, (30, 40), 22, 255, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2)
    disc = np.where(alpha[..., None] > 0, ORANGE_BGR, (255, 0, 0)).astype(np.uint8)
    for folder, pixels in (
        ("cutouts_rgba", np.dstack((disc, alpha))),
        ("backgrounds", np.full((90, 160, 3), GREEN_BGR)),
    ):
        (tmp_path / "made" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "made" / folder / "one.png"), pixels.astype(np.uint8))
    return tmp_path / "made"


def test_a_composite_is_the_cutout_over_the_background(source: Path) -> None:
    """Every pixel is a blend of orange and green by its alpha: no blue from under the transparent pixels."""
    made = Composites(source)
    orange, green = (np.array(colour[::-1], float) for colour in (ORANGE_BGR, GREEN_BGR))
    seen = 0
    for seed in range(12):
        image, alpha = made.frame(72, np.random.default_rng(seed))
        assert image.shape == (*alpha.shape, 3)
        assert min(alpha.shape) == 72
        share = alpha[..., None] / 255
        assert np.abs(image - (orange * share + green * (1 - share))).max() < 4
        seen += int(((alpha > 20) & (alpha < 235)).any())
    assert seen > 6


def test_frames_are_as_webcams_see_them(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Composites(source).frame(72, np.random.default_rng(seed)) for seed in range(120)]
    wide = sum(image.shape[1] > image.shape[0] for image, _ in frames)
    assert 50 < wide < 110
    assert 1 <= sum(not alpha.any() for _, alpha in frames) <= 40
    cut_off = sum(bool(alpha[-1].max() > 128) for _, alpha in frames)
    assert cut_off > 10
    monkeypatch.setattr(composites, "EMPTY_SHARE", 1.0)
    image, alpha = Composites(source).frame(72, np.random.default_rng(0))
    assert not alpha.any()
    assert (image == GREEN_BGR[::-1]).all()


def test_alphas_are_joined_over_a_picture_with_a_foreground(source: Path) -> None:
    image, mask = np.full((90, 160, 3), 40, np.uint8), np.zeros((90, 160), np.uint8)
    mask[:, :80] = 255
    for seed in range(8):
        _, joined = Composites(source).onto(image, mask, np.random.default_rng(seed))
        assert (joined[:, :80] == 255).all()


def test_the_share_of_composites_is_kept_and_resumes(
    source: Path, small: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small()
    update = {"composites": str(source), "composite_share": 0.5, "cache_px": 40}
    config = config.model_copy(update={"data": config.data.model_copy(update=update)})
    pairs = find_pairs(config.data.root, config.data.train)
    made = TrainingSet(Sources(pairs), config, Plan.of(config, len(pairs)))
    assert torch.equal(made[Key(3, 2, 0.5)][0], made[Key(3, 2, 0.5)][0])
    calls: list[str] = []
    for name in ("frame", "onto"):
        monkeypatch.setattr(Composites, name, lambda self, *_, name=name: calls.append(name) or pairs[0].load())
    for step in range(25):
        for index in range(8):
            assert made[Key(step, index, step / 25)][1].shape == (1, 32, 32)
    assert 70 < len(calls) < 130
    assert 25 < calls.count("onto") < 75


def test_what_is_missing_is_named(source: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar", "w") as shard:
        shard.add(source / "backgrounds", arcname="backgrounds")
    with pytest.raises(DataError, match=r"c\.tar has nothing in cutouts_rgba"):
        Composites(tmp_path / "c.tar")
    cv2.imwrite(str(source / "cutouts_rgba" / "one.png"), np.zeros((8, 8, 3), np.uint8))
    made = Composites(source)
    with pytest.raises(DataError, match="has no alpha"):
        made.onto(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8), np.random.default_rng(0))
