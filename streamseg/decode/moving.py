"""Animated pictures as their files store them: how long each is shown, and what is left of a file that is cut short."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import av

from streamseg.errors import InputError

MOST_PADDED_BYTES = 2**28
"""What a cut file may say that it was long; libraries hold it whole, and more than once."""


def png_durations(path: Path) -> Iterator[Fraction]:
    """Of the chunks fcTL; Portable Network Graphics, third edition, 11.3.6."""
    with path.open("rb") as file:
        file.seek(8)
        while len(header := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", header)
            following = file.tell() + length + 4
            if kind == b"fcTL" and len(control := file.read(26)) == 26:
                numerator, denominator = struct.unpack_from(">HH", control, 20)
                yield Fraction(numerator, denominator or 100)
            file.seek(following)


def webp_durations(path: Path) -> Iterator[Fraction]:
    """Of the chunks ANMF that are whole; RFC 9649, 2.7.1.1."""
    with path.open("rb") as file:
        for kind, begin, _ in _webp_chunks(file):
            if kind == b"ANMF":
                file.seek(begin + 12)
                yield Fraction(int.from_bytes(file.read(3), "little"), 1000)


def avif_durations(path: Path) -> Iterator[Fraction]:
    """Of the pictures that are whole, in colours and alpha.

    A picture for viewers that do not know of animations is a track of its own to FFmpeg.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with av.open(str(path.absolute())) as file:
            count = max(stream.frames for stream in file.streams.video)
            colours, *others = [stream for stream in file.streams.video if stream.frames == count]
            durations: list[Fraction] = []
            whole = dict.fromkeys([colours.index, *(stream.index for stream in others)], 0)
            for packet in file.demux([colours, *others]):
                if packet.size and not packet.is_corrupt:
                    whole[packet.stream_index] += 1
                    if packet.stream_index == colours.index:
                        durations.append((packet.duration or 0) * packet.time_base)
            yield from islice(durations, min(whole.values()))
    except av.FFmpegError as error:
        raise InputError(f"{path} is damaged: {error.strerror}") from error


def is_cut_short(path: Path) -> bool:
    """Whether a WebP or AVIF ends before it says that it does."""
    with path.open("rb") as file:
        return _stated_bytes(file) > _bytes(file)


def gif_is_cut_short(path: Path) -> bool:
    """Whether a GIF ends within a block, which FFmpeg does not tell; GIF89a, sections 15 to 24."""
    with path.open("rb") as file:
        file.seek(10)
        _skip_colours(file, file.read(1))
        file.seek(2, os.SEEK_CUR)
        while (kind := file.read(1)) in (b"\x21", b"\x2c"):
            if kind == b"\x2c":
                file.seek(8, os.SEEK_CUR)
                _skip_colours(file, file.read(1))
            file.seek(1, os.SEEK_CUR)  # What extension it is, or how the picture is packed.
            while (length := file.read(1)) not in (b"", b"\0"):
                file.seek(length[0], os.SEEK_CUR)
            if not length:
                return True
        return False


def mended(path: Path) -> BytesIO | None:
    """An animated WebP or AVIF that is cut short as libraries take it, which refuse it otherwise; None for all else.

    A WebP ends after its last whole picture. An AVIF lists its pictures beforehand: those that are missing are zeros.
    """
    with path.open("rb") as file:
        stated, beginning = _stated_bytes(file), _beginning(file)
        if stated <= _bytes(file):
            return None
        if beginning.startswith(b"RIFF"):
            ends = [end for kind, _, end in _webp_chunks(file) if kind == b"ANMF"]
            if not ends:
                return None
            file.seek(0)
            kept = file.read(ends[-1])
            return BytesIO(kept[:4] + struct.pack("<I", len(kept) - 8) + kept[8:])
        if stated > MOST_PADDED_BYTES or next(avif_durations(path), None) is None:
            return None
        file.seek(0)
        return BytesIO(file.read().ljust(stated, b"\0"))


def _beginning(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(12)


def _bytes(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)


def _stated_bytes(file: BinaryIO) -> int:
    """How long a WebP or an animated AVIF says that it is; 0 for all else."""
    beginning = _beginning(file)
    if beginning.startswith(b"RIFF") and beginning[8:] == b"WEBP":
        return 8 + int.from_bytes(beginning[4:8], "little")
    if beginning[4:] == b"ftypavis":
        return _end_of_boxes(file)
    return 0


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    """Passes over a table of colours as large as its flags say, if there is one."""
    if flags and flags[0] & 0x80:
        file.seek(3 << (flags[0] & 7) + 1, os.SEEK_CUR)


def _webp_chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The kind, the begin and the end of the data of each chunk that is whole; RFC 9649, 2.3."""
    size, at = _bytes(file), 12
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


def _end_of_boxes(file: BinaryIO) -> int:
    """Where the last box of a file ends; ISO/IEC 14496-12:2022, 4.2."""
    at = 0
    while True:
        file.seek(at)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if len(header) < 8 or length < 8:
            return at
        at += length
