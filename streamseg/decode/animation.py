"""Reader of animated WebP, PNG and AVIF: composed frames with alpha, at exact times.

Animated GIF is read by FFmpeg like a video. FFmpeg decodes neither animated WebP nor alpha in AVIF; Pillow blends
half-transparent frames of animated PNG wrongly. So each format goes to the library that decodes it right. Durations are
parsed from the file, as both libraries would round them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from fractions import Fraction
from itertools import accumulate, islice
from statistics import median_low

import av
from PIL import Image

from streamseg.decode.base import BaseSource, check_size
from streamseg.decode.images import count_frames, open_image, pixels_of, to_upright_srgb
from streamseg.decode.moving import avif_durations, is_cut_short, png_durations, webp_durations
from streamseg.decode.pixels import has_alpha, matrix_of
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.image import Pixels
from streamseg.media.storage import AnyPath, for_ffmpeg
from streamseg.yuv import RgbImage, to_rgb

MIN_DURATION_SECONDS, REPLACEMENT_SECONDS = Fraction(1, 100), Fraction(1, 10)
"""Frames of up to 10 ms are shown for 100 ms, as in all browsers."""

MAX_TICKS_PER_SECOND = 1_000_000
"""Finest time base, for durations that have no coarser one in common."""

ZERO = Fraction(0)


class Animation(BaseSource):
    """Frames of an animated WebP, PNG or AVIF file."""

    def __init__(self, path: AnyPath, time_range: TimeRange = WHOLE) -> None:
        """Decode the first frame and parse the durations of all.

        Args:
            path: the file.
            time_range: the part to read; pts count from its first frame.

        Raises:
            InputError: the file cannot be read, or has no frame in `time_range`.
        """
        self._path = path
        with open_image(path) as image:
            format_name, count = str(image.format), count_frames(image)
            stated = islice(DURATIONS[format_name](path), count)
            self._durations = [
                duration if duration > MIN_DURATION_SECONDS else REPLACEMENT_SECONDS for duration in stated
            ]
        *self._start_times, end = accumulate(self._durations, initial=ZERO)
        reaches_end = time_range.end is None or time_range.end > end
        self._truncated_count = count - len(self._durations) if reaches_end else 0
        self._is_cut_short = reaches_end and is_cut_short(path)
        self._indices = [index for index, start in enumerate(self._start_times) if time_range.holds(start)]
        if not self._indices:
            raise InputError(f"{path} has no frame at that time: it lasts {float(end):g} s")
        self._frames = self._read(DECODERS[format_name])
        first = next(self._frames, None)
        if first is None:
            raise InputError(self.decode_error or f"{path} holds no frame")
        check_size(first.image.shape, str(path))
        self._first = first
        self.info = VideoInfo(
            width_px=first.image.shape[1],
            height_px=first.image.shape[0],
            rate=1 / median_low(self._durations),
            time_base=_common_time_base(self._durations),
            frame_count=len(self._indices),
        )

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Close the file."""
        self._frames.close()

    def _read(self, decode: Callable[[AnyPath], Generator[Pixels]]) -> Generator[Frame]:
        """Yield the frames of the time range up to the end or a decoding error, and set `decode_error`."""
        index, start = 0, self._start_times[self._indices[0]]
        try:
            with closing(decode(self._path)) as images:
                for number, image in enumerate(islice(images, self._indices[-1] + 1)):
                    if number >= self._indices[0]:
                        pts = self._start_times[number] - start
                        yield Frame(index, pts, RgbImage(image), time.monotonic(), duration=self._durations[number])
                        index += 1
        except InputError as error:
            self.decode_error = str(error)
        missing = len(self._indices) - index + self._truncated_count
        if missing:
            self.decode_error = f"{self._path} is cut short or damaged: the last {missing} of its frames cannot be read"
        elif self._is_cut_short:  # The header of a WebP does not state a number of frames.
            kept = counted(len(self._start_times), "frame")
            self.decode_error = f"{self._path} is cut short: what followed its first {kept} is missing"


def _common_time_base(durations: list[Fraction]) -> Fraction:
    """Return the coarsest time base, in seconds, that all durations are multiples of."""
    return Fraction(1, min(math.lcm(*(each.denominator for each in durations)), MAX_TICKS_PER_SECOND))


def _decode_with_pillow(path: AnyPath) -> Generator[Pixels]:
    """Yield the frames as upright sRGB `(H, W, 3)` or `(H, W, 4)`."""
    with open_image(path) as image:
        for number in range(count_frames(image)):
            image.seek(number)
            yield pixels_of(image)


def _decode_with_ffmpeg(path: AnyPath) -> Generator[Pixels]:
    """Yield the frames as upright sRGB `(H, W, 3)` or `(H, W, 4)`; raise InputError at damage."""
    with open_image(path) as image:
        try:
            with av.open(for_ffmpeg(path), "r", format="apng") as file:
                for frame in file.decode(video=0):
                    # A palette may hold alpha, though its pixel format has no alpha component.
                    layout = "rgba" if has_alpha(frame) or frame.format.name == "pal8" else "rgb24"
                    yield to_upright_srgb(Image.fromarray(to_rgb(frame, matrix_of(frame), layout)), image)
        except av.FFmpegError as error:
            raise InputError(f"{path} is damaged: {error.strerror}") from error


DECODERS = {"PNG": _decode_with_ffmpeg, "WEBP": _decode_with_pillow, "AVIF": _decode_with_pillow}
DURATIONS = {"PNG": png_durations, "WEBP": webp_durations, "AVIF": avif_durations}
ANIMATION_FORMATS = tuple(DECODERS)
