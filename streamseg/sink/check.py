"""Verification of written alpha: decode frames of the finished file and compare their mattes with those encoded."""

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

MAX_MEAN_ERROR_LEVELS = 2.0
"""Largest mean difference of alpha, in levels of 255; the codecs at the settings used here stay under 0.3."""

TICK = Fraction(1, 1000)
"""Coarsest tick, in seconds, of the containers written (WebM)."""


@dataclass(frozen=True, slots=True)
class ExpectedAlpha:
    """A matte as it was encoded.

    Attributes:
        time: pts in seconds.
        alpha: the matte `(H, W)`.
        channel: channel of the decoded image that holds it: 3 of RGBA, or 1 of a grey image as RGB.
    """

    time: Fraction
    alpha: Pixels
    channel: int

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Take the alpha of an RGBA frame or of a matte, as a view of the frame's memory."""
        pixels = frame.pixels
        return cls(frame.pts, pixels, 1) if pixels.ndim == 2 else cls(frame.pts, pixels[..., 3], 3)

    def kept(self) -> Self:
        """Copy the alpha, so that the frame's memory, four times as large, can be freed."""
        return replace(self, alpha=self.alpha.copy())


class AlphaCheck:
    """Keep the first, a middle and the last matte of a video, and compare them with the finished file."""

    def __init__(self, info: VideoInfo) -> None:
        self._middle = (info.frame_count or 0) // 2
        self._kept: dict[str, ExpectedAlpha] = {}
        self._count = 0

    def note(self, frame: Frame) -> None:
        """Record a frame that was written; composites, which have no alpha, are ignored."""
        if frame.kind == "composite":
            return
        expected, count = ExpectedAlpha.of(frame), self._count
        if not count:
            self._kept["first"] = expected.kept()
        # Where the length is not known beforehand, the last power of two is in the second half.
        if count == self._middle or (not self._middle and count & (count - 1) == 0):
            self._kept["middle"] = expected.kept()
        self._kept["last"] = expected
        self._count += 1

    def verify(self, path: Path, name: Path) -> None:
        """Decode the recorded frames and compare their alpha.

        Args:
            path: the file to read.
            name: the file's name for messages.

        Raises:
            OutputError: a frame is missing, or its alpha differs from what was written.
        """
        if not self._kept:
            return
        try:
            with VideoFile(str(path)) as source:
                for place, expected in self._kept.items():
                    source.skip_to(expected.time - TICK)
                    _compare(expected, next(iter(source)).pixels, f"{name} lost its alpha: the {place} frame")
        except InputError as error:
            raise OutputError(f"{name} lost its alpha: {error}") from error


def _compare(expected: ExpectedAlpha, decoded: Pixels, what: str) -> None:
    if expected.channel == 3 and decoded.shape[2] != 4:
        raise OutputError(f"{what} came back without it")
    height, width = expected.alpha.shape
    alpha = decoded[:height, :width, expected.channel]
    error = np.abs(alpha.astype(np.int16) - expected.alpha).mean()
    if error > MAX_MEAN_ERROR_LEVELS:
        raise OutputError(f"{what} is off by {error:.1f} levels of 255")
