"""Sink for animated GIF, WebP and APNG files."""

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

from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.image import Pixels, to_square_pixels
from streamseg.sink.apng import ApngFile
from streamseg.sink.base import BaseSink
from streamseg.sink.gif import GifFile
from streamseg.sink.resume import BEGINNING, part_of
from streamseg.sink.video import check_folder
from streamseg.sink.webp import WebpFile

MAX_DENOMINATOR = 0xFFFF
DEFAULT_CLOCK = Fraction(1, 30_000)
"""Seconds per tick of an APNG where the source's time base is finer than APNG's ratios of 16-bit numbers."""


class AnimationWriter(Protocol):
    """Writer of an animated file that is complete after each frame."""

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Add an image `(H, W)`, `(H, W, 3)` or `(H, W, 4)` with its duration in seconds."""
        ...

    def close(self) -> None:
        """Write the images held back by the encoder."""
        ...


@dataclass(frozen=True)
class AnimationFormat:
    """Properties of an animated format.

    Attributes:
        name: name of the format for messages.
        label: how it stores colours, for the summary.
        alpha: how it stores alpha, for the summary.
        open: makes a writer for images like the first one; the last argument asks for high quality.
        clock: seconds per tick of its durations; None for the source's time base.
        min_duration: shortest duration of an image in seconds; browsers slow down shorter ones.
        max_side_px: longest side of an image.
    """

    name: str
    label: str
    alpha: str
    open: Callable[[BinaryIO, Pixels, bool], AnimationWriter]
    clock: Fraction | None
    min_duration: Fraction
    max_side_px: int


ANIMATIONS = {
    ".gif": AnimationFormat(
        "GIF",
        "GIF, 256 colours a frame, dithered",
        "each pixel whole or transparent (.webp and .apng keep soft edges)",
        lambda file, first, high: GifFile(file, first),
        clock=Fraction(1, 100),
        min_duration=Fraction(2, 100),
        max_side_px=0xFFFF,
    ),
    ".webp": AnimationFormat(
        "WebP",
        "animated WebP",
        "with soft alpha",
        WebpFile,
        clock=Fraction(1, 1000),
        min_duration=Fraction(11, 1000),
        max_side_px=16383,
    ),
    ".apng": AnimationFormat(
        "APNG",
        "lossless APNG",
        "with soft alpha",
        lambda file, first, high: ApngFile(file, first),
        clock=None,
        min_duration=Fraction(11, 1000),
        max_side_px=0xFFFFFF,
    ),
}


@dataclass(frozen=True, eq=False)
class PendingImage:
    """An image whose duration depends on the next one; `start` is in ticks of the file's clock."""

    pixels: Pixels
    start: int


class AnimationSink(BaseSink):
    """One animated file, written as NAME.part and renamed by `complete`; the part of a killed run plays."""

    def __init__(self, path: Path, info: VideoInfo, form: AnimationFormat, high_quality: bool = False) -> None:
        """Check the output; the file is made when the first image is written.

        Args:
            path: the finished file.
            info: size, rate and clock of the frames to write.
            form: the format of the file.
            high_quality: use the best quality of the format.

        Raises:
            OutputError: the file cannot be written, or the frames are too large for the format.
        """
        check_folder(path)
        self._path, self._part, self._info, self._form = path, part_of(path), info, form
        self._high_quality = high_quality
        if max(info.width_px, info.height_px) > form.max_side_px:
            raise OutputError(f"cannot write {path}: a {form.name} has no more than {form.max_side_px} px a side")
        own = info.time_base if info.time_base.denominator <= MAX_DENOMINATOR else DEFAULT_CLOCK
        self._clock = form.clock or own
        self._min_ticks = math.ceil(form.min_duration / self._clock)
        self._first_pts = BEGINNING
        self._pending: PendingImage | None = None
        self._file: BinaryIO | None = None
        self._writer: AnimationWriter | None = None
        self._count, self._skipped, self._end = 0, 0, 0

    @property
    def summary(self) -> str:
        """See `Sink`."""
        if not self._count:
            return "nothing was written"
        has_alpha = self._pending is not None and self._pending.pixels.shape[2:] == (4,)
        label = f"{self._form.label}, {self._form.alpha}" if has_alpha else self._form.label
        max_rate = math.floor(1 / (self._min_ticks * self._clock))
        left_out = f"; {self._skipped} left out: it shows {max_rate} a second at most" if self._skipped else ""
        return f"{self._path}: {counted(self._count, 'frame')}, {label}, no sound{left_out}; plays in any browser"

    def write(self, frame: Frame) -> None:
        """Keep a frame until its duration is known, and write the one before it.

        Raises:
            OutputError: the disk is full, or the frame differs in size or channels from the one before it.
        """
        if self._pending is None:
            self._first_pts = frame.pts
        time = frame.pts - self._first_pts
        start = round(time / self._clock)
        self._end = max(self._end, round((time + (frame.duration or 1 / self._info.rate)) / self._clock))
        if self._pending and start - self._pending.start < self._min_ticks:
            self._skipped += 1
            return
        pixels = to_square_pixels(frame.pixels, self._info.pixel_aspect)  # These formats know no others.
        if self._pending:
            self._write_pending(self._pending, start)
            if pixels.shape != self._pending.pixels.shape:
                raise OutputError(f"cannot write {self._path}: frames of two sizes or kinds do not go into one file")
        self._pending = PendingImage(pixels, start)

    def complete(self) -> None:
        """Write the last image and rename the file to its final name.

        Raises:
            OutputError: the disk is full; the part file is removed.
        """
        if self._pending is None:
            return
        try:
            self._write_pending(self._pending, self._end)
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

    def _write_pending(self, image: PendingImage, end: int) -> None:
        """Write an image that is shown up to `end`, in ticks."""
        with self._output_errors():
            if self._file is None or self._writer is None:
                self._file = self._part.open("wb")
                self._writer = self._form.open(self._file, image.pixels, self._high_quality)
            self._writer.add(image.pixels, max(end - image.start, self._min_ticks) * self._clock)
            self._file.flush()  # So that the part of a killed run plays.
        self._count += 1

    def _finish(self) -> None:
        assert self._file
        assert self._writer
        with self._output_errors():
            self._writer.close()
            self._file.close()
            os.replace(self._part, self._path)

    @contextmanager
    def _output_errors(self) -> Iterator[None]:
        """Turn errors of FFmpeg and the file system into an OutputError of one line."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error
