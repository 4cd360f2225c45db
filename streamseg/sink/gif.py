"""GIF: 256 colours a picture, dithered, each pixel whole or transparent.

FFmpeg chooses the colours and packs the pictures. The file around them is ours: FFmpeg's muxer has to be told how long
the last picture is shown before the first one is written.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from io import SEEK_CUR, BytesIO
from typing import BinaryIO

import av
import cv2
import numpy as np
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext

from streamseg.image import Pixels

WHOLE_FROM = 128
"""Alpha from which on a pixel is there."""

FOREVER = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
LONGEST = 0xFFFF
"""Hundredths of a second that a picture can be shown."""

CONTROL = b"\x21\xf9\x04"
END = b"\x3b"
"""GIF89a, sections 23 and 27, and the extension by which all programs repeat a GIF."""


class GifFile:
    """A GIF that is complete after every picture."""

    def __init__(self, file: BinaryIO, pixels: Pixels, loops: bool = True) -> None:
        """Nothing is written yet.

        Args:
            file: open for writing, at its beginning.
            pixels: the first picture, for the size and the channels.
            loops: it begins again at its end, for ever.
        """
        height, width = pixels.shape[:2]
        self._file, self._loops, self._count = file, loops, 0
        self._colours = _reduction(width, height, has_alpha=pixels.shape[2:] == (4,))
        self._encoder: VideoCodecContext = av.CodecContext.create("gif", "w")
        self._encoder.width, self._encoder.height, self._encoder.pix_fmt = width, height, "pal8"
        self._encoder.time_base = Fraction(1, 100)

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Writes a picture that is shown for whole hundredths of a second.

        Raises:
            OSError: the disk is full.
        """
        packet = self._packed(pixels)
        if self._count:
            self._file.seek(-len(END), SEEK_CUR)  # The next picture takes the place of the end.
        else:
            size = _head_size(packet)
            self._file.write(packet[:size] + (FOREVER if self._loops else b""))
            packet = packet[size:]
        flags, image = packet[len(CONTROL)], packet[len(CONTROL) + 3 :]
        self._file.write(CONTROL + struct.pack("<BH", flags, min(int(seconds * 100), LONGEST)) + image + END)
        self._count += 1

    def close(self) -> None:
        """Nothing is held back."""

    def _packed(self, pixels: Pixels) -> bytes:
        picture = av.VideoFrame.from_ndarray(_whole_or_gone(pixels), "rgba")
        picture.pts, picture.time_base = self._count, self._encoder.time_base
        self._colours.vpush(picture)
        (packet,) = self._encoder.encode(self._colours.vpull())
        return bytes(packet)


def encode_gif(pixels: Pixels) -> bytes:
    """Encodes one picture: RGB, RGBA or grey."""
    file = BytesIO()
    GifFile(file, pixels, loops=False).add(pixels, Fraction(0))
    return file.getvalue()


def _whole_or_gone(pixels: Pixels) -> Pixels:
    """Pixels of any kind as RGBA with alpha of one level; what is gone has no colour, so that it takes none of 256."""
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGBA).astype(np.uint8, copy=False)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA).astype(np.uint8, copy=False)
    kept = pixels.copy()
    there = kept[..., 3] >= WHOLE_FROM
    kept[~there] = 0
    kept[there, 3] = 255
    return kept


def _reduction(width: int, height: int, has_alpha: bool) -> Graph:
    """A picture in, the same in its own best 256 colours out; the dither is one that stands still where pictures do."""
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=av.VideoFormat("rgba"), time_base=Fraction(1, 100))
    both = graph.add("split")
    colours = graph.add("palettegen", f"stats_mode=single:reserve_transparent={int(has_alpha)}")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3")
    source.link_to(both)
    both.link_to(colours, 0, 0)
    both.link_to(use, 1, 0)
    colours.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _head_size(packet: bytes) -> int:
    """Length of what stands before the first picture; GIF89a, sections 17 to 19."""
    return 13 + (3 << (packet[10] & 7) + 1 if packet[10] & 0x80 else 0)
