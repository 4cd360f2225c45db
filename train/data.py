"""Pairs of an image and its mask, from folders and tar shards."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.errors import DataError

Pixels = npt.NDArray[np.uint8]

IMAGE_FOLDERS = ("images", "image", "DUTS-TR-Image", "DUTS-TE-Image")
MASK_FOLDERS = ("masks", "mask", "DUTS-TR-Mask", "DUTS-TE-Mask")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


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
    """An image and the mask of what stands out in it."""

    stem: str
    image: Blob
    mask: Blob

    def load(self) -> tuple[Pixels, Pixels]:
        """Decodes to RGB `(H, W, 3)` and alpha `(H, W)`, both uint8.

        Raises:
            DataError: one of the two does not decode, or their sizes differ.
        """
        bgr, mask = _decode(self.image, cv2.IMREAD_COLOR), _decode(self.mask, cv2.IMREAD_GRAYSCALE)
        if bgr.shape[:2] != mask.shape:
            raise DataError(f"{self.stem}: image is {bgr.shape[:2]} px and its mask {mask.shape} px (height, width)")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), mask


def find_pairs(root: Path, sources: tuple[str, ...]) -> list[Pair]:
    """All pairs of `sources` (tar shards, folders or glob patterns under `root`), in a fixed order.

    Raises:
        DataError: no source is named, one is missing or empty, or an image or mask lacks its partner.
    """
    if not sources:
        raise DataError("no data: name folders or tar shards in data.train and in data.validate_on")
    return [pair for source in sources for path in _matches(root, source) for pair in pairs_at(path)]


def pairs_at(path: Path) -> list[Pair]:
    """The pairs of one folder or tar shard, sorted by stem.

    Raises:
        DataError: it is neither of the two or empty, or an image or mask lacks its partner.
    """
    images: dict[str, Blob] = {}
    masks: dict[str, Blob] = {}
    for name, blob in _members(path):
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


def _matches(root: Path, source: str) -> list[Path]:
    pattern = root / source
    anchor = Path(pattern.anchor) if Path(source).is_absolute() else root
    relative = str(pattern.relative_to(anchor))
    paths = [root] if relative == "." else sorted(anchor.glob(relative))
    if not paths:
        raise DataError(f"no data at {pattern}: give folders or tar shards of images and masks, under data.root")
    return paths


def _members(path: Path) -> Iterator[tuple[PurePosixPath, Blob]]:
    if path.is_dir():
        for folder, _, names in os.walk(path, followlinks=True):
            for name in names:
                yield PurePosixPath(folder, name), Blob(Path(folder, name))
        return
    try:
        # "r:" refuses compressed shards, whose members cannot be read by their offset.
        with tarfile.open(path, "r:") as shard:
            for member in shard:
                if member.isfile():
                    yield PurePosixPath(member.name), Blob(path, member.offset_data, member.size)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} is neither a folder nor a readable, uncompressed tar shard: {error}") from error


def _decode(blob: Blob, mode: int) -> Pixels:
    try:
        pixels = cv2.imdecode(np.frombuffer(blob.read(), np.uint8), mode)
    except (OSError, cv2.error) as error:  # OpenCV raises for an empty file and returns None for a damaged one
        raise DataError(f"{blob.path} (byte {blob.offset}) cannot be read as an image") from error
    if pixels is None:
        raise DataError(f"{blob.path} (byte {blob.offset}) does not decode as an image")
    return pixels.astype(np.uint8, copy=False)
