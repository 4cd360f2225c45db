"""The reader of stills: every format, depth, orientation, profile and kind of transparency comes out as it is seen."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageCms
from PIL.ExifTags import Base

from streamseg.composite.background import open_background
from streamseg.decode import open_source
from streamseg.decode.images import IMAGE_SUFFIXES, images_in, read_image
from streamseg.decode.time_range import TimeRange
from streamseg.errors import InputError
from streamseg.image import Pixels
from tests.synthetic import frames, picture
from tests.tiled import write_tiled

WIDTH_PX, HEIGHT_PX = 64, 48
WORDS = np.linspace(0, 65535, HEIGHT_PX * WIDTH_PX).round().astype(np.uint16).reshape(HEIGHT_PX, WIDTH_PX)
"""Levels of 16 bits from black to white."""

DEEP = np.dstack((WORDS, WORDS[::-1], WORDS[:, ::-1]))
DEEP_SEEN = (DEEP / 257).round().astype(int)
CLEAR = 5, 7
"""A place in WORDS, whose level stands for nothing where there is one such level."""

DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
ADOBE_RGB = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
D65 = (0.3127, 0.3290)


def flag() -> Pixels:
    """A picture that no turn or mirror leaves as it is."""
    pixels = np.full((HEIGHT_PX, WIDTH_PX, 3), 40, np.uint8)
    pixels[:16, :16] = 220
    pixels[32:, :16] = (220, 40, 40)
    return pixels


def stored(seen: Pixels, orientation: int) -> Pixels:
    """What a camera stores of it, by EXIF's definition: where the first row and column are seen."""
    turned = {
        1: seen,
        2: seen[:, ::-1],
        3: seen[::-1, ::-1],
        4: seen[::-1],
        5: seen.swapaxes(0, 1),
        6: np.rot90(seen, 1),
        7: seen[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(seen, -1),
    }
    return np.ascontiguousarray(turned[orientation])


def with_alpha(rgb: Pixels) -> Pixels:
    return np.dstack((rgb, np.full(rgb.shape[:2], 200, np.uint8)))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(
    path: Path, values: npt.NDArray[Any], bits: int, colour_type: int, chunks: Iterable[tuple[bytes, bytes]] = ()
) -> Path:
    """A PNG of the samples as they are: `(H, W)` or `(H, W, C)`, or rows of packed bytes."""
    height, width = values.shape[0], values.shape[1] * (8 // bits if bits < 8 else 1)
    rows = values.astype(">u2" if bits == 16 else np.uint8)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*each) for each in chunks) + data + chunk(b"IEND", b"")
    )
    return path


def write_tiff(path: Path, values: npt.NDArray[Any], **more: int | bytes) -> Path:
    """A TIFF of the samples `(H, W)` or `(H, W, C)` as they are, with more tags by number (`t274=6`)."""
    height, width, channels = (*values.shape, 1)[:3]
    sample_format = {"u": 1, "f": 3}[values.dtype.kind]
    tags: dict[int, tuple[int, ...] | bytes] = {
        **{256: (width,), 257: (height,), 258: (values.itemsize * 8,) * channels, 259: (1,)},
        **{262: (2 if channels > 2 else 1,), 273: (0,), 277: (channels,), 278: (height,), 279: (values.nbytes,)},
        **{339: (sample_format,) * channels},
        **{int(name[1:]): (tag,) if isinstance(tag, int) else tag for name, tag in more.items()},
    }
    place = 8 + 2 + 12 * len(tags) + 4
    beyond = {number: _tag_bytes(tag) for number, tag in tags.items() if len(_tag_bytes(tag)) > 4}
    places = dict(zip(beyond, accumulate(map(len, beyond.values()), initial=place), strict=False))
    tags[273] = (place + sum(map(len, beyond.values())),)
    entries = b""
    for number, tag in sorted(tags.items()):
        kind, count = (7, len(tag)) if isinstance(tag, bytes) else (4, len(tag))
        inside = struct.pack("<I", places[number]) if number in places else _tag_bytes(tag)
        entries += struct.pack("<HHI", number, kind, count) + inside
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + b"".join(beyond.values()) + values.tobytes())
    return path


def _tag_bytes(tag: tuple[int, ...] | bytes) -> bytes:
    return tag if isinstance(tag, bytes) else struct.pack(f"<{len(tag)}I", *tag)


