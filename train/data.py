"""Pairs of an image and its mask, from folders and tar shards."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.errors import DataError

Pixels = npt.NDArray[np.uint8]

IMAGE_FOLDERS = ("images", "image", "DUTS-TR-Image", "DUTS-TE-Image")
MASK_FOLDERS = ("masks", "mask", "DUTS-TR-Mask", "DUTS-TE-Mask")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FAULTS_SHOWN = 10
JPEG_LEVELS = 16
LINKS_FOLLOWED = 40


class LoadablePair(Protocol):
    """An image with its mask, on disk or in a cache; hashable, and light enough to be sent to a worker process."""

    @property
    def stem(self) -> str:
        """The name that both files have."""

    def load(self) -> tuple[Pixels, Pixels]:
        """RGB `(H, W, 3)` and alpha `(H, W)`, both uint8; raises DataError where they cannot be had."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Where a file's bytes are: a whole file, or a stretch of a tar shard."""

    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """The file's bytes; a fresh handle each time, so that worker processes share nothing."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and the mask of what stands out in it; without a mask, nothing does."""

    stem: str
    image: Blob
    mask: Blob | None

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """The files that it is read from."""
        return (self.image, self.mask) if self.mask else (self.image,)

    def load(self) -> tuple[Pixels, Pixels]:
        """Decodes to RGB `(H, W, 3)` and alpha `(H, W)`, both uint8.

        Masks may have 8 or 16 bits; label masks of 0 and 1 become 0 and 255.

        Raises:
            DataError: one of the two does not decode, their sizes differ, or the mask has colours.
        """
        bgr = decode(self.image, cv2.IMREAD_COLOR).astype(np.uint8, copy=False)
        mask = _mask(self.mask) if self.mask else np.zeros(bgr.shape[:2], np.uint8)
        if bgr.shape[:2] != mask.shape:
            raise DataError(f"{self.stem}: image is {bgr.shape[:2]} px and its mask {mask.shape} px (height, width)")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), mask


def find_pairs(root: Path, sources: tuple[str, ...]) -> list[Pair]:
    """All pairs of `sources` (tar shards, folders or glob patterns under `root`), in a fixed order.

    Raises:
        DataError: no source is named, or some are missing or empty, or images or masks lack their partner: all of
            these faults at once.
    """
    if not sources:
        raise DataError("no data: name folders or tar shards in data.train and in data.validate_on")
    pairs: list[Pair] = []
    faults: list[str] = []
    for source in sources:
        try:
            pairs += [pair for path in find_matches(root, source) for pair in pairs_at(path)]
        except DataError as error:
            faults.append(str(error))
    refuse_faults(faults)
    return pairs


def pairs_at(path: Path) -> list[Pair]:
    """The pairs of one folder or tar shard, sorted by stem.

    Raises:
        DataError: it is neither of the two or empty, or an image or mask lacks its partner.
    """
    images: dict[str, Blob] = {}
    masks: dict[str, Blob] = {}
    for name, blob in members(path):
        found = images if name.parent.name in IMAGE_FOLDERS else masks if name.parent.name in MASK_FOLDERS else None
        # macOS leaves files such as ._STEM.jpg beside the real ones.
        if found is None or name.suffix.lower() not in SUFFIXES or name.name.startswith("."):
            continue
        if name.stem in found:
            raise DataError(f"{path}: {name.parent.name} holds {name.stem} twice; give each set as its own source")
        found[name.stem] = blob
    lonely = sorted(images.keys() ^ masks.keys())
    if lonely or not images:
        what = f"{len(lonely)} files lack a partner: {', '.join(lonely[:5])}" if lonely else "no images and masks"
        raise DataError(f"{path}: {what}; it must hold images/STEM.* and masks/STEM.* (or the DUTS folders)")
    return [Pair(stem, images[stem], masks[stem]) for stem in sorted(images)]


def empty_pairs(path: Path) -> list[Pair]:
    """The images of one folder or tar shard as pairs whose alpha is 0 everywhere, sorted by stem.

    Raises:
        DataError: it is neither of the two, holds no images, or two of one stem.
    """
    images: dict[str, Blob] = {}
    for name, blob in members(path):
        if name.suffix.lower() not in SUFFIXES or name.parent.name in MASK_FOLDERS or name.name.startswith("."):
            continue
        if name.stem in images:
            raise DataError(f"{path} holds two images named {name.stem}; give each set as its own source")
        images[name.stem] = blob
    if not images:
        raise DataError(f"{path} holds no images")
    return [Pair(stem, images[stem], None) for stem in sorted(images)]


def check_pairs(pairs: Iterable[LoadablePair]) -> None:
    """Decodes every pair once, on all cores, so that a damaged file is found now and not in the seventh pass.

    Raises:
        DataError: some do not load; it names the first few and counts the rest.
    """
    with ThreadPoolExecutor() as pool:  # OpenCV decodes outside Python's lock
        refuse_faults([fault for fault in pool.map(_fault, dict.fromkeys(pairs)) if fault])


