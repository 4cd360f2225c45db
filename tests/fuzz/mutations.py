"""What happens to files: bits flip, ends and middles are lost, pieces of other files and boxes in another order."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import TypeAlias

Mutation: TypeAlias = Callable[[bytearray, Random, bytes], None]
"""Changes the data in place; takes the data of another seed too."""

AT_ONCE = (1, 1, 1, 2, 3)
HEADER_BYTES = 256
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0")
CONTAINERS = {
    b"moov",
    b"trak",
    b"edts",
    b"mdia",
    b"minf",
    b"dinf",
    b"stbl",
    b"moof",
    b"traf",
    b"udta",
    b"iprp",
    b"ipco",
}
"""Boxes of ISO/IEC 14496-12 that hold boxes."""


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> tuple[bytes, str]:
    """Some damage, and its name for the report."""
    changed, names = bytearray(data), []
    for _ in range(random.choice(AT_ONCE)):
        mutation = random.choice(MUTATIONS)
        if changed:
            mutation(changed, random, random.choice(others))
            names.append(mutation.__name__)
    return bytes(changed), " ".join(names)


def flip_bits(data: bytearray, random: Random, other: bytes) -> None:
    """A few anywhere."""
    for _ in range(random.choice((1, 2, 8, 64))):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def flip_bits_of_the_header(data: bytearray, random: Random, other: bytes) -> None:
    """Where most of what is declared stands."""
    for _ in range(random.choice((1, 2, 8))):
        data[random.randrange(min(HEADER_BYTES, len(data)))] ^= 1 << random.randrange(8)


def write_extremes(data: bytearray, random: Random, other: bytes) -> None:
    """Sizes and counts that are nothing, everything or below zero."""
    for _ in range(random.choice((1, 2, 8))):
        value, at = random.choice(EXTREMES), random.randrange(len(data))
        data[at : at + len(value)] = value[: len(data) - at]


def cut_the_end(data: bytearray, random: Random, other: bytes) -> None:
    """As a download that broke off."""
    del data[random.randrange(len(data)) :]


def cut_the_beginning(data: bytearray, random: Random, other: bytes) -> None:
    """As a recording that was joined late."""
    del data[: random.randrange(len(data))]


def cut_the_middle(data: bytearray, random: Random, other: bytes) -> None:
    """What comes after it moves up."""
    first, last = _span(len(data), random)
    del data[first:last]


def blank(data: bytearray, random: Random, other: bytes) -> None:
    """As a block that a disk lost."""
    first, last = _span(len(data), random)
    data[first:last] = bytes(last - first)


def repeat(data: bytearray, random: Random, other: bytes) -> None:
    """A stretch comes twice."""
    first, last = _span(len(data), random)
    data[last:last] = data[first:last]


def splice(data: bytearray, random: Random, other: bytes) -> None:
    """The beginning of one file and the end of another."""
    data[random.randrange(len(data)) :] = other[random.randrange(len(other)) :]


def insert(data: bytearray, random: Random, other: bytes) -> None:
    """A stretch of another file."""
    first, last = _span(len(other), random)
    at = random.randrange(len(data))
    data[at:at] = other[first:last]


def swap_boxes(data: bytearray, random: Random, other: bytes) -> None:
    """Two pieces of one container change places, or one of them is lost or comes twice."""
    siblings = siblings_in(bytes(data), random)
    if len(siblings) < 2:
        swap_stretches(data, random, other)
        return
    (a, b), (c, d) = sorted(random.sample(siblings, 2))
    first, between, second = data[a:b], data[b:c], data[c:d]
    data[a:d] = random.choice(
        (second + between + first, between + second, first + between + first, second + between + second)
    )


def swap_stretches(data: bytearray, random: Random, other: bytes) -> None:
    """Two of one length."""
    length = random.randint(1, max(1, len(data) // 4))
    first, second = (random.randrange(max(1, len(data) - length)) for _ in range(2))
    data[first : first + length], data[second : second + length] = (
        data[second : second + length],
        data[first : first + length],
    )


def change_a_box(data: bytearray, random: Random, other: bytes) -> None:
    """The content of one piece, whose checksum is made right again."""
    siblings = siblings_in(bytes(data), random)
    if not siblings:
        flip_bits(data, random, other)
        return
    first, last = random.choice(siblings)
    for _ in range(random.choice((1, 2, 4))):
        data[random.randrange(first, last)] ^= 1 << random.randrange(8)
    if data[:4] == b"\x89PNG":
        data[last - 4 : last] = struct.pack(">I", zlib.crc32(data[first + 4 : last - 4]))


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits_of_the_header,
    write_extremes,
    cut_the_end,
    cut_the_beginning,
    cut_the_middle,
    blank,
    repeat,
    splice,
    insert,
    swap_boxes,
    swap_stretches,
    change_a_box,
)


def _span(length: int, random: Random) -> tuple[int, int]:
    first = random.randrange(length)
    return first, min(length, first + random.choice((1, 4, 16, 64, 256, 1024, 4096)))


def siblings_in(data: bytes, random: Random) -> list[tuple[int, int]]:
    """The pieces of a container, or of one within it, from and to which byte; none if it has no such pieces."""
    if data[:4] == b"\x89PNG":
        return list(_pieces(data, 8, len(data), ">I", size_at=0, extra=12))
    if data[:4] == b"RIFF":
        return list(_pieces(data, 12, len(data), "<I", size_at=4, extra=8))
    level = list(_pieces(data, 0, len(data), ">I", size_at=0, extra=0))
    levels = [level]
    while level:
        inner = [
            piece
            for first, last in level
            if data[first + 4 : first + 8] in CONTAINERS
            for piece in _pieces(data, first + 8, last, ">I", size_at=0, extra=0)
        ]
        levels.append(inner)
        level = inner
    return random.choice([found for found in levels if found] or [[]])


def _pieces(data: bytes, at: int, end: int, size_format: str, size_at: int, extra: int) -> list[tuple[int, int]]:
    """Pieces one after the other, each with its size in its head; `extra` bytes do not count in it."""
    pieces: list[tuple[int, int]] = []
    while at + 8 <= end:
        (size,) = struct.unpack_from(size_format, data, at + size_at)
        last = at + size + extra
        if last <= at + 7 or last > end:
            break
        pieces.append((at, last))
        at = last
    return pieces
