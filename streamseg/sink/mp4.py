"""Correction of the video duration in the headers of a finished MP4 or MOV.

FFmpeg's muxer (8.1) ends the video at the frame before which it cut the last fragment. Where B-frames are stored out of
presentation order, a later frame may lie before that cut: it is in the file, and players leave it out.
Boxes and fields are those of ISO/IEC 14496-12:2022.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from streamseg.media.boxes import Box

MUXERS = ("mp4", "mov")
"""FFmpeg's names of these containers."""


@dataclass(frozen=True, slots=True)
class Length:
    """A duration field of a box, in ticks."""

    box: Box
    offset: int

    @property
    def ticks(self) -> int:
        """The duration that the box states."""
        return self.box.number(self.offset, self._width)

    def put(self, ticks: int) -> None:
        """Write the duration, limited to the largest that the field holds."""
        self.box.put(self.offset, self._width, min(ticks, (1 << 8 * self._width) - 1))

    @property
    def _width(self) -> int:
        return self.box.by_version(4, 8)


def state_end(path: Path, end: Fraction) -> None:
    """Set the end of the first track, the video, to `end` seconds in all headers that state it.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("r+b") as file:
        movie = Box(file, 0, file.seek(0, os.SEEK_END)).first(b"moov")
        movie_header, tracks = movie.first(b"mvhd"), list(movie.all(b"trak"))
        media_header = tracks[0].first(b"mdia", b"mdhd")
        ticks = math.ceil(end * _timescale(movie_header))

        *before, edit = _edit_durations(tracks[0].first(b"edts", b"elst"))
        edit.put(ticks - sum(one.ticks for one in before))
        presented_ticks = Fraction(edit.ticks, _timescale(movie_header)) * _timescale(media_header)
        media = Length(media_header, media_header.by_version(16, 24))
        media.put(max(media.ticks, round(presented_ticks)))

        lengths = [Length(header, header.by_version(20, 28)) for header in (track.first(b"tkhd") for track in tracks)]
        lengths[0].put(ticks)
        Length(movie_header, movie_header.by_version(16, 24)).put(max(one.ticks for one in lengths))


def _timescale(header: Box) -> int:
    """Return the ticks per second of a movie or media header."""
    return header.number(header.by_version(12, 20), 4)


def _edit_durations(box: Box) -> list[Length]:
    """Return the durations in an edit list: an empty edit before the video, if any, and the video."""
    width = box.by_version(4, 8)
    return [Length(box, 8 + n * (2 * width + 4)) for n in range(box.number(4, 4))]
