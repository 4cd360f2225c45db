"""APNG writer: lossless animated PNG that is complete after every frame.

FFmpeg encodes the images and this module writes the file: FFmpeg's muxer needs the duration of the last frame before it
writes the first, and leaves nothing that plays when it is killed.
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
"""Number of channels -> PNG's colour type."""

OPTIONS = {"pred": "mixed", "compression_level": "4"}
"""Encoder options that take a third of the default's time, for 3 % more bytes."""

MAX_RATIO_TERM = 0xFFFF
"""Largest numerator or denominator of a duration in seconds."""


class ApngFile:
    """Writer of an APNG file that is complete after every frame."""

    def __init__(self, file: BinaryIO, pixels: Pixels) -> None:
        """Open the encoder; nothing is written yet.

        Args:
            file: open for writing, at its beginning.
            pixels: the first image, which sets the size and the channels.
        """
        self._height, self._width = pixels.shape[:2]
        self._channels = pixels.shape[2] if pixels.ndim == 3 else 1
        self._file, self._count, self._encoded_count = file, 0, 0
        self._durations: deque[Fraction] = deque()
        self._encoder: VideoCodecContext = av.CodecContext.create("apng", "w")
        self._encoder.width, self._encoder.height = self._width, self._height
        self._encoder.pix_fmt, self._encoder.time_base = CHANNELS[self._channels], Fraction(1)
        self._encoder.options = OPTIONS

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Encode an image with its duration in seconds; the encoder holds one image back.

        Raises:
            OSError: the disk is full.
        """
        if self._channels == 4:  # Colours of transparent pixels would be most of the file.
            pixels = np.where(pixels[..., 3:], pixels, np.uint8(0))
        frame = av.VideoFrame.from_ndarray(pixels, CHANNELS[self._channels])
        frame.pts, frame.time_base = self._encoded_count, self._encoder.time_base
        self._encoded_count += 1
        self._durations.append(seconds)
        for packet in self._encoder.encode(frame):
            self._write(bytes(packet))

    def close(self) -> None:
        """Write the image that the encoder holds back.

        Raises:
            OSError: the disk is full.
        """
        for packet in self._encoder.encode(None):
            self._write(bytes(packet))

    def _write(self, packet: bytes) -> None:
        """Write an image's chunks with its duration, then the end of the file, and only then the new frame count."""
        control, image = packet[8:34], packet[38:]
        chunks = _chunk(
            b"fcTL", control[:20] + struct.pack(">HH", *_duration_ratio(self._durations.popleft())) + control[24:]
        )
        end = _chunk(b"IEND")
        if not self._count:
            self._file.write(self._header(1) + chunks + image + end)
        else:
            self._file.seek(-len(end), 2)
            self._file.write(chunks + image + end)
            self._file.seek(0)
            self._file.write(self._header(self._count + 1))
        self._count += 1

    def _header(self, count: int) -> bytes:
        shape = struct.pack(">IIBBBBB", self._width, self._height, 8, COLOUR_TYPES[self._channels], 0, 0, 0)
        endless = struct.pack(">II", count, 0)
        return SIGNATURE + _chunk(b"IHDR", shape) + _chunk(b"sRGB", b"\0") + _chunk(b"acTL", endless)


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    """Build a chunk; Portable Network Graphics, third edition, 5.3."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _duration_ratio(seconds: Fraction) -> tuple[int, int]:
    """Return a duration as the nearest ratio of two 16-bit numbers."""
    near = min(seconds, Fraction(MAX_RATIO_TERM)).limit_denominator(
        max(1, int(MAX_RATIO_TERM / max(seconds, Fraction(1))))
    )
    return near.numerator, near.denominator
