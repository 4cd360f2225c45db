"""GIF writer: 256 colours per frame, dithered, with binary alpha; complete after every frame.

FFmpeg chooses the palettes and encodes the images, and this module writes the file: FFmpeg's muxer needs the duration
of the last frame before it writes the first.
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

OPAQUE_FROM = 128
"""Smallest alpha of a pixel that is stored as opaque."""

LOOP_EXTENSION = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
MAX_DURATION_TICKS = 0xFFFF
"""Longest duration of a frame, in hundredths of a second."""

CONTROL_EXTENSION = b"\x21\xf9\x04"
TRAILER = b"\x3b"
"""GIF89a, sections 23 and 27; `LOOP_EXTENSION` is the one that makes all programs repeat a GIF."""


class GifFile:
    """Writer of a GIF file that is complete after every frame."""

    def __init__(self, file: BinaryIO, pixels: Pixels, loops: bool = True) -> None:
        """Open the encoder; nothing is written yet.

        Args:
            file: open for writing, at its beginning.
            pixels: the first image, which sets the size and the channels.
            loops: repeat the animation forever.
        """
        height, width = pixels.shape[:2]
        self._file, self._loops, self._count = file, loops, 0
        self._palette_graph = _build_palette_graph(width, height, has_alpha=pixels.shape[2:] == (4,))
        self._encoder: VideoCodecContext = av.CodecContext.create("gif", "w")
        self._encoder.width, self._encoder.height, self._encoder.pix_fmt = width, height, "pal8"
        self._encoder.time_base = Fraction(1, 100)

    def add(self, pixels: Pixels, seconds: Fraction) -> None:
        """Write an image with its duration in seconds, truncated to hundredths.

        Raises:
            OSError: the disk is full.
        """
        packet = self._encode(pixels)
        if self._count:
            self._file.seek(-len(TRAILER), SEEK_CUR)  # Overwrite the trailer.
        else:
            size = _header_bytes(packet)
            self._file.write(packet[:size] + (LOOP_EXTENSION if self._loops else b""))
            packet = packet[size:]
        flags, image = packet[len(CONTROL_EXTENSION)], packet[len(CONTROL_EXTENSION) + 3 :]
        self._file.write(
            CONTROL_EXTENSION + struct.pack("<BH", flags, min(int(seconds * 100), MAX_DURATION_TICKS)) + image + TRAILER
        )
        self._count += 1

    def close(self) -> None:
        """Do nothing: every image is already written."""

    def _encode(self, pixels: Pixels) -> bytes:
        frame = av.VideoFrame.from_ndarray(_with_binary_alpha(pixels), "rgba")
        frame.pts, frame.time_base = self._count, self._encoder.time_base
        self._palette_graph.vpush(frame)
        (packet,) = self._encoder.encode(self._palette_graph.vpull())
        return bytes(packet)


def encode_gif(pixels: Pixels) -> bytes:
    """Encode one image, `(H, W, 3)`, `(H, W, 4)` or grey `(H, W)`, as a GIF file."""
    file = BytesIO()
    GifFile(file, pixels, loops=False).add(pixels, Fraction(0))
    return file.getvalue()


def _with_binary_alpha(pixels: Pixels) -> Pixels:
    """Convert any pixels to RGBA with alpha 0 or 255; transparent pixels become black, to save palette entries."""
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGBA).astype(np.uint8, copy=False)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_RGB2RGBA).astype(np.uint8, copy=False)
    binary = pixels.copy()
    is_opaque = binary[..., 3] >= OPAQUE_FROM
    binary[~is_opaque] = 0
    binary[is_opaque, 3] = 255
    return binary


def _build_palette_graph(width: int, height: int, has_alpha: bool) -> Graph:
    """Build a graph that reduces each image to its own 256 colours, with ordered dither, which does not flicker."""
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


def _header_bytes(packet: bytes) -> int:
    """Return the bytes of header and global colour table before the first image; GIF89a, sections 17 to 19."""
    return 13 + (3 << (packet[10] & 7) + 1 if packet[10] & 0x80 else 0)
