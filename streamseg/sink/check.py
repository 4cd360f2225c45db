"""Reads a finished file again and compares its alpha with what was meant: lost alpha is an error, not a surprise."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from streamseg.decode.video import VideoFile
from streamseg.errors import InputError, OutputError
from streamseg.frames import Frame, Pixels, VideoInfo

MEAN_LEVELS = 2.0
"""Mean difference of alpha, of 255, from which on a file is refused; codecs at our settings stay under 0.3."""

TICK = Fraction(1, 1000)
"""The coarsest clock of a container that we write (WebM), in seconds."""


class AlphaCheck:
    """Keeps the first, a middle and the last matte as they were meant, and looks for them in the file."""

    def __init__(self, info: VideoInfo) -> None:
        self._middle = (info.frame_count or 0) // 2
        self._kept: dict[str, Frame] = {}
        self._count = 0

    def note(self, frame: Frame) -> None:
        """Takes a frame that was written, without copying it; one without alpha is passed over."""
        if frame.picture.shape[2:] == (3,):
            return
        count = self._count
        self._kept.setdefault("first", frame)
        # Where the length is not known beforehand, the last power of two is in the second half.
        if count == self._middle or (not self._middle and count & (count - 1) == 0):
            self._kept["middle"] = frame
        self._kept["last"] = frame
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
                    _compare(meant.pixels, next(iter(source)).pixels, f"{name} lost its alpha: the {place} frame")
        except InputError as error:
            raise OutputError(f"{name} lost its alpha: {error}") from error


def _compare(meant: Pixels, found: Pixels, what: str) -> None:
    if meant.ndim == 3 and found.shape[2] != 4:
        raise OutputError(f"{what} came back without it")
    height, width = meant.shape[:2]
    # What was written as a grey matte comes back as grey in RGB.
    back = found[:height, :width, 3 if meant.ndim == 3 else 1]
    error = np.abs(back.astype(np.int16) - _alpha(meant)).mean()
    if error > MEAN_LEVELS:
        raise OutputError(f"{what} is off by {error:.1f} levels of 255")


def _alpha(pixels: Pixels) -> Pixels:
    return pixels if pixels.ndim == 2 else pixels[..., 3]
