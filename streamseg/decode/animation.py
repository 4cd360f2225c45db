"""Animated WebP, PNG and AVIF: whole pictures with their alpha, at exact times.

FFmpeg reads animated GIF by itself. Of these it knows no animated WebP and no alpha in AVIF; Pillow blends animated PNG
wrongly where it is half transparent. So each is decoded by the one that does it right, and the times are taken from the
file itself, which both would round.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import accumulate, islice
from pathlib import Path
from statistics import median_low

import av
from PIL import Image

from streamseg.decode.base import BaseSource, check_size
from streamseg.decode.images import as_seen, count_pictures, open_picture, pixels_of
from streamseg.decode.pixels import has_alpha, matrix_of
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.yuv import to_rgb

TOO_SHORT, SHOWN_INSTEAD = Fraction(1, 100), Fraction(1, 10)
"""Pictures to be shown so briefly are shown longer, in seconds: that is what all browsers do."""

FINEST_CLOCK = 1_000_000
"""Ticks a second, where the durations have no coarser clock in common."""

START = Fraction(0)


class Animation(BaseSource):
    """An animated WebP, PNG or AVIF."""

    def __init__(self, path: Path, time_range: TimeRange = WHOLE) -> None:
        """Reads the first picture, and how long each is shown.

        Args:
            path: the file.
            time_range: the part that is wanted; the frames' times count from its first picture.

        Raises:
            InputError: it cannot be read, or holds no picture in that stretch.
        """
        self._path = path
        with open_picture(path) as picture:
            format_name, count = str(picture.format), count_pictures(picture)
            stated = islice(DURATIONS[format_name](path), count)
            self._durations = [each if each > TOO_SHORT else SHOWN_INSTEAD for each in stated]
        self._cut_off = count - len(self._durations) if time_range.end is None else 0
        *self._times, end = accumulate(self._durations, initial=START)
        self._wanted = [number for number, moment in enumerate(self._times) if time_range.holds(moment)]
        if not self._wanted:
            raise InputError(f"{path} has no picture at that time: it lasts {float(end):g} s")
        self._frames = self._read(PICTURES[format_name])
        first = next(self._frames, None)
        if first is None:
            raise InputError(self.decode_error or f"{path} holds no picture")
        check_size(first.image.shape, str(path))
        self._first = first
        self.info = VideoInfo(
            width_px=first.image.shape[1],
            height_px=first.image.shape[0],
            rate=1 / median_low(self._durations),
            time_base=_clock(self._durations),
            frame_count=len(self._wanted),
        )

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Closes the file."""
        self._frames.close()

    def _read(self, pictures: Callable[[Path], Generator[Pixels]]) -> Generator[Frame]:
        """The wanted frames, until the end or an error, which is noted as damage."""
        index, start = 0, self._times[self._wanted[0]]
        try:
            with closing(pictures(self._path)) as decoded:
                for number, pixels in enumerate(islice(decoded, self._wanted[-1] + 1)):
                    if number >= self._wanted[0]:
                        time_shown = self._times[number] - start
                        yield Frame(index, time_shown, pixels, time.monotonic(), duration=self._durations[number])
                        index += 1
        except InputError as error:
            self.decode_error = str(error)
        missing = len(self._wanted) - index + self._cut_off
        if missing:
            self.decode_error = (
                f"{self._path} is cut short or damaged: the last {missing} of its pictures cannot be read"
            )


def _clock(durations: list[Fraction]) -> Fraction:
    """The coarsest unit, in seconds, that all durations are multiples of."""
    return Fraction(1, min(math.lcm(*(each.denominator for each in durations)), FINEST_CLOCK))


def _by_pillow(path: Path) -> Generator[Pixels]:
    with open_picture(path) as picture:
        for number in range(count_pictures(picture)):
            picture.seek(number)
            yield pixels_of(picture)


def _by_ffmpeg(path: Path) -> Generator[Pixels]:
    with open_picture(path) as picture:
        try:
            with av.open(str(path.absolute()), format="apng") as file:
                for frame in file.decode(video=0):
                    # A palette may hold alpha, which its description does not say.
                    layout = "rgba" if has_alpha(frame) or frame.format.name == "pal8" else "rgb24"
                    yield as_seen(Image.fromarray(to_rgb(frame, matrix_of(frame), layout)), picture)
        except av.FFmpegError as error:
            raise InputError(f"{path} is damaged: {error.strerror}") from error


def _png_durations(path: Path) -> Iterator[Fraction]:
    """Of the chunks fcTL; Portable Network Graphics, third edition, 11.3.6."""
    with path.open("rb") as file:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            following = file.tell() + length + 4
            if kind == b"fcTL" and len(control := file.read(26)) == 26:
                numerator, denominator = struct.unpack_from(">HH", control, 20)
                yield Fraction(numerator, denominator or 100)
            file.seek(following)


def _webp_durations(path: Path) -> Iterator[Fraction]:
    """Of the chunks ANMF; RFC 9649, 2.7.1.1."""
    with path.open("rb") as file:
        file.seek(12)
        while len(header := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", header)
            following = file.tell() + length + length % 2
            if kind == b"ANMF" and len(control := file.read(16)) == 16:
                yield Fraction(int.from_bytes(control[12:15], "little"), 1000)
            file.seek(following)


def _avif_durations(path: Path) -> Iterator[Fraction]:
    """Of the track of colours; a picture for viewers that do not know of animations is a track of its own to FFmpeg."""
    try:
        with av.open(str(path.absolute())) as file:
            track = max(file.streams.video, key=lambda stream: stream.frames)
            for packet in file.demux(track):
                if packet.size:
                    yield (packet.duration or 0) * packet.time_base
    except av.FFmpegError as error:
        raise InputError(f"{path} is damaged: {error.strerror}") from error


PICTURES = {"PNG": _by_ffmpeg, "WEBP": _by_pillow, "AVIF": _by_pillow}
DURATIONS = {"PNG": _png_durations, "WEBP": _webp_durations, "AVIF": _avif_durations}
READ_HERE = tuple(PICTURES)
