"""Decoded pictures on disk, memory-mapped: each is decoded once, whatever workers, processes and runs come after."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from streamseg.errors import DataError, OutputError
from streamseg.media.atomic import atomic_write
from train.augment import resize
from train.data import Pair, Pixels, refuse_faults

AT_ONCE = 64
"""Pictures that are in memory while a cache is made."""

READER = 2
"""Changes when `Pair.load` takes a file for other pixels than before, so that old caches are not used."""

Place = tuple[int, int, int]
"""Offset in the file, height and width of a picture; its mask's bytes follow its own."""


@dataclass(frozen=True, slots=True)
class CachedPair:
    """A pair whose pixels lie in a cache file."""

    stem: str
    file: Path
    offset: int
    height: int
    width: int

    def load(self) -> tuple[Pixels, Pixels]:
        """RGB `(H, W, 3)` and alpha `(H, W)`, both uint8 and read-only, without decoding or copying.

        Raises:
            DataError: the cache is gone.
        """
        size = self.height * self.width
        pixels = _mapped(self.file)[self.offset : self.offset + 4 * size]
        return pixels[: 3 * size].reshape(self.height, self.width, 3), pixels[3 * size :].reshape(self.height, -1)


def cached(pairs: Sequence[Pair], folder: Path, short_side_px: int) -> list[CachedPair]:
    """The pairs from their cache, which is made first where there is none for these very files.

    Args:
        pairs: what to cache; a pair that occurs twice is kept once.
        folder: where caches are; several processes may ask at once, and runs may share it.
        short_side_px: larger pictures are reduced to this, averaging over their pixels.

    Raises:
        DataError: some pairs do not load; all of these faults at once.
        OutputError: the cache cannot be written.
    """
    unique = list(dict.fromkeys(pairs))
    file = folder / f"{_key(unique, short_side_px)}.pixels"
    index = file.with_suffix(".json")
    if not (index.exists() and file.exists()):
        _make(unique, file, index, short_side_px)
    places = json.loads(index.read_text(encoding="utf-8"))
    known = {pair: CachedPair(pair.stem, file, *place) for pair, place in zip(unique, places, strict=True)}
    return [known[pair] for pair in pairs]


def reduced(image: Pixels, mask: Pixels, short_side_px: int) -> tuple[Pixels, Pixels]:
    """Both at `short_side_px` if they are larger."""
    factor = short_side_px / min(mask.shape)
    if factor >= 1:
        return image, mask
    size = (round(mask.shape[0] * factor), round(mask.shape[1] * factor))
    return resize(image, size, antialias=True), resize(mask, size, antialias=True)


def _make(pairs: Sequence[Pair], file: Path, index: Path, short_side_px: int) -> None:
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        places = _fill(pairs, part, short_side_px)
        os.replace(part, file)
    except OSError as error:
        raise OutputError(f"cannot write the cache {file}: {error.strerror}; choose another data.cache") from error
    finally:
        with suppress(OSError):
            part.unlink()
    # Last, since it is what tells that the cache is whole.
    atomic_write(index, json.dumps(places).encode())


def _fill(pairs: Sequence[Pair], part: Path, short_side_px: int) -> list[Place]:
    places: list[Place] = []
    faults: list[str] = []
    with part.open("wb") as out:
        for loaded in _loaded(pairs, short_side_px):
            if isinstance(loaded, DataError):
                faults.append(str(loaded))
                continue
            image, mask = loaded
            places.append((out.tell(), mask.shape[0], mask.shape[1]))
            out.write(image.tobytes() + mask.tobytes())
    refuse_faults(faults)
    return places


def _loaded(pairs: Sequence[Pair], short_side_px: int) -> Iterator[tuple[Pixels, Pixels] | DataError]:
    def load(pair: Pair) -> tuple[Pixels, Pixels] | DataError:
        try:
            return reduced(*pair.load(), short_side_px)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        for first in range(0, len(pairs), AT_ONCE):
            yield from pool.map(load, pairs[first : first + AT_ONCE])


def _key(pairs: Sequence[Pair], short_side_px: int) -> str:
    """A name that changes with the files, their places and times, the size, and how files are read."""
    paths = {blob.path for pair in pairs for blob in pair.blobs}
    identity = {str(path): (str(path.resolve()), path.stat().st_mtime_ns, path.stat().st_size) for path in paths}
    blobs = [
        (pair.stem, *(part for blob in pair.blobs for part in (identity[str(blob.path)], blob.offset)))
        for pair in pairs
    ]
    return hashlib.sha256(repr((READER, short_side_px, blobs)).encode()).hexdigest()[:16]


@lru_cache(maxsize=8)
def _mapped(file: Path) -> Pixels:
    """One mapping a process, however many pairs are read from it."""
    try:
        return np.memmap(file, np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"the cache {file} cannot be read any more: {error}") from error
