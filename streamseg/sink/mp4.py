"""Puts right in a finished MP4 or MOV how long its pictures play.

FFmpeg's muxer (8.1) takes the pictures to end with the one before which it cut the last fragment. Where they are stored
out of order, a later one may lie before that cut: it is in the file, and players leave it out.
Boxes and their fields are of ISO/IEC 14496-12:2022.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

MUXERS = ("mp4", "mov")
"""FFmpeg's names of these containers."""

HEAD_BYTES, LONG_HEAD_BYTES = 8, 16
LONG = 1
"""Instead of a box's size: it follows, in 8 bytes."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box's contents lie in a file."""

    file: BinaryIO
    begin: int
    end: int

    def all(self, kind: bytes) -> Iterator[Box]:
        """The boxes of a kind within."""
        at = self.begin
        while at < self.end:
            size, head = self._read(at, 4), HEAD_BYTES
            if size == LONG:
                size, head = self._read(at + HEAD_BYTES, 8), LONG_HEAD_BYTES
            if self._read(at + 4, 4) == int.from_bytes(kind, "big"):
                yield Box(self.file, at + head, at + size)
            at += max(size, head)

    def first(self, *kinds: bytes) -> Box:
        """The first box of the first kind within, in that the first one of the next kind, and so on."""
        box = self
        for kind in kinds:
            box = next(box.all(kind))
        return box

    def number(self, offset: int, width: int) -> int:
        """A number of `width` bytes, `offset` bytes within."""
        return self._read(self.begin + offset, width)

    def put(self, offset: int, width: int, number: int) -> None:
        """Writes one."""
        self.file.seek(self.begin + offset)
        self.file.write(number.to_bytes(width, "big"))

    def by_version(self, narrow: int, wide: int) -> int:
        """One or the other, as times in this box have 4 bytes or 8."""
        return wide if self.number(0, 1) else narrow

    def _read(self, at: int, width: int) -> int:
        self.file.seek(at)
        return int.from_bytes(self.file.read(width), "big")


@dataclass(frozen=True, slots=True)
class Length:
    """A length that a box states, in ticks."""

    box: Box
    offset: int

    @property
    def ticks(self) -> int:
        """What it is."""
        return self.box.number(self.offset, self._width)

    def put(self, ticks: int) -> None:
        """Writes it, or the most that the box can say."""
        self.box.put(self.offset, self._width, min(ticks, (1 << 8 * self._width) - 1))

    @property
    def _width(self) -> int:
        return self.box.by_version(4, 8)


def state_end(path: Path, end: Fraction) -> None:
    """Makes the first track, which is the pictures', end at `end` seconds.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("r+b") as file:
        movie = Box(file, 0, file.seek(0, os.SEEK_END)).first(b"moov")
        movie_header, tracks = movie.first(b"mvhd"), list(movie.all(b"trak"))
        media_header = tracks[0].first(b"mdia", b"mdhd")
        ticks = math.ceil(end * _per_second(movie_header))

        *before, edit = _edits(tracks[0].first(b"edts", b"elst"))
        edit.put(ticks - sum(one.ticks for one in before))
        shown_in_media = Fraction(edit.ticks, _per_second(movie_header)) * _per_second(media_header)
        media = Length(media_header, media_header.by_version(16, 24))
        media.put(max(media.ticks, round(shown_in_media)))

        lengths = [Length(header, header.by_version(20, 28)) for header in (track.first(b"tkhd") for track in tracks)]
        lengths[0].put(ticks)
        Length(movie_header, movie_header.by_version(16, 24)).put(max(one.ticks for one in lengths))


def _per_second(header: Box) -> int:
    """The clock of a movie or of a track's media."""
    return header.number(header.by_version(12, 20), 4)


def _edits(box: Box) -> list[Length]:
    """An edit list's lengths: what is empty before the pictures, and the pictures."""
    width = box.by_version(4, 8)
    return [Length(box, 8 + n * (2 * width + 4)) for n in range(box.number(4, 4))]