def _fault(pair: LoadablePair) -> str:
    try:
        pair.load()
    except DataError as error:
        return str(error)
    return ""


def refuse_faults(faults: list[str]) -> None:
    """Raises one DataError that tells the first few faults and counts the rest, if there are any."""
    if faults:
        more = f"; and {len(faults) - FAULTS_SHOWN} more" if len(faults) > FAULTS_SHOWN else ""
        raise DataError("; ".join(faults[:FAULTS_SHOWN]) + more)


def find_matches(root: Path, source: str) -> list[Path]:
    """The folders and shards that a source names; raises DataError where there are none."""
    pattern = root / source
    anchor = Path(pattern.anchor) if Path(source).is_absolute() else root
    relative = str(pattern.relative_to(anchor))
    paths = [root] if relative == "." else sorted(anchor.glob(relative))
    if not paths:
        raise DataError(f"no data at {pattern}: give folders or tar shards of images and masks, under data.root")
    return paths


def members(path: Path) -> Iterator[tuple[PurePosixPath, Blob]]:
    """Every file of a folder or an uncompressed tar shard, links as the files that they lead to.

    Raises:
        DataError: it is neither of the two, or a link in a shard leads to no file in it.
    """
    if path.is_dir():
        for folder, _, names in os.walk(path, followlinks=True):
            for name in names:
                yield PurePosixPath(folder, name), Blob(Path(folder, name))
        return
    try:
        # "r:" refuses compressed shards, whose members cannot be read by their offset.
        with tarfile.open(path, "r:") as shard:
            found = shard.getmembers()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} is neither a folder nor a readable, uncompressed tar shard: {error}") from error
    by_name = {posixpath.normpath(member.name): member for member in found}
    for member in found:
        file = _followed(member, by_name, path) if _is_link(member) else member
        if file.isfile():
            yield PurePosixPath(member.name), Blob(path, file.offset_data, file.size)


def _is_link(member: tarfile.TarInfo) -> bool:
    return member.issym() or member.islnk()


def _followed(link: tarfile.TarInfo, by_name: Mapping[str, tarfile.TarInfo], shard: Path) -> tarfile.TarInfo:
    """The file that a hard or symbolic link leads to, through others too; raises DataError if the shard lacks it."""
    end: tarfile.TarInfo | None = link
    for _ in range(LINKS_FOLLOWED):
        if end is None or not _is_link(end):
            break
        folder = posixpath.dirname(end.name) if end.issym() else ""  # hard links name the other member in full
        end = by_name.get(posixpath.normpath(posixpath.join(folder, end.linkname)))
    if end is None or not end.isfile():
        raise DataError(
            f"{shard}: {link.name} is a link to {link.linkname}, which is no file in the shard; make the shard with "
            "`tar --dereference --hard-dereference`, which stores files in the place of links"
        )
    return end


def _mask(blob: Blob) -> Pixels:
    """Decodes a mask to 8 bits `(H, W)`."""
    values = decode(blob, cv2.IMREAD_UNCHANGED)
    levels = values if values.ndim == 2 else _only_channel(values, blob)
    if levels.max() == 1:  # labels, in 16 bits too
        return np.where(levels, 255, 0).astype(np.uint8)
    if levels.dtype == np.uint16:
        levels = (levels / _level_step(levels)).round()
    return levels.astype(np.uint8, copy=False)


def _only_channel(values: npt.NDArray[Any], blob: Blob) -> npt.NDArray[Any]:
    """The one channel of `(H, W, 3 or 4)` that tells the mask: alpha over one colour, or grey stored as RGB.

    Alpha that is opaque everywhere tells nothing: programs add it to any picture.
    """
    colours, alpha = values[..., :3], values[..., 3:]
    if (alpha < np.iinfo(values.dtype).max).any() and (colours == colours[0, 0]).all():
        return alpha[..., 0]
    # JPEG leaves differences of a few levels between channels that were equal.
    if np.ptp(colours.astype(np.int32), axis=2).max() > JPEG_LEVELS * _level_step(values):
        raise DataError(f"{_place(blob)} is a mask with colours (a palette of labels?); masks must be grey, 0 to 255")
    return colours[..., 1]


def _level_step(values: npt.NDArray[Any]) -> int:
    """What one of 255 levels is in these values: 1, or 257 where they have 16 bits."""
    return int(np.iinfo(values.dtype).max) // 255


def decode(blob: Blob, mode: int) -> npt.NDArray[Any]:
    """Decodes a picture as OpenCV does (BGR); raises DataError where it cannot."""
    try:
        pixels = cv2.imdecode(np.frombuffer(blob.read(), np.uint8), mode)
    except (OSError, cv2.error) as error:  # OpenCV raises for an empty file and returns None for a damaged one
        raise DataError(f"{_place(blob)} cannot be read as an image") from error
    if pixels is None:
        raise DataError(f"{_place(blob)} does not decode as an image")
    return pixels


def _place(blob: Blob) -> str:
    return str(blob.path) if blob.size < 0 else f"{blob.path} (byte {blob.offset})"