def as_bigtiff(tiff: bytes) -> bytes:
    """The same tags and samples with numbers of 64 bits for places in the file."""
    (count,) = struct.unpack_from("<H", tiff, 8)
    entries = [struct.unpack_from("<HHII", tiff, 10 + 12 * number) for number in range(count)]
    place, beyond, made = 16 + 8 + 20 * count + 8, b"", b""
    for number, kind, values, inside in entries:
        size = values * {4: 4, 7: 1}[kind]
        data = tiff[inside : inside + size] if size > 4 else struct.pack("<I", inside)[:size]
        if number == 273:
            samples = tiff[inside:]
            data = b"\0" * 4
        if size > 8:
            made += struct.pack("<HHQQ", number, kind, values, place + len(beyond))
            beyond += data
        else:
            made += struct.pack("<HHQ", number, kind, values) + data.ljust(8, b"\0")
    offset = made.index(struct.pack("<HHQ", 273, 4, 1)) + 12
    made = made[:offset] + struct.pack("<Q", place + len(beyond)) + made[offset + 8 :]
    head = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", count)
    return head + made + bytes(8) + beyond + samples


def profile(primaries: tuple[tuple[float, float], ...], gamma: float) -> bytes:
    """An ICC profile of version 2 with the primaries, adapted to D50 as ICC has it, and a pure power for its curves."""
    columns = _adapted(_to_xyz(primaries))
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(79),
        b"wtpt": _xyz(np.array([0.9642, 1.0, 0.8249])),
        **{name: _xyz(columns[:, n]) for n, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys(
            (b"rTRC", b"gTRC", b"bTRC"), b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)
        ),
    }
    place, entries, data = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        entries += name + struct.pack(">II", place + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    whole = place + len(data)
    head = struct.pack(">I4sI4s4s4s", whole, b"test", 0x02400000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + entries + data


def meant_in_srgb(
    values: npt.NDArray[Any], primaries: tuple[tuple[float, float], ...], gamma: float
) -> npt.NDArray[Any]:
    """Levels under such a profile -> levels of sRGB, by the definitions; what sRGB has no place for is cut."""
    light = (values / 255) ** gamma @ (np.linalg.inv(_to_xyz(SRGB)) @ _to_xyz(primaries)).T
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> npt.NDArray[Any]:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    white = np.array([D65[0] / D65[1], 1, (1 - sum(D65)) / D65[1]])
    result: npt.NDArray[Any] = columns * np.linalg.solve(columns, white)
    return result


def _adapted(to_xyz: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """From D65 to D50 after Bradford, which ICC prescribes."""
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    given, wanted = bradford @ to_xyz.sum(1), bradford @ np.array([0.9642, 1.0, 0.8249])
    result: npt.NDArray[Any] = np.linalg.inv(bradford) @ np.diag(wanted / given) @ bradford @ to_xyz
    return result


def _xyz(values: npt.NDArray[Any]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(value * 65536) for value in values))


WRITERS: dict[str, Callable[[Path, Image.Image, Image.Exif], None]] = {
    "x.jpg": lambda path, image, exif: image.convert("RGB").save(path, exif=exif, quality=95),
    "x.png": lambda path, image, exif: image.save(path, exif=exif),
    "x.webp": lambda path, image, exif: image.save(path, exif=exif, lossless=True),
    "x.tif": lambda path, image, exif: image.save(path, tiffinfo={274: exif[Base.Orientation]}),
    "x.avif": lambda path, image, exif: image.save(path, exif=exif, quality=95, subsampling="4:4:4"),
    "x.heic": lambda path, image, exif: pillow_heif.from_pillow(image).save(path, exif=exif.tobytes(), quality=98),
}


class TestOrientation:
    """EXIF's eight, in every format that can hold them."""

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("name", WRITERS)
    @pytest.mark.parametrize("alpha", [False, True], ids=["rgb", "rgba"])
    def test_upright(self, name: str, orientation: int, alpha: bool, tmp_path: Path) -> None:
        seen = with_alpha(flag()) if alpha and name != "x.jpg" else flag()
        exif = Image.Exif()
        exif[Base.Orientation] = orientation
        WRITERS[name](tmp_path / name, Image.fromarray(stored(seen, orientation)), exif)
        found = read_image(tmp_path / name)
        assert found.shape == seen.shape
        assert np.abs(found.astype(int) - seen).mean() < 3

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("values", [np.uint16(257), np.float32(1 / 255)], ids=["16 bits", "floats"])
    def test_a_deep_tiff(self, values: np.generic, orientation: int, tmp_path: Path) -> None:
        deep = (stored(flag(), orientation) * values).astype(values.dtype)
        assert np.array_equal(read_image(write_tiff(tmp_path / "x.tif", deep, t274=orientation)), flag())

    def test_a_deep_png(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[Base.Orientation] = 6
        deep = stored(flag(), 6).astype(np.uint16) * 257
        path = write_png(tmp_path / "x.png", deep, 16, 2, [(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))])
        assert np.array_equal(read_image(path), flag())


class TestDepth:
    @pytest.mark.parametrize("channels", [3, 4])
    def test_colours_of_sixteen_bits(self, channels: int, tmp_path: Path) -> None:
        values = np.dstack((DEEP, WORDS))[..., :channels]
        meant = np.dstack((DEEP_SEEN, (WORDS / 257).round()))[..., :channels]
        for path in (
            write_png(tmp_path / "x.png", values, 16, {3: 2, 4: 6}[channels]),
            write_tiff(tmp_path / "x.tif", values, **({"t338": 2} if channels == 4 else {})),
        ):
            assert np.abs(read_image(path) - meant).max() <= 0.5

    def test_grey_of_sixteen_bits(self, tmp_path: Path) -> None:
        for path in (write_png(tmp_path / "x.png", WORDS, 16, 0), write_tiff(tmp_path / "x.tif", WORDS)):
            assert np.array_equal(read_image(path), np.dstack([(WORDS / 257).round()] * 3))

    def test_grey_of_sixteen_bits_with_alpha(self, tmp_path: Path) -> None:
        found = read_image(write_png(tmp_path / "x.png", np.dstack((WORDS, WORDS[::-1])), 16, 4))
        assert np.array_equal(found, np.dstack([(WORDS / 257).round()] * 3 + [(WORDS[::-1] / 257).round()]))

    @pytest.mark.parametrize("kind", [np.float32, np.float64])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_floats(self, kind: type, channels: int, tmp_path: Path) -> None:
        levels = np.dstack((DEEP, WORDS)) / 65535
        values = levels[..., 0] if channels == 1 else levels[..., :channels]
        found = read_image(
            write_tiff(tmp_path / "x.tif", values.astype(kind), **({"t338": 2} if channels == 4 else {}))
        )
        meant = np.dstack([values] * 3) if channels == 1 else values
        assert found.shape == meant.shape
        assert np.abs(found - meant * 255).max() <= 0.51

    @pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
    def test_floats_by_another_writer(self, big: bool, tmp_path: Path) -> None:
        light = np.dstack((WORDS, WORDS, WORDS)) / np.float32(65535)
        path = tmp_path / "x.tif"
        if big:
            path.write_bytes(as_bigtiff(write_tiff(path, light.astype(np.float32)).read_bytes()))
        else:
            cv2.imwrite(str(path), light.astype(np.float32))
        assert np.abs(read_image(path) - light * 255).max() <= 0.51

    def test_floats_beyond_white_and_no_numbers(self, tmp_path: Path) -> None:
        values = np.full((HEIGHT_PX, WIDTH_PX, 3), 0.5, np.float32)
        values[0], values[1], values[2], values[3] = 7, -7, np.nan, np.inf
        found = read_image(write_tiff(tmp_path / "x.tif", values))
        assert found[:5, 0, 0].tolist() == [255, 0, 0, 255, 128]

    @pytest.mark.parametrize("kind", [np.uint16, np.float32])
    def test_colours_that_alpha_was_multiplied_into(self, kind: type, tmp_path: Path) -> None:
        alpha = np.full((HEIGHT_PX, WIDTH_PX, 1), 0.25)
        alpha[:8] = 0
        values = np.concatenate((np.full((HEIGHT_PX, WIDTH_PX, 3), (0.8, 0.4, 0.1)) * alpha, alpha), axis=2)
        whole = 65535 if kind is np.uint16 else 1
        found = read_image(write_tiff(tmp_path / "x.tif", (values * whole).round(9).astype(kind), t338=1))
        assert np.abs(found[20, 20] - [204, 102, 25.5, 63.75]).max() <= 1
        assert found[0, 0, 3] == 0


class TestTransparency:
    def test_a_level_of_grey_that_stands_for_nothing(self, tmp_path: Path) -> None:
        grey = (WORDS >> 8).astype(np.uint8)
        found = read_image(write_png(tmp_path / "x.png", grey, 8, 0, [(b"tRNS", struct.pack(">H", grey[CLEAR]))]))
        assert np.array_equal(found, np.dstack((grey, grey, grey, np.where(grey == grey[CLEAR], 0, 255))))

    def test_a_level_of_deep_grey_that_stands_for_nothing(self, tmp_path: Path) -> None:
        found = read_image(write_png(tmp_path / "x.png", WORDS, 16, 0, [(b"tRNS", struct.pack(">H", WORDS[CLEAR]))]))
        assert np.array_equal(found[..., 3], np.where(WORDS[CLEAR] == WORDS, 0, 255))

    def test_a_colour_that_stands_for_nothing(self, tmp_path: Path) -> None:
        rgb = picture(0, WIDTH_PX, HEIGHT_PX)
        tag = (b"tRNS", rgb[0, 0].astype(">u2").tobytes())
        found = read_image(write_png(tmp_path / "x.png", rgb, 8, 2, [tag]))
        assert np.array_equal(found, np.dstack((rgb, np.where((rgb == rgb[0, 0]).all(2), 0, 255))))

    def test_grey_with_alpha(self, tmp_path: Path) -> None:
        grey = (WORDS >> 8).astype(np.uint8)
        found = read_image(write_png(tmp_path / "x.png", np.dstack((grey, grey[::-1])), 8, 4))
        assert np.array_equal(found, np.dstack((grey, grey, grey, grey[::-1])))

    def test_a_palette_with_alpha(self, tmp_path: Path) -> None:
        numbers = np.tile(np.arange(WIDTH_PX, dtype=np.uint8), (HEIGHT_PX, 1))
        palette = np.random.default_rng(0).integers(0, 256, (WIDTH_PX, 4), np.uint8)
        chunks = [(b"PLTE", palette[:, :3].tobytes()), (b"tRNS", palette[:, 3].tobytes())]
        assert np.array_equal(read_image(write_png(tmp_path / "x.png", numbers, 8, 3, chunks)), palette[numbers])

    def test_a_palette_of_one_bit(self, tmp_path: Path) -> None:
        chunks = [(b"PLTE", bytes([255, 0, 0, 0, 0, 255])), (b"tRNS", b"\0")]
        rows = np.full((HEIGHT_PX, WIDTH_PX // 8), 0b10101010, np.uint8)
        found = read_image(write_png(tmp_path / "x.png", rows, 1, 3, chunks))
        assert found[0, :2].tolist() == [[0, 0, 255, 255], [255, 0, 0, 0]]

    def test_a_gif(self, tmp_path: Path) -> None:
        numbers = np.tile(np.arange(WIDTH_PX, dtype=np.uint8) // 32, (HEIGHT_PX, 1))
        made = Image.fromarray(numbers)
        made.putpalette([250, 0, 0, 0, 0, 250])
        made.save(tmp_path / "x.gif", transparency=1)
        found = read_image(tmp_path / "x.gif")
        assert found[0, 0].tolist() == [250, 0, 0, 255]
        assert found[0, 63, 3] == 0


class TestProfiles:
    @pytest.mark.parametrize("primaries", [ADOBE_RGB, DISPLAY_P3], ids=["Adobe RGB", "Display P3"])
    @pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif", "x.webp", "x.avif", "x.heic"])
    def test_colours_become_srgb(self, name: str, primaries: Any, tmp_path: Path) -> None:
        colours = np.array([(200, 60, 40), (60, 180, 90), (40, 60, 170), (128, 128, 128)], np.uint8)
        patches = np.repeat(np.repeat(colours[None], HEIGHT_PX, 0), WIDTH_PX // 4, 1)
        pillow_heif.register_heif_opener()
        lossy: dict[str, Any] = {"quality": 98, "subsampling": "4:4:4"} if name in ("x.jpg", "x.avif") else {}
        exact: dict[str, Any] = {"lossless": True} if name == "x.webp" else {"quality": 98} if name == "x.heic" else {}
        Image.fromarray(patches).save(tmp_path / name, icc_profile=profile(primaries, 2.2), **lossy, **exact)
        meant = meant_in_srgb(colours, primaries, 2.2)
        found = read_image(tmp_path / name)[HEIGHT_PX // 2, 8::16].astype(float)
        assert np.abs(meant - colours).max() > 10, "the profile would not be missed"
        assert np.abs(found - meant).max() < 6
        assert np.abs(found - meant).mean() < 2.5

    def test_alpha_stays(self, tmp_path: Path) -> None:
        rgba = np.dstack((picture(0, WIDTH_PX, HEIGHT_PX), (WORDS >> 8).astype(np.uint8)))
        Image.fromarray(rgba).save(tmp_path / "x.png", icc_profile=profile(ADOBE_RGB, 2.2))
        found = read_image(tmp_path / "x.png")
        assert np.array_equal(found[..., 3], rgba[..., 3])
        assert np.abs(found[..., :3] - meant_in_srgb(rgba[..., :3], ADOBE_RGB, 2.2)).max() < 2

    def test_sixteen_bits(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "x.tif", DEEP, t34675=profile(ADOBE_RGB, 2.2))
        assert np.abs(read_image(path) - meant_in_srgb(DEEP / 257, ADOBE_RGB, 2.2)).mean() < 1

    def test_floats(self, tmp_path: Path) -> None:
        path = write_tiff(tmp_path / "x.tif", (DEEP / 65535).astype(np.float32), t34675=profile(ADOBE_RGB, 2.2))
        assert np.abs(read_image(path) - meant_in_srgb(DEEP / 257, ADOBE_RGB, 2.2)).mean() < 1

    def test_srgbs_own_profile_changes_nothing(self, tmp_path: Path) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), np.uint8)
        own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        Image.fromarray(rgb).save(tmp_path / "x.png", icc_profile=own)
        assert np.array_equal(read_image(tmp_path / "x.png"), rgb)

    def test_a_grey_image_with_a_profile_for_colours(self, tmp_path: Path) -> None:
        grey = (WORDS >> 8).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / "x.png", icc_profile=profile(SRGB, 1.0))
        meant = meant_in_srgb(np.dstack((grey, grey, grey)), SRGB, 1.0)
        assert np.abs(read_image(tmp_path / "x.png") - meant).max() < 2

    @pytest.mark.parametrize("given", [b"", b"not a profile", profile(ADOBE_RGB, 2.2)[:200]])
    def test_what_is_no_profile_is_passed_over(self, given: bytes, tmp_path: Path) -> None:
        rgb = picture(0, WIDTH_PX, HEIGHT_PX)
        Image.fromarray(rgb).save(tmp_path / "x.png", icc_profile=given)
        assert np.array_equal(read_image(tmp_path / "x.png"), rgb)

    def test_a_profile_for_another_kind_of_colours_is_passed_over(self, tmp_path: Path) -> None:
        Image.fromarray(flag()).convert("CMYK").save(tmp_path / "x.tif", icc_profile=profile(ADOBE_RGB, 2.2))
        assert np.array_equal(read_image(tmp_path / "x.tif"), flag())


class TestFormats:
    @pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
    def test_cmyk(self, name: str, tmp_path: Path) -> None:
        Image.fromarray(flag()).convert("CMYK").save(tmp_path / name, **({"quality": 98} if name == "x.jpg" else {}))
        assert np.abs(read_image(tmp_path / name).astype(int) - flag()).mean() < 3

    @pytest.mark.parametrize("suffix", [".avif", ".heic"])
    def test_tiles_are_put_together(self, suffix: str, tmp_path: Path) -> None:
        whole = picture(3, 512, 256)
        path = write_tiled(tmp_path / f"x{suffix}", whole, 2, 2)
        assert np.abs(read_image(path).astype(int) - whole).mean() < 1
        with open_source(str(path)) as source:
            assert (source.info.width_px, source.info.height_px) == (512, 256)
            assert np.abs(next(iter(source)).pixels.astype(int) - whole).mean() < 1
        behind = open_background(str(path), "cover").frame_at(frames(1, 512, 256)[0])
        assert np.abs(behind.astype(int) - whole).mean() < 1

    def test_heic_with_alpha(self, tmp_path: Path) -> None:
        rgba = np.dstack((flag(), np.repeat(np.repeat([[0, 255], [255, 128]], 24, 0), 32, 1).astype(np.uint8)))
        pillow_heif.from_pillow(Image.fromarray(rgba)).save(tmp_path / "x.heic", quality=98)
        found = read_image(tmp_path / "x.heic")
        assert found.shape == rgba.shape
        assert np.abs(found[..., 3].astype(int) - rgba[..., 3]).mean() < 2

    def test_the_content_decides_not_the_name(self, tmp_path: Path) -> None:
        pillow_heif.from_pillow(Image.fromarray(flag())).save(tmp_path / "x.heic", quality=98)
        found = read_image((tmp_path / "x.heic").rename(tmp_path / "x.jpg"))
        assert np.abs(found.astype(int) - flag()).mean() < 3

    def test_the_first_of_a_phones_two_images(self, tmp_path: Path) -> None:
        """Gain maps and depth come so, as MPO under the name of a JPEG."""
        second = [Image.fromarray(flag()[::-1])]
        Image.fromarray(flag()).save(tmp_path / "x.mpo", save_all=True, append_images=second, quality=98)
        path = (tmp_path / "x.mpo").rename(tmp_path / "x.jpg")
        assert np.abs(read_image(path).astype(int) - flag()).mean() < 3
        with open_source(str(path)) as source:
            assert source.info.frame_count == 1

    def test_odd_metadata_is_no_matter(self, tmp_path: Path) -> None:
        made = BytesIO()
        Image.fromarray(flag()).save(made, "jpeg", quality=98, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09broken")
        (tmp_path / "x.jpg").write_bytes(made.getvalue())
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            read_image(tmp_path / "x.jpg")
        assert told == []

    @pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.avif", "x.heic", "x.tif"])
    def test_a_file_that_ends_too_soon(self, name: str, tmp_path: Path) -> None:
        pillow_heif.register_heif_opener()
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-900])
        with pytest.raises(InputError, match=r"damaged"):
            read_image(tmp_path / name)


class TestFolders:
    def test_numbers_in_names_are_numbers(self, tmp_path: Path) -> None:
        for number in range(1, 13):
            cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((16, 16, 3), number, np.uint8))
        with open_source(str(tmp_path)) as source:
            assert [int(frame.pixels[0, 0, 0]) for frame in source] == list(range(1, 13))

    @pytest.mark.parametrize(
        "names",
        [
            ["a2b10.png", "a10b2.png", "a10b10.png"],
            ["1.png", "2.jpg", "10.webp"],
            ["Shot 9.png", "shot 10.png", "Shot 11.png"],
            ["x.png", "x01.png", "x1.png", "x2.png"],
            ["0007.png", "8.png", "0009.png"],
        ],
    )
    def test_natural_order(self, names: list[str], tmp_path: Path) -> None:
        for name in reversed(names):
            (tmp_path / name).touch()
        assert [path.name for path in images_in(tmp_path)] == names

    def test_every_format_that_a_single_image_may_have(self, tmp_path: Path) -> None:
        for number, suffix in enumerate(IMAGE_SUFFIXES):
            (tmp_path / f"{number}{suffix}").touch()
        assert len(images_in(tmp_path)) == len(IMAGE_SUFFIXES) >= 19

    def test_what_macos_leaves_beside_files_and_folders_are_no_images(self, tmp_path: Path) -> None:
        for name in ("a.png", "._a.png"):
            (tmp_path / name).touch()
        (tmp_path / "b.png").mkdir()
        assert images_in(tmp_path) == [tmp_path / "a.png"]

    def test_a_stretch_of_a_folder(self, tmp_path: Path) -> None:
        for number in range(50):
            cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((16, 16, 3), number, np.uint8))
        with open_source(str(tmp_path), TimeRange.of("1", "1.2")) as source:
            assert source.info.frame_count == 5
            assert [(float(f.pts), int(f.pixels[0, 0, 0])) for f in source][::4] == [(0, 25), (0.16, 29)]
        with pytest.raises(InputError, match="no image at that time: it lasts 2 s"):
            open_source(str(tmp_path), TimeRange.of("2", None))

    @pytest.mark.parametrize("broken", [0, 2, 4])
    def test_one_that_cannot_be_read_costs_itself(self, broken: int, tmp_path: Path) -> None:
        for number in range(5):
            cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((16, 16, 3), number, np.uint8))
        (tmp_path / f"{broken}.png").write_bytes(b"no picture")
        with open_source(str(tmp_path)) as source:
            found = [(frame.index, frame.pts * 25, int(frame.pixels[0, 0, 0])) for frame in source]
            assert found == [(number, number, number) for number in range(5) if number != broken]
            assert source.decode_error
            assert source.decode_error.startswith(
                f"1 of 5 images are missing, of which the first: {tmp_path}/{broken}.png"
            )

    def test_a_folder_in_which_none_can_be_read(self, tmp_path: Path) -> None:
        for number in range(2):
            (tmp_path / f"{number}.png").write_bytes(b"no picture")
        with pytest.raises(InputError, match=r"0\.png is not an image"):
            open_source(str(tmp_path))
