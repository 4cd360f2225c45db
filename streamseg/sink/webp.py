"""WebP, still and animated, with soft alpha.

libwebp packs the pictures. The file around them is ours: libwebp would keep all of an animation in memory to its end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image

from streamseg.errors import OutputError
from streamseg.image import Pixels

EXACT = {"lossless": True, "exact": True, "method": 1}
LOSSLESS = {"lossless": True, "method": 4}
LOSSY = {"quality": 80, "alpha_quality": 100, "method": 4}
"""What libwebp is asked for; alpha is lossless in all. Where nothing shows, only the first keeps the colours."""

ANIMATED, ALPHA = 0x02, 0x10
DISPOSED, NOT_BLENDED = 0x01, 0x02
"""RFC 9649, 2.7 and 2.7.1.1."""

LONGEST = 2**24 - 1
"""Thousandths of a second that a picture can be shown."""

LARGEST_FILE = 2**32 - 2**16
"""The size of a file has 32 bits."""


class WebpFile:
    """An animated WebP that is complete after every picture."""

    def __init__(self, file: BinaryIO, pixels: Pixels, lossless: bool) -> None:
        """Nothing is written yet.

        Args:
            file: open for writing, at its beginning.
            pixels: the first picture, for the size and the channels.
            lossless: colours are kept to the last level too, where they show.
        """
        self._file, self._options = file, LOSSLESS if lossless else LOSSY
        self._height, self._width = pixels.shape[:2]
        self._has_alpha, self._size = pixels.shape[2:] == (4,), 0

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Writes a picture that is shown for whole thousandths of a second.

        Raises:
            OSError: the disk is full.
            OutputError: the file would be too large for its format.
        """
        x, y, kept = _what_shows(pixels) if self._has_alpha else (0, 0, pixels)
        height, width = kept.shape[:2]
        place = b"".join(map(_three_bytes, (x // 2, y // 2, width - 1, height - 1, min(int(seconds * 1000), LONGEST))))
        image = b"".join(_image_chunks(_encoded(kept, self._options)))
        picture = _chunk(b"ANMF", place + bytes([DISPOSED | NOT_BLENDED]) + image)
        if not self._size:
            self._file.write(self._head())
            self._size = self._file.tell()
        if self._size + len(picture) > LARGEST_FILE:
            raise OutputError("an animated WebP can be no larger than 4 GB: give a shorter stretch, or x.webm")
        self._file.seek(0, SEEK_END)
        self._file.write(picture)
        self._size += len(picture)
        # What stands beyond the size is not looked at: until now, the file ended before this picture.
        self._file.seek(4)
        self._file.write(struct.pack("<I", self._size - 8))

    def close(self) -> None:
        """Nothing is held back."""

    def _head(self) -> bytes:
        flags = ANIMATED | (ALPHA if self._has_alpha else 0)
        shape = struct.pack("<I", flags) + _three_bytes(self._width - 1) + _three_bytes(self._height - 1)
        endless = struct.pack("<IH", 0, 0)
        return b"RIFF" + bytes(4) + b"WEBP" + _chunk(b"VP8X", shape) + _chunk(b"ANIM", endless)


def encode_webp(pixels: Pixels) -> bytes:
    """Encodes one picture without loss, with the colours where nothing shows, which OpenCV would drop."""
    return _encoded(pixels, EXACT)


def _encoded(pixels: Pixels, options: dict[str, Any]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "webp", **options)
    return file.getvalue()


def _what_shows(rgba: Pixels) -> tuple[int, int, Pixels]:
    """The part of a cut-out that is not transparent, and where it is, from the left and from above; both even."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(rgba[..., 3]))
    left, top = x - x % 2, y - y % 2
    right, bottom = max(x + width, left + 1), max(y + height, top + 1)
    return left, top, np.ascontiguousarray(rgba[top:bottom, left:right])


def _image_chunks(still: bytes) -> Iterator[bytes]:
    """The chunks of a still picture that hold its pixels."""
    place = 12
    while place < len(still):
        kind, length = struct.unpack_from("<4sI", still, place)
        following = place + 8 + length + length % 2
        if kind in (b"ALPH", b"VP8 ", b"VP8L"):
            yield still[place:following]
        place = following


def _chunk(kind: bytes, data: bytes) -> bytes:
    """RFC 9649, 2.3."""
    return struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)


def _three_bytes(number: int) -> bytes:
    return number.to_bytes(3, "little")
