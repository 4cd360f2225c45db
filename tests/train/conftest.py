"""Synthetic pairs: a bright ellipse on a dark, noisy ground and its mask."""

from __future__ import annotations

import signal
import tarfile
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from train.config import Config
from train.learner import Learner
from train.loader import Sample
from train.synth.files import SetSize, SyntheticClip, write_clips

PAIRS = 8
SYNTHETIC = SetSize(clips=12, frames=5, width_px=160, height_px=96)


def write_pair(folder: Path, stem: str, seed: int, size: tuple[int, int] = (40, 56)) -> None:
    """Writes images/STEM.png and masks/STEM.png, `size` being (height, width)."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, np.uint8)
    centre = (int(rng.integers(16, size[1] - 16)), int(rng.integers(14, size[0] - 14)))
    cv2.ellipse(mask, centre, (14, 11), int(rng.integers(180)), 0, 360, 255, -1)
    image = np.where(mask[..., None] > 0, (60, 160, 220), (50, 40, 30)) + rng.integers(0, 20, (*size, 3))
    for name, pixels in (("images", image.astype(np.uint8)), ("masks", mask)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name / f"{stem}.png"), pixels)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that holds the folder `set` and the shard `set.tar`, both with the same eight pairs."""
    for index in range(PAIRS):
        write_pair(tmp_path / "set", f"shape{index}", seed=index)
    with tarfile.open(tmp_path / "set.tar", "w") as shard:
        shard.add(tmp_path / "set", arcname=".")
    return tmp_path


@pytest.fixture
def small(root: Path) -> Callable[..., Config]:
    """Makes configurations of runs that last seconds: two steps a pass, crops of 32 px."""

    def make(**optim: object) -> Config:
        return Config.model_validate(
            {
                "name": "small",
                "data": {"root": root, "train": ["set"], "validate_on": ["set.tar"], "workers": 0},
                "augment": {"phases": [{"resize_px": 40, "crop_px": 32}]},
                "optim": {"batch_size": 4, "epochs": 3, "warmup_epochs": 0.5, **optim},
                "evaluate": {"every_epochs": 100, "size_px": 64},
            }
        )

    return make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[SyntheticClip]:
    """The default set of synthetic clips, small, and drawn without any data."""
    return list(write_clips(tmp_path_factory.mktemp("synth"), None, 0, SYNTHETIC))


def interrupt_after(monkeypatch: pytest.MonkeyPatch, step: int, by: signal.Signals = signal.SIGINT) -> None:
    """Presses Ctrl-C, or sends another signal, in the middle of a step, counted from 1."""
    learn, steps = Learner.step, count(1)

    def step_with_signal(self: Learner, parts: Sequence[Sample], learning_rate: float) -> torch.Tensor:
        if next(steps) == step:
            signal.raise_signal(by)
        return learn(self, parts, learning_rate)

    monkeypatch.setattr(Learner, "step", step_with_signal)


def sample_part(seed: int, count: int = 2, side: int = 32) -> Sample:
    """Normalised noise `(count, 3, side, side)` with a brighter square, and the square `(count, 1, side, side)`."""
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.zeros(count, 1, side, side)
    alpha[..., side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = 1
    return torch.randn(count, 3, side, side, generator=generator) * 0.3 + 2 * alpha, alpha
