"""WebP writer, still and animated, with 8-bit alpha; an animation is complete after every frame.

libwebp encodes the images and this module writes the file: libwebp would keep a whole animation in memory.
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
"""Options of libwebp; alpha is lossless in all. Only `EXACT` keeps the colours of transparent pixels."""

ANIMATED, ALPHA = 0x02, 0x10
DISPOSED, NOT_BLENDED = 0x01, 0x02
"""Flags of the chunks VP8X and ANMF; RFC 9649, 2.7 and 2.7.1.1."""

MAX_DURATION_MS = 2**24 - 1
"""Longest duration of a frame: 24 bits."""

MAX_FILE_BYTES = 2**32 - 2**16
"""Largest file: its size is stored in 32 bits."""


class WebpFile:
    """Writer of an animated WebP file that is complete after every frame."""

    def __init__(self, file: BinaryIO, pixels: Pixels, lossless: bool) -> None:
        """Set the size and the options; nothing is written yet.

        Args:
            file: open for writing, at its beginning.
            pixels: the first image, which sets the size and the channels.
            lossless: compress the colours of visible pixels without loss.
        """
        self._file, self._options = file, LOSSLESS if lossless else LOSSY
        self._height, self._width = pixels.shape[:2]
        self._has_alpha, self._size = pixels.shape[2:] == (4,), 0

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Write an image with its duration in seconds, truncated to milliseconds.

        Raises:
            OSError: the disk is full.
            OutputError: the file would be too large for its format.
        """
        x, y, visible = _crop_to_visible(pixels) if self._has_alpha else (0, 0, pixels)
        height, width = visible.shape[:2]
        header = b"".join(
            map(_uint24, (x // 2, y // 2, width - 1, height - 1, min(int(seconds * 1000), MAX_DURATION_MS)))
        )
        image = b"".join(_image_chunks(_encode(visible, self._options)))
        frame = _chunk(b"ANMF", header + bytes([DISPOSED | NOT_BLENDED]) + image)
        if not self._size:
            self._file.write(self._header())
            self._size = self._file.tell()
        if self._size + len(frame) > MAX_FILE_BYTES:
            raise OutputError("an animated WebP can be no larger than 4 GB: give a shorter stretch, or x.webm")
        self._file.seek(0, SEEK_END)
        self._file.write(frame)
        self._size += len(frame)
        # Readers stop at the stated size, so the file ended before this frame until now.
        self._file.seek(4)
        self._file.write(struct.pack("<I", self._size - 8))

    def close(self) -> None:
        """Do nothing: every image is already written."""

    def _header(self) -> bytes:
        flags = ANIMATED | (ALPHA if self._has_alpha else 0)
        shape = struct.pack("<I", flags) + _uint24(self._width - 1) + _uint24(self._height - 1)
        endless = struct.pack("<IH", 0, 0)
        return b"RIFF" + bytes(4) + b"WEBP" + _chunk(b"VP8X", shape) + _chunk(b"ANIM", endless)


def encode_webp(pixels: Pixels) -> bytes:
    """Encode one image losslessly, with the colours of transparent pixels, which OpenCV would drop."""
    return _encode(pixels, EXACT)


def _encode(pixels: Pixels, options: dict[str, Any]) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "webp", **options)
    return file.getvalue()


def _crop_to_visible(rgba: Pixels) -> tuple[int, int, Pixels]:
    """Crop RGBA `(H, W, 4)` to its visible part; return its left and top, both even, in pixels, and the part."""
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(rgba[..., 3]))
    left, top = x - x % 2, y - y % 2
    right, bottom = max(x + width, left + 1), max(y + height, top + 1)
    return left, top, np.ascontiguousarray(rgba[top:bottom, left:right])


def _image_chunks(still: bytes) -> Iterator[bytes]:
    """Yield the chunks of a still WebP file that hold its pixels."""
    place = 12
    while place < len(still):
        kind, length = struct.unpack_from("<4sI", still, place)
        following = place + 8 + length + length % 2
        if kind in (b"ALPH", b"VP8 ", b"VP8L"):
            yield still[place:following]
        place = following


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Build a chunk; RFC 9649, 2.3."""
    return struct.pack("<4sI", kind, len(data)) + data + bytes(len(data) % 2)


def _uint24(number: int) -> bytes:
    return number.to_bytes(3, "little")
