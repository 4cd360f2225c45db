from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from streamseg.errors import DataError
from tests.train.conftest import write_pair
from train.config import Config
from train.data import Pixels, empty_pairs, find_pairs
from train.loader import TrainingSet, training_sources
from train.schedule import Key, Plan
from train.webcam import WebcamFrames

WHITE, GREY = 250, 60


@dataclass(frozen=True)
class Made:
    """A white rectangle on black, or a grey room."""

    rows: tuple[int, int] | None
    columns: tuple[int, int] = (40, 60)
    stem: str = "made"

    def load(self) -> tuple[Pixels, Pixels]:
        mask = np.zeros((100, 100), np.uint8)
        if self.rows is None:
            return np.full((100, 100, 3), GREY, np.uint8), mask
        mask[slice(*self.rows), slice(*self.columns)] = 255
        return np.repeat((mask // 255 * WHITE)[..., None], 3, axis=2).astype(np.uint8), mask


ROOM = Made(None)


def frames(person: Made, count: int = 40) -> list[tuple[Pixels, Pixels]]:
    made = WebcamFrames([person], [ROOM])
    return [made.frame(96, np.random.default_rng(seed)) for seed in range(count)]


def test_people_stand_before_the_room_without_a_rim_of_their_own_background() -> None:
    for image, alpha in frames(Made((20, 80))):
        assert min(alpha.shape) == 96
        assert image.shape == (*alpha.shape, 3)
        assert (image[alpha == 0] == GREY).all()
        # Darker than room and person would be the black that the person stood before.
        assert image.min() >= GREY - 2


def test_there_is_nobody_one_or_several_and_they_are_not_all_in_the_middle() -> None:
    alphas = [alpha for _, alpha in frames(Made((20, 80)), 200)]
    empty = sum(not alpha.any() for alpha in alphas)
    assert 1 <= empty < 60
    centres = [float(np.flatnonzero(alpha.any(0)).mean() / alpha.shape[1]) for alpha in alphas if alpha.any()]
    assert min(centres) < 0.3
    assert max(centres) > 0.7
    runs = [int((np.diff((alpha.max(0) > 128).astype(int)) == 1).sum()) for alpha in alphas]
    assert max(runs) >= 2


def test_who_is_cut_by_the_pictures_edge_is_cut_by_the_frames() -> None:
    for _, alpha in frames(Made((40, 100))):
        assert not alpha.any() or alpha[-1].any()
    for _, alpha in frames(Made((40, 80), (0, 30))):
        assert not alpha.any() or alpha[:, 0].any() or alpha[:, -1].any()


def test_rooms_are_trained_on_but_for_those_left_for_evaluation(small: Callable[..., Config], root: Path) -> None:
    for index in range(12):
        write_pair(root / "rooms", f"room{index:02}", seed=index)
    data = small().data.model_copy(
        update={"empty": ("rooms",), "empty_held_out": 5, "people": ("set",), "webcam_share": 0.5, "cache_px": 40}
    )
    config = small().model_copy(update={"data": data})
    sources = training_sources(config)
    stems = [pair.stem for pair in sources.rooms]
    assert stems == [f"room{index:02}" for index in range(12) if index % 5]
    assert [pair.stem for pair in sources.people] == [pair.stem for pair in find_pairs(root, ("set",))]
    assert list(sources.pairs[-len(stems) :]) == list(sources.rooms)
    assert not sources.rooms[0].load()[1].any(), "masks of rooms are not read"
    kept = config.model_copy(update={"data": data.model_copy(update={"cache": root / "cache"})})
    for one, other in zip(sources.pairs, training_sources(kept).pairs, strict=True):
        assert all((a == b).all() for a, b in zip(one.load(), other.load(), strict=True))
    made = TrainingSet(sources, config, Plan.of(config, len(sources.pairs)))
    shares = [bool(made[Key(step, len(sources.pairs) - 1, 0.0)][1].any()) for step in range(40)]
    assert 5 < sum(shares) < 35, "half of a room's turns go to a webcam's frame"


def test_a_source_of_rooms_must_hold_images(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        empty_pairs(tmp_path / "nothing")
    write_pair(tmp_path / "rooms" / "more", "a", seed=1)
    write_pair(tmp_path / "rooms", "a", seed=1)
    with pytest.raises(DataError, match="holds two images named a"):
        empty_pairs(tmp_path / "rooms")
    shutil.rmtree(tmp_path / "rooms" / "more")
    (pair,) = empty_pairs(tmp_path / "rooms")
    assert pair.load()[0].shape == (40, 56, 3)
    assert not pair.load()[1].any()
