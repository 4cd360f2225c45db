"""Reads a finished file again and compares its alpha with what was meant: lost alpha is an error, not a surprise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np

from streamseg.decode.video import VideoFile
from streamseg.errors import InputError, OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels

MEAN_LEVELS = 2.0
"""Mean difference of alpha, of 255, from which on a file is refused; codecs at our settings stay under 0.3."""

TICK = Fraction(1, 1000)
"""The coarsest clock of a container that we write (WebM), in seconds."""


@dataclass(frozen=True, slots=True)
class Meant:
    """A matte `(H, W)` as it was written, its time in seconds, and the channel in which it comes back."""

    time: Fraction
    alpha: Pixels
    channel: int

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Of a cut-out or a grey matte, which comes back as grey in RGB; borrows its memory."""
        pixels = frame.pixels
        return cls(frame.pts, pixels, 1) if pixels.ndim == 2 else cls(frame.pts, pixels[..., 3], 3)

    def kept(self) -> Self:
        """With memory of its own, a quarter of the cut-out's."""
        return replace(self, alpha=self.alpha.copy())


class AlphaCheck:
    """Keeps the first, a middle and the last matte as they were meant, and looks for them in the file."""

    def __init__(self, info: VideoInfo) -> None:
        self._middle = (info.frame_count or 0) // 2
        self._kept: dict[str, Meant] = {}
        self._count = 0

    def note(self, frame: Frame) -> None:
        """Takes a frame that was written; one without alpha is passed over."""
        if frame.kind == "composite":
            return
        meant, count = Meant.of(frame), self._count
        if not count:
            self._kept["first"] = meant.kept()
        # Where the length is not known beforehand, the last power of two is in the second half.
        if count == self._middle or (not self._middle and count & (count - 1) == 0):
            self._kept["middle"] = meant.kept()
        self._kept["last"] = meant
        self._count += 1

    def verify(self, path: Path, name: Path) -> None:
        """Decodes the frames that were kept.

        Args:
            path: the file.
            name: what messages call it.

        Raises:
            OutputError: one is missing, or its alpha is not what was meant.
        """
        if not self._kept:
            return
        try:
            with VideoFile(str(path)) as source:
                for place, meant in self._kept.items():
                    source.skip_to(meant.time - TICK)
                    _compare(meant, next(iter(source)).pixels, f"{name} lost its alpha: the {place} frame")
        except InputError as error:
            raise OutputError(f"{name} lost its alpha: {error}") from error


def _compare(meant: Meant, found: Pixels, what: str) -> None:
    if meant.channel == 3 and found.shape[2] != 4:
        raise OutputError(f"{what} came back without it")
    height, width = meant.alpha.shape
    back = found[:height, :width, meant.channel]
    error = np.abs(back.astype(np.int16) - meant.alpha).mean()
    if error > MEAN_LEVELS:
        raise OutputError(f"{what} is off by {error:.1f} levels of 255")
