"""AVIF and HEIC whose picture is cut into tiles, as phones write them; encoders here write only whole ones."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pillow_heif
from PIL import Image

from streamseg.image import Pixels

SETUP = {".avif": b"av1C", ".heic": b"hvcC"}
ITEM = {".avif": b"av01", ".heic": b"hvc1"}
BRANDS = {".avif": b"avif", ".heic": b"heic"}


def write_tiled(path: Path, rgb: Pixels, rows: int, columns: int) -> Path:
    """Writes a picture in `rows` x `columns` tiles of one size, after ISO/IEC 23008-12; the suffix says which codec."""
    height, width = rgb.shape[0] // rows, rgb.shape[1] // columns
    tiles = [
        _encoded(path.suffix, rgb[row * height :][:height, column * width :][:, :width])
        for row in range(rows)
        for column in range(columns)
    ]
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width * columns, height * rows)
    count = len(tiles)
    infos = [(1, b"grid")] + [(2 + number, ITEM[path.suffix]) for number in range(count)]
    info = _full(b"iinf", struct.pack(">H", len(infos)) + b"".join(_item_info(*each) for each in infos))
    made_of = _box(b"dimg", struct.pack(f">HH{count}H", 1, count, *range(2, 2 + count)))
    properties = [
        _full(b"ispe", struct.pack(">II", width * columns, height * rows)),
        _full(b"ispe", struct.pack(">II", width, height)),
        _full(b"pixi", bytes([3, 8, 8, 8])),
        tiles[0][0],
    ]
    # An item's properties by number; the highest bit says that a reader must know the property.
    belonging = struct.pack(">HBBB", 1, 2, 1, 3)
    for number in range(count):
        belonging += struct.pack(">HBBBB", 2 + number, 3, 2, 3, 0x84)
    described = _box(b"iprp", _box(b"ipco", b"".join(properties)) + _full(b"ipma", _count(count + 1) + belonging))
    head = _box(b"ftyp", BRANDS[path.suffix] + bytes(4) + BRANDS[path.suffix] + b"mif1miaf")
    parts = [grid, *(data for _, data in tiles)]

    def meta(begin: int) -> bytes:
        places, at = b"", begin
        for number, part in enumerate(parts, 1):
            places += struct.pack(">HHHII", number, 0, 1, at, len(part))
            at += len(part)
        where = _full(b"iloc", bytes([0x44, 0]) + struct.pack(">H", len(parts)) + places)
        handler = _full(b"hdlr", bytes(4) + b"pict" + bytes(13))
        return _full(
            b"meta", handler + _full(b"pitm", struct.pack(">H", 1)) + where + info + described + _full(b"iref", made_of)
        )

    begin = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(begin) + _box(b"mdat", b"".join(parts)))
    return path


def _encoded(suffix: str, rgb: Pixels) -> tuple[bytes, bytes]:
    """One tile: the box with its decoder's setup, and its data."""
    file = BytesIO()
    if suffix == ".avif":
        Image.fromarray(rgb).save(file, "avif", quality=95, subsampling="4:4:4", speed=10)
    else:
        pillow_heif.from_pillow(Image.fromarray(rgb)).save(file, quality=95)
    whole = file.getvalue()
    meta = dict(_boxes(whole))[b"meta"][4:]
    properties = dict(_boxes(dict(_boxes(dict(_boxes(meta))[b"iprp"]))[b"ipco"]))
    at, length = _place(dict(_boxes(meta))[b"iloc"])
    return _box(SETUP[suffix], properties[SETUP[suffix]]), whole[at : at + length]


def _place(iloc: bytes) -> tuple[int, int]:
    """Where the data of the only item is and how long it is; version 0, offsets of four bytes, a base or none."""
    version, sizes, base_bytes = iloc[0], iloc[4], iloc[5] >> 4
    assert (version, sizes) == (0, 0x44)
    base = int.from_bytes(iloc[12 : 12 + base_bytes], "big")
    extents, at, length = struct.unpack_from(">HII", iloc, 12 + base_bytes)
    assert extents == 1
    return base + at, length


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + size]
        at += size


def _box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def _full(kind: bytes, data: bytes) -> bytes:
    """A box with version 0 and no flags."""
    return _box(kind, bytes(4) + data)


def _item_info(number: int, kind: bytes) -> bytes:
    return _box(b"infe", b"\x02\0\0\0" + struct.pack(">HH", number, 0) + kind + b"\0")


def _count(number: int) -> bytes:
    return struct.pack(">I", number)
