from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from streamseg.errors import DataError
from tests.train.conftest import PAIRS, write_pair
from train.data import check_pairs, empty_pairs, find_pairs, pairs_at


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


def test_all_bad_sources_are_told_at_once(root: Path) -> None:
    (root / "set" / "masks" / "shape3.png").unlink()
    (root / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        find_pairs(root, ("set", "empty", "nowhere", "set.tar"))
    assert all(word in str(caught.value) for word in ("shape3", "empty: no images", "nowhere"))
    assert "\n" not in str(caught.value)


def test_a_check_tells_every_fault_at_once(root: Path) -> None:
    pairs = pairs_at(root / "set")
    check_pairs(pairs)
    (root / "set" / "images" / "shape1.png").write_bytes(b"damaged")
    cv2.imwrite(str(root / "set" / "masks" / "shape4.png"), np.zeros((10, 12), np.uint8))
    with pytest.raises(DataError) as caught:
        check_pairs([*pairs, *pairs])
    assert str(caught.value).count("shape1.png") == 1
    assert "shape4: image is (40, 56) px" in str(caught.value)
    for pair in pairs:
        pair.image.path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"shape7\.png does not decode"):
        check_pairs(pairs)


def test_a_long_list_of_faults_is_cut_and_counted(root: Path) -> None:
    for index in range(13):
        write_pair(root / "many", f"n{index:02}", seed=index)
        (root / "many" / "images" / f"n{index:02}.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"n09\.png does not decode as an image; and 3 more$"):
        check_pairs(pairs_at(root / "many"))


def written_mask(root: Path, pixels: np.ndarray, name: str = "shape0.png") -> np.ndarray:
    cv2.imwrite(str(root / "set" / "masks" / name), pixels)
    return pairs_at(root / "set")[0].load()[1]


def test_masks_of_other_kinds_come_out_the_same(root: Path) -> None:
    plain = pairs_at(root / "set")[0].load()[1]
    soft = np.linspace(0, 255, 40 * 56).round().astype(np.uint8).reshape(40, 56)
    np.testing.assert_array_equal(written_mask(root, soft.astype(np.uint16) * 257), soft)
    np.testing.assert_array_equal(written_mask(root, np.repeat(soft[..., None], 3, axis=2)), soft)
    white = np.full((40, 56, 3), 255, np.uint8)
    np.testing.assert_array_equal(written_mask(root, np.dstack((white, soft))), soft)
    np.testing.assert_array_equal(written_mask(root, plain // 255), plain)
    assert written_mask(root, np.zeros((40, 56), np.uint8)).max() == 0


@pytest.mark.parametrize("channels", [2, 4])
def test_opaque_alpha_beside_a_mask_is_not_the_mask(root: Path, channels: int) -> None:
    plain = pairs_at(root / "set")[0].load()[1]
    for grey in (np.zeros_like(plain), plain, np.full_like(plain, 255)):
        pixels = np.dstack([*[grey] * (channels - 1), np.full_like(plain, 255)])
        Image.fromarray(pixels, {2: "LA", 4: "RGBA"}[channels]).save(root / "set" / "masks" / "shape0.png")
        np.testing.assert_array_equal(pairs_at(root / "set")[0].load()[1], grey)


def test_alpha_over_one_colour_is_the_mask_even_where_it_is_empty(root: Path) -> None:
    plain = pairs_at(root / "set")[0].load()[1]
    for alpha in (np.zeros_like(plain), plain):
        np.testing.assert_array_equal(
            written_mask(root, np.dstack([np.full((40, 56, 3), 255, np.uint8), alpha])), alpha
        )


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_labels_of_0_and_1_are_a_whole_mask_in_any_format(root: Path, channels: int, dtype: type) -> None:
    plain = pairs_at(root / "set")[0].load()[1]
    pixels = np.dstack([(plain // 255).astype(dtype)] * channels)
    if channels == 4:
        pixels[..., 3] = np.iinfo(dtype).max
    np.testing.assert_array_equal(written_mask(root, pixels), plain)


def test_masks_of_16_bits_have_levels_of_257_and_no_colours(root: Path) -> None:
    soft = np.linspace(0, 255, 40 * 56).round().astype(np.uint16).reshape(40, 56)
    faint = (soft == 255) * np.uint16(257)  # one level of 255 is no label
    for levels in (soft * np.uint16(257), faint):
        np.testing.assert_array_equal(written_mask(root, np.dstack([levels] * 3)), levels // 257)
    with pytest.raises(DataError, match="mask with colours"):
        written_mask(root, np.dstack([soft * np.uint16(257), soft * np.uint16(0), soft * np.uint16(0)]))


def test_masks_with_colours_are_refused(root: Path) -> None:
    labels = np.zeros((40, 56, 3), np.uint8)
    labels[10:20, 10:20] = (0, 0, 128)  # what a palette's first label looks like
    with pytest.raises(DataError, match=r"shape0\.png is a mask with colours .*must be grey"):
        written_mask(root, labels)


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


def test_images_without_masks_are_pairs_with_empty_alpha(root: Path) -> None:
    whole = [pair.load()[0] for pair in pairs_at(root / "set")]
    shutil.rmtree(root / "set" / "masks")
    pairs = empty_pairs(root / "set")
    assert [pair.stem for pair in pairs] == [f"shape{n}" for n in range(PAIRS)]
    for pair, image in zip(pairs, whole, strict=True):
        loaded, mask = pair.load()
        np.testing.assert_array_equal(loaded, image)
        assert mask.shape == image.shape[:2]
        assert not mask.any()
    assert [pair.stem for pair in empty_pairs(root / "set.tar")] == [pair.stem for pair in pairs]
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no images"):
        empty_pairs(root / "empty")


def test_compressed_and_damaged_shards_are_refused(root: Path) -> None:
    with tarfile.open(root / "set.tar.gz", "w:gz") as shard:
        shard.add(root / "set", arcname=".")
    (root / "bad.tar").write_bytes(b"x" * 2000)
    for name in ("set.tar.gz", "bad.tar"):
        with pytest.raises(DataError, match="readable, uncompressed tar shard"):
            pairs_at(root / name)


def shard_with(root: Path, name: str, target: str, kind: bytes) -> Path:
    """A shard of the eight pairs, a ninth mask, and an image for it that is a link."""
    with tarfile.open(root / "linked.tar", "w") as shard:
        shard.add(root / "set", arcname=".")
        shard.add(root / "set" / "masks" / "shape3.png", arcname="masks/ninth.png")
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, target
        shard.addfile(link)
    return root / "linked.tar"


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("./images/shape3.png", tarfile.LNKTYPE),
        ("shape3.png", tarfile.SYMTYPE),
        ("../images/shape3.png", tarfile.SYMTYPE),
    ],
)
def test_links_in_a_shard_are_followed(root: Path, target: str, kind: bytes) -> None:
    pairs = pairs_at(shard_with(root, "images/ninth.png", target, kind))
    known = {pair.stem: pair.load() for pair in pairs}
    assert len(known) == PAIRS + 1
    for ours, theirs in zip(known["ninth"], known["shape3"], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_chain_of_links_is_followed(root: Path) -> None:
    path = shard_with(root, "images/ninth.png", "../more/hard.png", tarfile.SYMTYPE)
    with tarfile.open(path, "a") as shard:
        link = tarfile.TarInfo("more/hard.png")
        link.type, link.linkname = tarfile.LNKTYPE, "./images/shape3.png"
        shard.addfile(link)
    pairs = {pair.stem: pair for pair in pairs_at(path)}
    assert pairs["ninth"].image == pairs["shape3"].image


@pytest.mark.parametrize(
    ("name", "target"),
    [("images/ninth.png", "../elsewhere/a.png"), ("images/ninth.png", "ninth.png"), ("more/images", "../images")],
)
def test_links_that_lead_to_no_file_of_the_shard_are_told_with_the_remedy(root: Path, name: str, target: str) -> None:
    path = shard_with(root, name, target, tarfile.SYMTYPE)
    with pytest.raises(DataError, match=re.escape(f"{name} is a link to {target}") + ".*tar --dereference"):
        pairs_at(path)


def test_a_cut_off_shard_names_itself(root: Path) -> None:
    shard = root / "set.tar"
    pairs = pairs_at(shard)
    shard.write_bytes(shard.read_bytes()[: pairs[0].mask.offset + 20])
    with pytest.raises(DataError, match=r"set\.tar"):
        pairs[0].load()


def test_the_shared_shards_are_readable(shared: Path) -> None:
    pairs = pairs_at(shared / "data" / "persons_val.tar")
    assert len(pairs) == 245
    assert pairs[0].load()[1].max() == 255
