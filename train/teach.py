"""Soft labels: what one network makes of pictures, kept beside them, so that others learn from it.

A taught shard is a source like any other: `images/` as they were, `masks/` with the teacher's alpha. The teacher runs
once, through an inference engine, and not in every step of every training; its pictures need no masks.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from streamseg.errors import DataError, OutputError
from train.data import Pair, Pixels, check_pairs, empty_pairs, members
from train.evaluate import Matting, predict
from train.metrics.fmeasure import Alpha


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be labelled; `name` is its file's."""

    name: str
    pair: Pair


def check_target(out: Path) -> None:
    """Refuses what a taught shard cannot be written to; raises OutputError."""
    if out.suffix != ".tar":
        raise OutputError(f"cannot write to {out}: what is taught is a tar shard, so its name must end in .tar")
    if out.exists():
        raise OutputError(f"{out} exists; remove it or choose another name")


def find_pictures(sources: Sequence[Path]) -> list[Picture]:
    """The pictures of folders and tar shards, sorted by stem within each; masks beside them are not looked at.

    Raises:
        DataError: a source is missing or holds no pictures, two pictures have one stem, or some do not decode: all of
            the latter at once.
    """
    pictures = [picture for source in sources for picture in _pictures_of(source)]
    known: dict[str, Picture] = {}
    for picture in pictures:
        if (other := known.setdefault(picture.pair.stem, picture)) is not picture:
            places = f"{other.pair.image.path} and {picture.pair.image.path}"
            raise DataError(f"{picture.pair.stem} is in {places}; teach the sources one by one, or rename it")
    check_pairs(picture.pair for picture in pictures)
    return pictures


def teach(matting: Matting, pictures: Iterable[Picture], size_px: int, out: Path) -> None:
    """Writes each picture, its bytes unchanged, and its alpha to a tar shard, which is there when all are done.

    Args:
        matting: the teacher.
        pictures: what `find_pictures` found.
        size_px: long side of the network's input; proportions are kept, as streamseg keeps them.
        out: the shard.

    Raises:
        DataError: a picture does not decode.
        OutputError: the shard cannot be written.
    """
    part = out.with_name(out.name + ".part")
    try:
        with tarfile.open(part, "w") as shard:
            for picture in pictures:
                image, _ = picture.pair.load()
                alpha = predict(matting, image, size_px, squash=False, device=torch.device("cpu"))
                _add(shard, f"images/{picture.name}", picture.pair.image.read())
                _add(shard, f"masks/{picture.pair.stem}.png", _png(soft_mask(alpha)))
        os.replace(part, out)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror}") from error
    finally:  # after Ctrl-C too
        with suppress(OSError):
            part.unlink()


def soft_mask(alpha: Alpha) -> Pixels:
    """Alpha in [0, 1] as 8 bits, with 0 for the 1 of a picture that has no more than that.

    A mask whose largest value is 1 is one of labels, which `Pair.load` makes opaque.
    """
    levels = np.rint(alpha * 255).astype(np.uint8)
    return np.zeros_like(levels) if levels.max() == 1 else levels


def _pictures_of(source: Path) -> list[Picture]:
    # By the stem too: in a shard, a picture and its hard link are the same bytes.
    names = {(name.stem, blob): name.name for name, blob in members(source)}
    return [Picture(names[pair.stem, pair.image], pair) for pair in empty_pairs(source)]


def _png(levels: Pixels) -> bytes:
    return cv2.imencode(".png", levels)[1].tobytes()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
