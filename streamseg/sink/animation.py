"""Animated pictures, what chats and web pages take: GIF, WebP and APNG."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Protocol

import av
import cv2
import numpy as np

from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.sink.apng import ApngFile
from streamseg.sink.base import BaseSink
from streamseg.sink.gif import GifFile
from streamseg.sink.resume import BEGINNING, part_of
from streamseg.sink.video import check_folder
from streamseg.sink.webp import WebpFile

FINEST_DENOMINATOR = 0xFFFF
COMMON_CLOCK = Fraction(1, 30_000)
"""In seconds; what an APNG counts in where the source's clock is finer than its durations, ratios of small numbers."""


class AnimationFile(Protocol):
    """A file of animated pictures that is complete after each."""

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Takes a picture and how long it is shown."""
        ...

    def close(self) -> None:
        """Writes what was held back."""
        ...


@dataclass(frozen=True)
class AnimationFormat:
    """What an animated format can hold.

    Attributes:
        name: what people call it.
        label: how it keeps colours.
        alpha: how it keeps alpha.
        open: begins a file for pictures like the first one; the last argument asks for the best quality.
        clock: what durations are counted in, in seconds; None where that is the source's own clock.
        shortest: how long a picture must be shown, in seconds; browsers slow down what is shorter.
        most_px: the longest side.
    """

    name: str
    label: str
    alpha: str
    open: Callable[[BinaryIO, Pixels, bool], AnimationFile]
    clock: Fraction | None
    shortest: Fraction
    most_px: int


ANIMATIONS = {
    ".gif": AnimationFormat(
        "GIF",
        "GIF, 256 colours a picture, dithered",
        "each pixel whole or transparent (.webp and .apng keep soft edges)",
        lambda file, first, high: GifFile(file, first),
        clock=Fraction(1, 100),
        shortest=Fraction(2, 100),
        most_px=0xFFFF,
    ),
    ".webp": AnimationFormat(
        "WebP",
        "animated WebP",
        "with soft alpha",
        WebpFile,
        clock=Fraction(1, 1000),
        shortest=Fraction(11, 1000),
        most_px=16383,
    ),
    ".apng": AnimationFormat(
        "APNG",
        "lossless APNG",
        "with soft alpha",
        lambda file, first, high: ApngFile(file, first),
        clock=None,
        shortest=Fraction(11, 1000),
        most_px=0xFFFFFF,
    ),
}


@dataclass(frozen=True, eq=False)
class Waiting:
    """A picture whose duration the next one tells; `start` in ticks of the file's clock."""

    pixels: Pixels
    start: int


class AnimationSink(BaseSink):
    """One animated file, written as NAME.part and renamed by `complete`; what a killed run leaves of it plays."""

    def __init__(self, path: Path, info: VideoInfo, form: AnimationFormat, high_quality: bool = False) -> None:
        """Nothing is made on the disk before the first picture.

        Args:
            path: the finished file.
            info: the pictures that will come.
            form: the format.
            high_quality: as good as the format can be.

        Raises:
            OutputError: the file cannot be written, or the pictures are too large for the format.
        """
        check_folder(path)
        self._path, self._part, self._info, self._form = path, part_of(path), info, form
        self._high_quality = high_quality
        if max(info.width_px, info.height_px) > form.most_px:
            raise OutputError(f"cannot write {path}: a {form.name} has no more than {form.most_px} px a side")
        own = info.time_base if info.time_base.denominator <= FINEST_DENOMINATOR else COMMON_CLOCK
        self._clock = form.clock or own
        self._shortest = math.ceil(form.shortest / self._clock)
        self._began = BEGINNING
        self._waiting: Waiting | None = None
        self._file: BinaryIO | None = None
        self._pictures: AnimationFile | None = None
        self._count, self._left_out, self._end = 0, 0, 0

    @property
    def summary(self) -> str:
        """See `Sink`."""
        if not self._count:
            return "nothing was written"
        has_alpha = self._waiting is not None and self._waiting.pixels.shape[2:] == (4,)
        label = f"{self._form.label}, {self._form.alpha}" if has_alpha else self._form.label
        most = math.floor(1 / (self._shortest * self._clock))
        left_out = f"; {self._left_out} left out: it shows {most} a second at most" if self._left_out else ""
        return f"{self._path}: {self._count} pictures, {label}, no sound{left_out}; plays in any browser"

    def write(self, frame: Frame) -> None:
        """Takes a picture, and writes the one before it.

        Raises:
            OutputError: the disk is full, or the picture is not like the one before it.
        """
        if self._waiting is None:
            self._began = frame.pts
        time = frame.pts - self._began
        start = round(time / self._clock)
        self._end = max(self._end, round((time + (frame.duration or 1 / self._info.rate)) / self._clock))
        if self._waiting and start - self._waiting.start < self._shortest:
            self._left_out += 1
            return
        pixels = _square(frame.pixels, self._info.pixel_aspect)
        if self._waiting:
            self._hand_over(self._waiting, start)
            if pixels.shape != self._waiting.pixels.shape:
                raise OutputError(f"cannot write {self._path}: pictures of two sizes or kinds do not go into one file")
        self._waiting = Waiting(pixels, start)

    def complete(self) -> None:
        """Writes the last picture and gives the file its name.

        Raises:
            OutputError: the disk is full; nothing is left.
        """
        if self._waiting is None:
            return
        try:
            self._hand_over(self._waiting, self._end)
            self._finish()
        except BaseException:
            self.discard()
            raise

    def discard(self) -> None:
        """See `BaseSink`."""
        if self._file:
            with suppress(OSError):
                self._file.close()
                self._part.unlink(missing_ok=True)

    def _hand_over(self, picture: Waiting, until: int) -> None:
        """Writes a picture that is shown up to `until`, in ticks."""
        with self._told():
            if self._file is None or self._pictures is None:
                self._file = self._part.open("wb")
                self._pictures = self._form.open(self._file, picture.pixels, self._high_quality)
            self._pictures.add(picture.pixels, max(until - picture.start, self._shortest) * self._clock)
            self._file.flush()  # For a run that is killed.
        self._count += 1

    def _finish(self) -> None:
        assert self._file
        assert self._pictures
        with self._told():
            self._pictures.close()
            self._file.close()
            os.replace(self._part, self._path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong in one line."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error


def _square(pixels: Pixels, pixel_aspect: Fraction) -> Pixels:
    """Pixels as wide as high, which is all that these formats know."""
    if pixel_aspect == 1:
        return pixels
    size_px = max(1, round(pixels.shape[1] * pixel_aspect)), pixels.shape[0]
    return cv2.resize(pixels, size_px, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
