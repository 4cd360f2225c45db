from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from streamseg.errors import DataError, OutputError
from tests.train.conftest import write_pair
from train import cache
from train.cache import cached
from train.data import Pair, find_pairs


@pytest.fixture
def pairs(root: Path) -> list[Pair]:
    write_pair(root / "large", "wide", seed=50, size=(90, 160))
    return find_pairs(root, ("set.tar", "large", "set.tar"))


def test_cached_pairs_are_the_decoded_ones(pairs: list[Pair], tmp_path: Path) -> None:
    kept = cached(pairs, tmp_path / "cache", short_side_px=64)
    assert [pair.stem for pair in kept] == [pair.stem for pair in pairs]
    for ours, theirs in zip(kept, pairs, strict=True):
        if ours.stem == "wide":
            assert ours.load()[1].shape == (64, 114)
            continue
        for a, b in zip(ours.load(), theirs.load(), strict=True):
            np.testing.assert_array_equal(a, b)
    assert kept[0] == kept[-8]  # a source that is named twice takes room once
    assert sum(path.suffix == ".pixels" for path in (tmp_path / "cache").iterdir()) == 1


def test_everything_is_decoded_once(pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = cached(pairs, tmp_path / "cache", 64)
    monkeypatch.setattr(Pair, "load", lambda self: pytest.fail("decoded again"))
    assert cached(pairs, tmp_path / "cache", 64) == first
    for a, b in zip(first[0].load(), pickle.loads(pickle.dumps(first[0])).load(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_changed_file_or_size_makes_a_new_cache(root: Path, tmp_path: Path) -> None:
    first = cached(find_pairs(root, ("set",)), tmp_path / "cache", 64)
    assert cached(find_pairs(root, ("set",)), tmp_path / "cache", 32)[0].file != first[0].file
    write_pair(root / "set", "shape0", seed=99)
    os.utime(root / "set" / "images" / "shape0.png", (1, 1))
    again = cached(find_pairs(root, ("set",)), tmp_path / "cache", 64)
    assert again[0].file != first[0].file
    assert not np.array_equal(again[0].load()[0], first[0].load()[0])


def test_a_cache_of_pixels_that_were_read_otherwise_is_not_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached(find_pairs(root, ("set",)), tmp_path / "cache", 64)
    monkeypatch.setattr(cache, "READER", cache.READER - 1)
    assert cached(find_pairs(root, ("set",)), tmp_path / "cache", 64)[0].file != first[0].file


def test_every_fault_is_told_at_once_and_nothing_is_left(root: Path, tmp_path: Path) -> None:
    for stem in ("shape2", "shape5"):
        (root / "set" / "images" / f"{stem}.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"shape2\.png does not decode.*shape5\.png does not decode"):
        cached(find_pairs(root, ("set",)), tmp_path / "cache", 64)
    assert not any((tmp_path / "cache").iterdir())


def test_a_full_disk_is_one_line_and_leaves_nothing(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_fill", full)
    with pytest.raises(
        OutputError, match=r"cannot write the cache .*No space left on device; choose another data\.cache"
    ):
        cached(pairs, tmp_path / "cache", 64)
    assert not any((tmp_path / "cache").iterdir())


def test_a_cache_that_vanishes_is_named(pairs: list[Pair], tmp_path: Path) -> None:
    kept = cached(pairs, tmp_path / "cache", 64)
    kept[0].file.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        kept[0].load()
