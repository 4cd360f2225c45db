from __future__ import annotations

import re
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.errors import DataError
from tests.train.conftest import PAIRS, write_pair
from train.data import find_pairs, pairs_at


def test_folder_and_shard_hold_the_same_pairs(root: Path) -> None:
    folder, shard = pairs_at(root / "set"), pairs_at(root / "set.tar")
    assert [pair.stem for pair in folder] == [pair.stem for pair in shard] == [f"shape{n}" for n in range(PAIRS)]
    for one, other in zip(folder, shard, strict=True):
        for a, b in zip(one.load(), other.load(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_pixels_are_rgb_and_grey(root: Path) -> None:
    image, mask = pairs_at(root / "set.tar")[0].load()
    assert image.shape == (40, 56, 3)
    assert mask.shape == (40, 56)
    assert image.dtype == mask.dtype == np.uint8
    red, _, blue = image[mask > 0].mean(axis=0)
    assert red > 200
    assert blue < 100


def test_patterns_repeats_and_absolute_sources(root: Path) -> None:
    pairs = find_pairs(root, ("set*", "set.tar", str(root / "set")))
    assert len(pairs) == 4 * PAIRS
    assert pairs[-PAIRS:] == pairs[:PAIRS]
    assert find_pairs(root / "set", (".",)) == pairs[:PAIRS]


@pytest.mark.parametrize("split", ["TR", "TE"])
def test_the_duts_layout_is_understood(tmp_path: Path, split: str) -> None:
    write_pair(tmp_path / "plain", "n01", seed=1)
    duts = tmp_path / f"DUTS-{split}"
    for ours, theirs in (("images", "Image"), ("masks", "Mask")):
        (duts / f"DUTS-{split}-{theirs}").mkdir(parents=True)
        (tmp_path / "plain" / ours / "n01.png").rename(duts / f"DUTS-{split}-{theirs}" / "n01.png")
    (duts / f"DUTS-{split}-Image" / "._n01.png").write_bytes(b"left by macOS")
    assert [pair.stem for pair in find_pairs(tmp_path, (duts.name,))] == ["n01"]


def test_symlinked_folders_are_followed(root: Path) -> None:
    (root / "linked").mkdir()
    for name in ("images", "masks"):
        (root / "linked" / name).symlink_to(root / "set" / name)
    assert len(pairs_at(root / "linked")) == PAIRS


def test_a_missing_partner_is_named(root: Path) -> None:
    (root / "set" / "masks" / "shape3.png").unlink()
    with pytest.raises(DataError, match="1 files lack a partner: shape3"):
        pairs_at(root / "set")


def test_two_files_of_one_stem_are_refused(root: Path) -> None:
    write_pair(root / "set" / "more", "shape3", seed=3)
    with pytest.raises(DataError, match="holds shape3 twice"):
        pairs_at(root / "set")


def test_sizes_must_agree(root: Path) -> None:
    cv2.imwrite(str(root / "set" / "masks" / "shape0.png"), np.zeros((10, 12), np.uint8))
    with pytest.raises(DataError, match=re.escape("shape0: image is (40, 56) px and its mask (10, 12) px")):
        pairs_at(root / "set")[0].load()


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_a_file_that_does_not_decode_is_named(root: Path, content: bytes) -> None:
    (root / "set" / "images" / "shape0.png").write_bytes(content)
    with pytest.raises(DataError, match=r"shape0\.png"):
        pairs_at(root / "set")[0].load()


@pytest.mark.parametrize("source", ["nowhere", "nothing-*.tar", "/nowhere/at/all"])
def test_a_missing_source_is_named(root: Path, source: str) -> None:
    with pytest.raises(DataError, match=re.escape(source)):
        find_pairs(root, (source,))


def test_no_source_at_all_is_an_error(root: Path) -> None:
    with pytest.raises(DataError, match=r"data\.train and in data\.validate_on"):
        find_pairs(root, ())


def test_an_empty_folder_is_an_error(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="no images and masks"):
        find_pairs(root, ("empty",))


def test_compressed_and_damaged_shards_are_refused(root: Path) -> None:
    with tarfile.open(root / "set.tar.gz", "w:gz") as shard:
        shard.add(root / "set", arcname=".")
    (root / "bad.tar").write_bytes(b"x" * 2000)
    for name in ("set.tar.gz", "bad.tar"):
        with pytest.raises(DataError, match="readable, uncompressed tar shard"):
            pairs_at(root / name)


def test_a_cut_off_shard_names_itself(root: Path) -> None:
    shard = root / "set.tar"
    pairs = pairs_at(shard)
    shard.write_bytes(shard.read_bytes()[: pairs[0].mask.offset + 20])
    with pytest.raises(DataError, match=r"set\.tar"):
        pairs[0].load()


def test_the_shared_shards_are_readable() -> None:
    shard = Path("/work/shared/data/persons_val.tar")
    if not shard.exists():
        pytest.skip(f"{shard} is not on this machine")
    pairs = pairs_at(shard)
    assert len(pairs) == 245
    assert pairs[0].load()[1].max() == 255
