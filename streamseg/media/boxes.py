"""Boxes of ISO base media files (MP4, MOV, AVIF), which may be cut short; ISO/IEC 14496-12:2022, 4.2."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

HEADER_BYTES, LONG_HEADER_BYTES = 8, 16
LONG_SIZE = 1
"""Size field of a box whose size follows in 8 bytes."""


@dataclass(frozen=True, slots=True)
class Box:
    """Contents of a box: bytes `begin` to `end` of a file."""

    file: BinaryIO
    begin: int
    end: int

    def boxes(self) -> Iterator[tuple[bytes, Box]]:
        """Yield type and contents of each box directly within this one.

        Of a file that is cut short, the last box ends beyond the file, where its header says so; a header that is not
        whole, or states less than its own size, ends the list.
        """
        at = self.begin
        while at < self.end:
            self.file.seek(at)
            header = self.file.read(LONG_HEADER_BYTES)
            size, header_bytes = int.from_bytes(header[:4], "big"), HEADER_BYTES
            if size == LONG_SIZE:
                size, header_bytes = int.from_bytes(header[8:], "big"), LONG_HEADER_BYTES
            if len(header) < header_bytes or size < header_bytes:
                return
            yield header[4:8], Box(self.file, at + header_bytes, at + size)
            at += size

    def all(self, kind: bytes) -> Iterator[Box]:
        """Yield the boxes of a type directly within this one."""
        return (box for found, box in self.boxes() if found == kind)

    def first(self, *kinds: bytes) -> Box:
        """Return the first box at a path of types, such as `b"mdia", b"mdhd"`."""
        box = self
        for kind in kinds:
            box = next(box.all(kind))
        return box

    def number(self, offset: int, width: int) -> int:
        """Read an unsigned number of `width` bytes at `offset` bytes within the box."""
        self.file.seek(self.begin + offset)
        return int.from_bytes(self.file.read(width), "big")

    def put(self, offset: int, width: int, number: int) -> None:
        """Write an unsigned number of `width` bytes at `offset` bytes within the box."""
        self.file.seek(self.begin + offset)
        self.file.write(number.to_bytes(width, "big"))

    def by_version(self, narrow: int, wide: int) -> int:
        """Return `narrow` or `wide`, as the times of this box have 4 or 8 bytes by its version."""
        return wide if self.number(0, 1) else narrow
