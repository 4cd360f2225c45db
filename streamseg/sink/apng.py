"""APNG: every level of what shows is kept.

FFmpeg packs the pictures. The file around them is ours: FFmpeg's muxer has to be told how long the last picture is
shown before the first one is written, and leaves nothing that plays when it is killed.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from streamseg.image import Pixels
from streamseg.yuv import CHANNELS

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""Channels of pixels -> what PNG calls them."""

OPTIONS = {"pred": "mixed", "compression_level": "4"}
"""A third of the default's time, for 3 % more bytes."""

LARGEST = 0xFFFF
"""Of the two numbers whose ratio is a duration."""


class ApngFile:
    """An APNG that is complete after every picture."""

    def __init__(self, file: BinaryIO, pixels: Pixels) -> None:
        """Nothing is written yet.

        Args:
            file: open for writing, at its beginning.
            pixels: the first picture, for the size and the channels.
        """
        self._height, self._width = pixels.shape[:2]
        self._channels = pixels.shape[2] if pixels.ndim == 3 else 1
        self._file, self._count, self._given = file, 0, 0
        self._seconds: deque[Fraction] = deque()
        self._encoder: VideoCodecContext = av.CodecContext.create("apng", "w")
        self._encoder.width, self._encoder.height = self._width, self._height
        self._encoder.pix_fmt, self._encoder.time_base = CHANNELS[self._channels], Fraction(1)
        self._encoder.options = OPTIONS

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Takes a picture and how long it is shown; one picture is held back.

        Raises:
            OSError: the disk is full.
        """
        if self._channels == 4:  # Colours where nothing shows would be most of the file.
            pixels = np.where(pixels[..., 3:], pixels, np.uint8(0))
        picture = av.VideoFrame.from_ndarray(pixels, CHANNELS[self._channels])
        picture.pts, picture.time_base = self._given, self._encoder.time_base
        self._given += 1
        self._seconds.append(seconds)
        for packet in self._encoder.encode(picture):
            self._write(bytes(packet))

    def close(self) -> None:
        """Writes the picture that was held back.

        Raises:
            OSError: the disk is full.
        """
        for packet in self._encoder.encode(None):
            self._write(bytes(packet))

    def _write(self, packet: bytes) -> None:
        """The picture's chunks, with its duration in the first of them, then the end, and only then the count."""
        control, image = packet[8:34], packet[38:]
        chunks = _chunk(b"fcTL", control[:20] + struct.pack(">HH", *_ratio(self._seconds.popleft())) + control[24:])
        end = _chunk(b"IEND")
        if not self._count:
            self._file.write(self._head(1) + chunks + image + end)
        else:
            self._file.seek(-len(end), 2)
            self._file.write(chunks + image + end)
            self._file.seek(0)
            self._file.write(self._head(self._count + 1))
        self._count += 1

    def _head(self, count: int) -> bytes:
        shape = struct.pack(">IIBBBBB", self._width, self._height, 8, COLOUR_TYPES[self._channels], 0, 0, 0)
        endless = struct.pack(">II", count, 0)
        return SIGNATURE + _chunk(b"IHDR", shape) + _chunk(b"sRGB", b"\0") + _chunk(b"acTL", endless)


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Portable Network Graphics, third edition, 5.3."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _ratio(seconds: Fraction) -> tuple[int, int]:
    """The nearest that two numbers of 16 bits can say."""
    near = min(seconds, Fraction(LARGEST)).limit_denominator(max(1, int(LARGEST / max(seconds, Fraction(1)))))
    return near.numerator, near.denominator
