"""Animated WebP, PNG and AVIF: whole pictures with their alpha, at exact times.

FFmpeg reads animated GIF by itself. Of these it knows no animated WebP and no alpha in AVIF; Pillow blends animated PNG
wrongly where it is half transparent. So each is decoded by the one that does it right, and the times are taken from the
file itself, which both would round.
"""

from __future__ import annotations

import math
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
from streamseg.decode.moving import avif_durations, is_cut_short, png_durations, webp_durations
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
            InputError: it cannot be read, or holds no picture in that time_range.
        """
        self._path = path
        with open_picture(path) as picture:
            format_name, count = str(picture.format), count_pictures(picture)
            stated = islice(DURATIONS[format_name](path), count)
            self._durations = [each if each > TOO_SHORT else SHOWN_INSTEAD for each in stated]
        *self._times, end = accumulate(self._durations, initial=START)
        wants_more = time_range.end is None or time_range.end > end
        self._cut_off = count - len(self._durations) if wants_more else 0
        self._is_cut_short = wants_more and is_cut_short(path)
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
        elif self._is_cut_short:  # A WebP does not say how many pictures it had.
            self.decode_error = (
                f"{self._path} is cut short: what followed its first {len(self._times)} pictures is missing"
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


PICTURES = {"PNG": _by_ffmpeg, "WEBP": _by_pillow, "AVIF": _by_pillow}
DURATIONS = {"PNG": png_durations, "WEBP": webp_durations, "AVIF": avif_durations}
READ_HERE = tuple(PICTURES)
