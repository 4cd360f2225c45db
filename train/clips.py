"""Clips whose mattes are known: those that `synth` makes, and videos with a binary mask for every frame."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import cv2
import numpy as np

from streamseg.decode.images import natural_order
from streamseg.errors import DataError
from train.data import Blob, decode
from train.synth.files import CLIPS_FILE, Truth, find_clips

MASKS = "masks"
"""Kind of the clips of which binary masks alone are known."""


class TruthClip(Protocol):
    """A clip whose mattes are known."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def kind(self) -> str:
        """A kind of `train.synth.recipes`, or `masks`."""

    @property
    def path(self) -> Path:
        """The video file."""

    def truths(self) -> Iterator[Truth]:
        """Yield the truth of every frame, in order."""


@dataclass(frozen=True, slots=True)
class MaskClip:
    """A folder with `clip.mp4` and `masks/00000.png`, or `masks/0.png`, and so on, one binary mask a frame."""

    folder: Path
    kind: str = MASKS

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """The video file."""
        return self.folder / "clip.mp4"

    def truths(self) -> Iterator[Truth]:
        """Decode one mask after the other, in natural order of the names; those of several objects count as one."""
        for path in sorted((self.folder / "masks").glob("*.png"), key=natural_order):
            mask = decode(Blob(path), cv2.IMREAD_GRAYSCALE)
            yield Truth(np.where(mask > 0, 255, 0).astype(np.uint8), None, None)


@contextmanager
def opened_clips(data: Path) -> Iterator[list[TruthClip]]:
    """Find the clips of a folder or tar shard; a shard is unpacked for as long as they are open.

    Raises:
        DataError: there are none.
    """
    if data.is_dir():
        yield _clips_in(data)
        return
    with TemporaryDirectory() as folder:
        try:
            with tarfile.open(data, "r:") as shard:
                shard.extractall(folder, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{data} is neither a folder nor a readable, uncompressed tar shard: {error}") from error
        yield _clips_in(Path(folder))


def _clips_in(folder: Path) -> list[TruthClip]:
    if (folder / CLIPS_FILE).exists():
        return list(find_clips(folder))
    found = sorted(path.parent for path in folder.glob("*/clip.mp4") if (path.parent / "masks").is_dir())
    if not found:
        raise DataError(
            f"{folder} holds no clips: neither {CLIPS_FILE}, which `python -m train synth` writes, nor "
            "NAME/clip.mp4 with NAME/masks"
        )
    return [MaskClip(path) for path in found]
