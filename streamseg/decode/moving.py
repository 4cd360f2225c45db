"""Parsers of animated PNG, WebP, AVIF and GIF: frame durations, and truncation of files that are cut short."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from itertools import islice
from typing import BinaryIO

import av

from streamseg.errors import InputError
from streamseg.media.boxes import Box
from streamseg.media.storage import AnyPath, for_ffmpeg

MAX_PADDED_BYTES = 2**28
"""Largest stated size to which a truncated file is padded: libraries hold it in memory more than once."""


def png_durations(path: AnyPath) -> Iterator[Fraction]:
    """Yield the durations, in seconds, of the fcTL chunks; Portable Network Graphics, third edition, 11.3.6."""
    with path.open("rb") as file:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            following = file.tell() + length + 4
            if kind == b"fcTL" and len(control := file.read(26)) == 26:
                numerator, denominator = struct.unpack_from(">HH", control, 20)
                yield Fraction(numerator, denominator or 100)
            file.seek(following)


def webp_durations(path: AnyPath) -> Iterator[Fraction]:
    """Yield the durations, in seconds, of the complete ANMF chunks; RFC 9649, 2.7.1.1."""
    with path.open("rb") as file:
        for kind, begin, _ in _webp_chunks(file):
            if kind == b"ANMF":
                file.seek(begin + 12)
                yield Fraction(int.from_bytes(file.read(3), "little"), 1000)


def avif_durations(path: AnyPath) -> Iterator[Fraction]:
    """Yield the durations, in seconds, of the frames that are complete in both colour and alpha.

    FFmpeg presents the still image for viewers without animation as another, shorter track.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with av.open(for_ffmpeg(path), "r") as file:
            count = max(stream.frames for stream in file.streams.video)
            colour, *others = [stream for stream in file.streams.video if stream.frames == count]
            durations: list[Fraction] = []
            complete = dict.fromkeys([colour.index, *(stream.index for stream in others)], 0)
            for packet in file.demux([colour, *others]):
                if packet.size and not packet.is_corrupt:
                    complete[packet.stream_index] += 1
                    if packet.stream_index == colour.index:
                        durations.append((packet.duration or 0) * packet.time_base)
            yield from islice(durations, min(complete.values()))
    except av.FFmpegError as error:
        raise InputError(f"{path} is damaged: {error.strerror}") from error


def is_cut_short(path: AnyPath) -> bool:
    """Whether a WebP or animated AVIF is shorter than its header states."""
    with path.open("rb") as file:
        return _stated_bytes(file) > _file_bytes(file)


def gif_is_cut_short(path: AnyPath) -> bool:
    """Whether a GIF ends within a block, which FFmpeg does not report; GIF89a, sections 15 to 24."""
    with path.open("rb") as file:
        file.seek(10)
        _skip_colour_table(file, file.read(1))
        file.seek(2, os.SEEK_CUR)
        while (kind := file.read(1)) in (b"\x21", b"\x2c"):
            if kind == b"\x2c":
                file.seek(8, os.SEEK_CUR)
                _skip_colour_table(file, file.read(1))
            file.seek(1, os.SEEK_CUR)  # The extension's label, or the image's LZW code size.
            while (length := file.read(1)) not in (b"", b"\0"):
                file.seek(length[0], os.SEEK_CUR)
            if not length:
                return True
        return False


def repair_truncated(path: AnyPath) -> BytesIO | None:
    """Return a truncated animated WebP or AVIF in a form that decoders accept, or None for any other file.

    A WebP is cut after its last complete frame. An AVIF lists its frames in its header: missing data becomes zeros.
    """
    with path.open("rb") as file:
        stated, signature = _stated_bytes(file), _read_signature(file)
        if stated <= _file_bytes(file):
            return None
        if signature.startswith(b"RIFF"):
            ends = [end for kind, _, end in _webp_chunks(file) if kind == b"ANMF"]
            if not ends:
                return None
            file.seek(0)
            kept = file.read(ends[-1])
            return BytesIO(kept[:4] + struct.pack("<I", len(kept) - 8) + kept[8:])
        if stated > MAX_PADDED_BYTES or next(avif_durations(path), None) is None:
            return None
        file.seek(0)
        return BytesIO(file.read().ljust(stated, b"\0"))


def _read_signature(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(12)


def _file_bytes(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _stated_bytes(file: BinaryIO) -> int:
    """Return the size that the header of a WebP or animated AVIF states, in bytes; 0 for any other file."""
    signature = _read_signature(file)
    if signature.startswith(b"RIFF") and signature[8:] == b"WEBP":
        return 8 + int.from_bytes(signature[4:8], "little")
    if signature[4:] == b"ftypavis":
        return max((box.end for _, box in Box(file, 0, _file_bytes(file)).boxes()), default=0)
    return 0


def _skip_colour_table(file: BinaryIO, flags: bytes) -> None:
    """Skip the colour table, if the flags announce one, in the size that they state."""
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)


def _webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, and the begin and end of the data in bytes, of each complete chunk; RFC 9649, 2.3."""
    size, at = _file_bytes(file), 12
    while True:
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return
        kind, length = struct.unpack("<4sI", header)
        begin, at = at + 8, at + 8 + length + length % 2
        if at > size:
            return
        yield kind, begin, at
