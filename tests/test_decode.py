"""Sources: exact times, upright pictures, true colours, and one clear line for whatever cannot be read."""

from __future__ import annotations

import errno
import os
import random
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition

from streamseg.controls import Controls
from streamseg.decode import open_camera, open_source
from streamseg.decode.images import read_image
from streamseg.decode.paced import Paced
from streamseg.decode.pixels import ToPixels
from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.settings import Settings
from streamseg.yuv import YuvImage
from tests.synthetic import RATE, Clip, ListSource, frames, picture, write_clip

PATCHES = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 60))
"""Flat colours side by side; what a wrong matrix or range moves most."""

LUMA_WEIGHTS = {"601": (0.299, 0.114), "709": (0.2126, 0.0722), "2020": (0.2627, 0.0593)}
"""Red's and blue's part of luma, from the standards themselves."""

TAGS = {"601": 6, "709": 1, "2020": 9, None: 2}
"""As ISO/IEC 23091-2 numbers the matrices; 2 is unspecified."""


def write_video(
    path: Path,
    pictures: list[av.VideoFrame],
    times: list[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    tags: tuple[int, int] = (2, 0),
    movflags: str = "",
) -> Path:
    """Writes frames as they are, without loss.

    Args:
        path: the file; its suffix chooses the container.
        pictures: frames of one size and pixel format.
        times: presentation times in units of `time_base`; otherwise RATE sets them.
        time_base: unit of `times`.
        codec: the encoder.
        tags: matrix and range (1 limited, 2 full) that the stream claims.
        movflags: of the mp4 container.
    """
    options = {"qp": "0", "preset": "ultrafast", "g": "8"} if codec == "libx264" else {}
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as output:
        stream = output.add_stream(codec, rate=RATE, options=options)
        stream.width, stream.height = pictures[0].width, pictures[0].height
        stream.pix_fmt = pictures[0].format.name
        stream.codec_context.colorspace, stream.codec_context.color_range = tags
        if time_base:
            stream.codec_context.time_base = stream.time_base = time_base
        for index, frame in enumerate(pictures):
            if times and time_base:
                frame.pts, frame.time_base = times[index], time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def noise(count: int, width_px: int = 64, height_px: int = 48) -> list[av.VideoFrame]:
    """Frames that do not compress, so that a place in the file is a place in time."""
    source = np.random.default_rng(1)
    return [
        av.VideoFrame.from_ndarray(source.integers(0, 256, (height_px, width_px, 3), np.uint8), "rgb24").reformat(
            format="yuv420p"
        )
        for _ in range(count)
    ]


def patches_yuv(matrix: str, full: bool, width_px: int, height_px: int, bits: int = 8) -> av.VideoFrame:
    """PATCHES as 4:2:0 planes, calculated from the definition of the matrix and range."""
    red, blue = LUMA_WEIGHTS[matrix]
    rgb = np.array([PATCHES[column * len(PATCHES) // width_px] for column in range(width_px)]) / 255
    y = rgb @ (red, 1 - red - blue, blue)
    cb, cr = (rgb[:, 2] - y) / (2 - 2 * blue), (rgb[:, 0] - y) / (2 - 2 * red)
    luma, chroma, black = (255, 255, 0) if full else (219, 224, 16)
    scale = 2 ** (bits - 8)
    if full:
        rows = [y * (2**bits - 1), cb * (2**bits - 1) + 128 * scale, cr * (2**bits - 1) + 128 * scale]
    else:
        rows = [(y * luma + black) * scale, (cb * chroma + 128) * scale, (cr * chroma + 128) * scale]
    kind = np.uint8 if bits == 8 else np.uint16
    planes = [
        np.tile(rows[0], height_px),
        np.tile(rows[1][::2], height_px // 2),
        np.tile(rows[2][::2], height_px // 2),
    ]
    flat = np.concatenate(planes).round().clip(0, 2**bits - 1).astype(kind)
    return av.VideoFrame.from_ndarray(
        flat.reshape(height_px * 3 // 2, width_px), "yuv420p" if bits == 8 else "yuv420p10le"
    )


def patches_rgb(pixels: Pixels) -> np.ndarray:
    """The colour in the middle of each patch."""
    height, width = pixels.shape[:2]
    columns = [(2 * n + 1) * width // (2 * len(PATCHES)) for n in range(len(PATCHES))]
    return pixels[height // 2, columns].astype(int)


def read(path: Path) -> list[Frame]:
    """Every frame of an undamaged file."""
    with open_source(str(path)) as source:
        found = list(source)
        assert source.decode_error is None
    return found


class TestTimes:
    def test_ntsc_film_is_exact(self, tmp_path: Path) -> None:
        found = read(write_video(tmp_path / "film.mp4", noise(12)))
        assert [frame.pts for frame in found] == [n * Fraction(1001, 24000) for n in range(12)]

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
    def test_variable_rate_and_start_offset_are_kept(self, suffix: str, tmp_path: Path) -> None:
        unit = {".mp4": Fraction(1, 16000), ".mkv": Fraction(1, 1000), ".ts": Fraction(1, 90000)}[suffix]
        times = [8000, 8033, 8100, 8101, 9000, 12000, 12040]
        found = read(write_video(tmp_path / f"phone{suffix}", noise(7), times, unit))
        zero = times[0] if suffix == ".ts" else 0  # A broadcast's clock is that of the stage.
        assert [frame.pts for frame in found] == [(n - zero) * unit for n in times]

    def test_what_a_file_knows_of_itself(self, tmp_path: Path) -> None:
        with open_source(str(write_clip(tmp_path / "clip.mp4", 12).path)) as source:
            info = source.info
        assert info == VideoInfo(128, 96, RATE, Fraction(1, 24000), 12, tmp_path / "clip.mp4")

    def test_a_file_says_where_its_other_tracks_are(self, tmp_path: Path) -> None:
        with open_source(str(write_video(tmp_path / "silent.mp4", noise(1)))) as source:
            assert source.info.path == tmp_path / "silent.mp4"

    def test_repeated_pictures_in_avi_are_no_damage(self, tmp_path: Path) -> None:
        # AVI stores "the same again" as an empty chunk, and counts it as a frame.
        times = [0, 1, 2, 5, 6, 9, 10]
        found = read(write_video(tmp_path / "gaps.avi", noise(7), times, Fraction(1, 25), "mpeg4"))
        assert [frame.pts * 25 for frame in found] == times


MATRICES = [
    (0, 1, -1, 0),
    (-1, 0, 0, -1),
    (0, -1, 1, 0),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, -1, -1, 0),
]
"""a, b, c, d of x' = a x + c y, y' = b x + d y, with y downwards (ISO/IEC 14496-12): turns, then mirrors."""


def corner() -> Pixels:
    """A picture of 64x48 in which every corner differs."""
    pixels = np.full((48, 64, 3), 40, np.uint8)
    pixels[:16, :16] = 220
    pixels[32:, :16] = 130
    return pixels


def as_yuv(rgb: Pixels) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")


def turned(path: Path, matrix: tuple[int, ...]) -> Path:
    """The same file, whose header's matrix is set by hand."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def seen(stored: Pixels, matrix: tuple[int, ...]) -> Pixels:
    """Each pixel at its place by the matrix."""
    a, b, c, d = matrix
    y, x = np.indices(stored.shape[:2])
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    upright = np.empty((down.max() + 1, across.max() + 1, 3), np.uint8)
    upright[down, across] = stored
    return upright


class TestUpright:
    @pytest.mark.parametrize("matrix", [(1, 0, 0, 1), *MATRICES], ids=str)
    def test_the_whole_matrix_of_mp4(self, matrix: tuple[int, ...], tmp_path: Path) -> None:
        stored = corner()
        path = turned(write_video(tmp_path / "phone.mp4", [as_yuv(stored)]), matrix)
        (frame,) = read(path)
        expected = seen(stored, matrix)
        assert frame.pixels.shape == expected.shape
        assert np.abs(frame.pixels.astype(int) - expected).mean() < 3

    @pytest.mark.parametrize("matrix", MATRICES, ids=str)
    def test_filtered_pictures_are_turned_too(self, matrix: tuple[int, ...], tmp_path: Path) -> None:
        path = tmp_path / "fields.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"qp": "0", "flags": "+ildct+ilme"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for _ in range(3):
                output.mux(stream.encode(as_yuv(corner())))
            output.mux(stream.encode(None))
        expected = seen(corner(), matrix)
        for frame in read(turned(path, matrix)):
            assert frame.pixels.shape == expected.shape
            assert np.abs(frame.pixels.astype(int) - expected).mean() < 3

    def test_rotation_set_by_the_library(self, tmp_path: Path) -> None:
        path = tmp_path / "turned.mp4"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"qp": "0"})
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.set_display_rotation(90)
            output.mux(stream.encode(noise(1)[0]))
            output.mux(stream.encode(None))
        with open_source(str(path)) as source:
            assert (source.info.width_px, source.info.height_px) == (48, 64)
            assert next(iter(source)).pixels.shape == (64, 48, 3)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_of_a_photo(self, orientation: int, tmp_path: Path) -> None:
        upright = np.full((48, 64, 3), 40, np.uint8)
        upright[:16, :16] = 220
        upright[32:, :16] = (220, 40, 40)
        # What the camera stored, by EXIF's definition: where the first row and column are seen.
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright, 1),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        path = tmp_path / "photo.jpg"
        path.write_bytes(with_orientation(np.ascontiguousarray(stored), orientation))
        assert np.abs(read_image(path).astype(int) - upright).mean() < 3


def with_orientation(rgb: Pixels, orientation: int) -> bytes:
    """A JPEG with the EXIF tag."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95])
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return data.tobytes()[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data.tobytes()[2:]


HD, SD = (1280, 720), (240, 144)


class TestColours:
    @pytest.mark.parametrize(
        ("size", "tag", "truth"),
        [(SD, "709", "709"), (HD, "601", "601"), (HD, None, "709"), (SD, None, "601"), (SD, "2020", "2020")],
        ids=["tagged 709", "tagged 601", "untagged HD", "untagged SD", "tagged 2020"],
    )
    @pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
    def test_matrix_and_range(
        self, size: tuple[int, int], tag: str | None, truth: str, full: bool, tmp_path: Path
    ) -> None:
        planes = patches_yuv(truth, full, *size)
        (frame,) = read(write_video(tmp_path / "c.mp4", [planes], tags=(TAGS[tag], 2 if full else 1)))
        assert np.abs(patches_rgb(frame.pixels) - PATCHES).max() <= 3

    def test_an_untagged_range_is_limited(self, tmp_path: Path) -> None:
        (frame,) = read(write_video(tmp_path / "c.mp4", [patches_yuv("601", False, *SD)]))
        assert np.abs(patches_rgb(frame.pixels) - PATCHES).max() <= 3

    @pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
    def test_ten_bits(self, full: bool, tmp_path: Path) -> None:
        planes = patches_yuv("709", full, *SD, bits=10)
        (frame,) = read(write_video(tmp_path / "c.mkv", [planes], codec="ffv1", tags=(1, 2 if full else 1)))
        assert np.abs(patches_rgb(frame.pixels) - PATCHES).max() <= 3

    def test_rgb_and_grey_video(self, tmp_path: Path) -> None:
        rgb = picture(0, 66, 50)
        (frame,) = read(write_video(tmp_path / "c.mov", [av.VideoFrame.from_ndarray(rgb, "rgb24")], codec="png"))
        assert np.array_equal(frame.pixels, rgb)
        grey = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[..., 1]), "gray")
        (frame,) = read(write_video(tmp_path / "g.mkv", [grey], codec="ffv1", tags=(2, 2)))
        assert np.abs(frame.pixels.astype(int) - rgb[..., 1:2]).max() <= 1

    @pytest.mark.parametrize("size", [(63, 48), (64, 47), (17, 99), (1921, 33)])
    def test_odd_sizes(self, size: tuple[int, int], tmp_path: Path) -> None:
        rgb = picture(0, *size)
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv444p")
        (found,) = read(write_video(tmp_path / "odd.mkv", [frame], codec="ffv1"))
        assert found.pixels.shape == rgb.shape
        assert np.abs(found.pixels.astype(int) - rgb).max() <= 3


class TestShape:
    """Pictures whose shape changes midway keep their proportions, between bars."""

    @staticmethod
    def webm(path: Path, *sizes_px: tuple[int, int]) -> Path:
        """VP8, one key picture of each size, all red."""
        with av.open(str(path), "w") as output:
            stream: Any = None
            for index, (width, height) in enumerate(sizes_px):
                encoder: Any = av.CodecContext.create("libvpx", "w")
                encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
                encoder.time_base, encoder.framerate = Fraction(1, 25), 25
                if stream is None:
                    stream = output.add_stream("libvpx", rate=25)
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                red = np.full((height, width, 3), (220, 30, 30), np.uint8)
                frame = as_yuv(red)
                frame.pts, frame.time_base = 0, Fraction(1, 25)
                for packet in [*encoder.encode(frame), *encoder.encode(None)]:
                    packet.pts = packet.dts = index
                    packet.stream, packet.time_base = stream, Fraction(1, 25)
                    output.mux(packet)
        return path

    def test_a_phone_that_is_turned(self, tmp_path: Path) -> None:
        first, second, third = read(self.webm(tmp_path / "a.webm", (160, 90), (90, 160), (320, 180)))
        assert first.pixels.shape == second.pixels.shape == third.pixels.shape == (90, 160, 3)
        inner = slice(55, 106)  # 90 / 160 of 90 px, in the middle.
        assert np.abs(second.pixels[:, inner].astype(int) - first.pixels[:, inner]).mean() < 3
        assert second.pixels[:, :54].max() == second.pixels[:, 106:].max() == 0
        assert np.abs(third.pixels.astype(int) - first.pixels).mean() < 3

    def test_pixels_that_become_wider(self, tmp_path: Path) -> None:
        """A broadcast of 4:3 before one of 16:9, of the same size in pixels."""
        parts = []
        for n, aspect in enumerate((Fraction(16, 15), Fraction(64, 45))):
            with av.open(str(tmp_path / f"{n}.ts"), "w") as output:
                stream = output.add_stream("mpeg2video", rate=25)
                stream.width, stream.height, stream.pix_fmt = 180, 144, "yuv420p"
                stream.codec_context.sample_aspect_ratio = aspect
                for _ in range(10):
                    output.mux(stream.encode(as_yuv(np.full((144, 180, 3), (220, 30, 30), np.uint8))))
                output.mux(stream.encode(None))
            parts.append((tmp_path / f"{n}.ts").read_bytes())
        (tmp_path / "both.ts").write_bytes(b"".join(parts))
        with open_source(str(tmp_path / "both.ts")) as source:
            found = list(source)
            assert source.info.pixel_aspect == Fraction(16, 15)
        assert [frame.pts for frame in found] == [n * Fraction(1, 25) for n in range(20)]
        assert {frame.pixels.shape for frame in found} == {(144, 180, 3)}
        for frame in found[:10]:
            assert frame.pixels[..., 0].min() > 180
        for frame in found[10:]:  # A quarter of the height is bars.
            assert frame.pixels[20:124, :, 0].min() > 180
            assert frame.pixels[:17].max() == frame.pixels[127:].max() == 0


class TestTracks:
    @pytest.mark.parametrize("default", [0, 1, None])
    def test_the_default_track_is_shown(self, default: int | None, tmp_path: Path) -> None:
        path = tmp_path / "two.mkv"
        with av.open(str(path), "w") as output:
            streams = []
            for index, (width, height) in enumerate([(64, 36), (160, 90)]):
                stream = output.add_stream("mjpeg", rate=25)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
                stream.disposition = Disposition.default if index == default else Disposition(0)
                streams.append(stream)
            for stream in streams:
                rgb = av.VideoFrame.from_ndarray(picture(0, stream.width, stream.height), "rgb24")
                output.mux(stream.encode(rgb.reformat(format="yuvj420p")))
        with open_source(str(path)) as source:
            assert source.info.width_px == (160 if default == 1 else 64)


class TestDamage:
    def test_a_cut_mp4_keeps_the_frames_before(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "whole.mp4", noise(24), movflags="faststart")
        whole = read(path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with open_source(str(path)) as source:
            found = list(source)
        assert 6 <= len(found) < 14
        assert source.decode_error
        assert f"{path} is" in source.decode_error
        assert "of 24 frames" in source.decode_error or f"after frame {len(found)}" in source.decode_error
        for frame, expected in zip(found[:-1], whole, strict=False):
            assert (frame.index, frame.pts) == (expected.index, expected.pts)
            assert np.array_equal(frame.pixels, expected.pixels)

    @pytest.mark.parametrize("suffix", [".mkv", ".ts", ".avi", ".mp4"])
    def test_damage_in_the_middle(self, suffix: str, tmp_path: Path) -> None:
        path = write_video(tmp_path / f"whole{suffix}", noise(40), movflags="faststart" if suffix == ".mp4" else "")
        whole = read(path)
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 20_000] = random.Random(1).randbytes(20_000)
        path.write_bytes(data)
        with open_source(str(path)) as source:
            found = list(source)
        assert source.decode_error
        assert "\n" not in source.decode_error
        assert len(found) >= 12
        assert all(a.pts < b.pts for a, b in pairwise(found))
        for frame, expected in zip(found[:12], whole, strict=False):
            assert np.array_equal(frame.pixels, expected.pixels)

    def test_a_cut_mkv_is_noted(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "whole.mkv", noise(72))
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        with open_source(str(path)) as source:
            assert len(list(source)) >= 24
        assert source.decode_error
        assert "cut short" in source.decode_error

    def test_an_mkv_without_a_stated_length_is_whole(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "whole.mkv", noise(4))
        path.write_bytes(path.read_bytes().replace(b"DURATION", b"DURATI\0N"))
        assert len(read(path)) == 4


def nothing(folder: Path) -> Path:
    return folder / "missing.mp4"


def no_pictures(folder: Path) -> Path:
    (folder / "notes.txt").write_text("nothing to see")
    return folder


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def empty_photo(folder: Path) -> Path:
    (folder / "empty.png").touch()
    return folder / "empty.png"


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("not a video at all\n" * 100)
    return folder / "text.mp4"


def text_photo(folder: Path) -> Path:
    (folder / "text.jpg").write_text("not a photo at all\n" * 100)
    return folder / "text.jpg"


def write_sound(path: Path, cover: bool = False) -> Path:
    """A second of silence, with a cover picture if asked."""
    with av.open(str(path), "w") as output:
        sound = output.add_stream("libmp3lame" if cover else "aac", rate=48_000, layout="mono")
        picture_packet = None
        if cover:
            stream = output.add_stream("mjpeg")
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
            stream.disposition = Disposition.attached_pic
            output.start_encoding()
            _, jpeg = cv2.imencode(".jpg", picture(0, 64, 48))
            picture_packet = av.Packet(jpeg.tobytes())
            picture_packet.stream, picture_packet.pts, picture_packet.dts = stream, 0, 0
        for start in range(0, 48_000, 1152):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 48_000, start
            output.mux(sound.encode(silence))
        if picture_packet:
            output.mux(picture_packet)
        output.mux(sound.encode(None))
    return path


def only_sound(folder: Path) -> Path:
    return write_sound(folder / "song.m4a")


def song_with_cover(folder: Path) -> Path:
    return write_sound(folder / "song.mp3", cover=True)


def no_frames(folder: Path) -> Path:
    path = folder / "zero.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        output.start_encoding()
    return path


def undecodable(folder: Path) -> Path:
    """The header is whole, and no picture is."""
    path = write_video(folder / "zeros.mp4", noise(4), movflags="faststart")
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))
    return path


def one_pixel(folder: Path) -> Path:
    cv2.imwrite(str(folder / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    return folder / "dot.png"


def tiny_video(folder: Path) -> Path:
    return write_video(folder / "tiny.mkv", noise(1, 8, 64), codec="ffv1")


def gigantic(folder: Path) -> Path:
    """A few bytes that claim to be 200,000 x 200,000 px."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    (folder / "gigantic.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return folder / "gigantic.png"


def long_name(folder: Path) -> Path:
    return folder / ("a" * 300 + ".mp4")


class TestBadInput:
    @pytest.mark.parametrize(
        ("make", "says"),
        [
            (nothing, "no such file or folder"),
            (no_pictures, "holds no pictures"),
            (empty, "cannot read"),
            (empty_photo, "not a picture"),
            (text, "cannot read"),
            (text_photo, "not a picture"),
            (only_sound, "only sound"),
            (song_with_cover, "only sound"),
            (no_frames, "no video"),
            (undecodable, "damaged"),
            (one_pixel, "1x1 px; the smallest"),
            (tiny_video, "8x64 px; the smallest"),
            (gigantic, "megapixels"),
            (long_name, "name too long"),
        ],
        ids=lambda value: getattr(value, "__name__", ""),
    )
    def test_one_clear_line(
        self, make: Callable[[Path], Path], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        path = make(tmp_path)
        capfd.readouterr()
        with pytest.raises(InputError) as caught:
            open_source(str(path))
        message = str(caught.value)
        assert says in message
        assert str(path) in message
        assert "\n" not in message
        assert "Traceback" not in capfd.readouterr().err

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    @pytest.mark.parametrize("name", ["clip.mp4", "photo.png", "folder"])
    def test_no_permission(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
        else:
            path.write_bytes(b"something")
        path.chmod(0)
        with pytest.raises(InputError, match=r"[Pp]ermission denied"):
            open_source(str(path))
        path.chmod(0o700)

    @pytest.mark.parametrize("method", ["exists", "iterdir"])
    def test_no_permission_as_the_system_reports_it(
        self, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(Path, method, refuse)
        with pytest.raises(InputError, match=r"cannot read .*: Permission denied"):
            open_source(str(tmp_path))

    def test_a_folder_of_different_sizes(self, tmp_path: Path) -> None:
        for index, width in enumerate((64, 64, 80)):
            cv2.imwrite(str(tmp_path / f"{index}.png"), picture(0, width, 48))
        found = []
        with open_source(str(tmp_path)) as source, pytest.raises(InputError, match=r"2\.png is 80x48 px but 0\.png is"):
            found.extend(frame.index for frame in source)
        assert len(found) in (0, 2)

    @pytest.mark.parametrize("spec", ["testsrc=axb", "testsrc=16x", "testsrc=640", "testsrc=0x0", "testsrc=8x8"])
    def test_a_test_pattern_that_cannot_be(self, spec: str) -> None:
        with pytest.raises(InputError, match="testsrc"):
            open_source(spec)

    @pytest.mark.parametrize("spec", ["testsrc", "testsrc="])
    def test_the_test_pattern_by_default(self, spec: str) -> None:
        with open_source(spec) as source:
            assert (source.info.width_px, source.info.height_px, source.info.rate) == (1280, 720, 30)


class TestPictures:
    def test_sixteen_bits(self, tmp_path: Path) -> None:
        levels = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
        cv2.imwrite(str(tmp_path / "deep.png"), np.dstack((levels, levels, levels)))
        found = read_image(tmp_path / "deep.png")
        assert np.abs(found.astype(float) - levels[..., None] / 257).max() <= 1

    def test_grey(self, tmp_path: Path) -> None:
        grey = np.arange(4096, dtype=np.uint16).reshape(64, 64).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "grey.png"), grey)
        assert np.array_equal(read_image(tmp_path / "grey.png"), np.dstack((grey, grey, grey)))

    def test_transparent(self, tmp_path: Path) -> None:
        rgb = picture(0)
        bgra = np.dstack((rgb[..., ::-1], rgb[..., 1]))
        cv2.imwrite(str(tmp_path / "cut-out.png"), bgra)
        assert np.array_equal(read_image(tmp_path / "cut-out.png"), np.dstack((rgb, rgb[..., 1])))

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".tif", ".jpg", ".PNG"])
    def test_formats(self, suffix: str, tmp_path: Path) -> None:
        rgb = picture(0)
        cv2.imwrite(str(tmp_path / f"photo{suffix}"), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        assert np.abs(read_image(tmp_path / f"photo{suffix}").astype(int) - rgb).mean() < 3

    def test_a_folder_is_read_in_the_order_of_names(self, tmp_path: Path) -> None:
        (tmp_path / "readme.txt").write_text("not a picture")
        for index in (2, 0, 1):
            cv2.imwrite(str(tmp_path / f"{index:02d}.png"), np.full((16, 16, 3), index, np.uint8))
        with open_source(str(tmp_path)) as source:
            assert [(frame.pts, int(frame.pixels[0, 0, 0])) for frame in source] == [
                (Fraction(n, 25), n) for n in range(3)
            ]

    def test_an_animated_gif_is_a_video(self, tmp_path: Path) -> None:
        grey = [np.full((48, 64, 3), level, np.uint8) for level in (0, 120, 240)]
        made = [av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="gray") for pixels in grey]
        found = read(write_video(tmp_path / "a.gif", made, [0, 10, 25], Fraction(1, 100), codec="gif"))
        assert [frame.pts for frame in found] == [0, Fraction(1, 10), Fraction(1, 4)]


class TestNames:
    @pytest.mark.parametrize("stem", ["café 猫 😀", "100% %05d", "-dash", "a'b\"c", "two\nlines"])
    def test_any_name(self, stem: str, tmp_path: Path) -> None:
        assert len(read(write_video(tmp_path / "clip.mp4", noise(2)).rename(tmp_path / f"{stem}.mp4"))) == 2
        cv2.imwrite(str(tmp_path / "p.png"), picture(0))
        assert len(read((tmp_path / "p.png").rename(tmp_path / f"{stem}.png"))) == 1

    def test_a_relative_name_that_looks_like_a_protocol(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_video(tmp_path / "clip.mp4", noise(2)).rename(tmp_path / "12:30.mp4")
        monkeypatch.chdir(tmp_path)
        assert len(read(Path("12:30.mp4"))) == 2


class TestPaced:
    @staticmethod
    def clock(late: float = 0.0) -> tuple[list[float], Callable[[], float], Callable[[float], None]]:
        """A clock that starts at 100 s, moves by sleeping and is `late` once more at each frame; its sleeps."""
        now, sleeps = [100.0], []

        def sleep(seconds: float) -> None:
            sleeps.append(seconds)
            now[0] += seconds + late

        return sleeps, lambda: now[0], sleep

    def test_frames_come_at_their_times(self) -> None:
        sleeps, clock, sleep = self.clock()
        with Paced(ListSource(frames(4)), clock, sleep) as paced:
            arrivals = [frame.captured_seconds for frame in paced]
        assert sleeps == pytest.approx([0, 0.04, 0.04, 0.04])
        assert arrivals == pytest.approx([100, 100.04, 100.08, 100.12])

    def test_a_start_offset_is_not_waited_for(self) -> None:
        sleeps, clock, sleep = self.clock()
        later = [Frame(frame.index, frame.pts + 50, frame.pixels) for frame in frames(3)]
        assert [frame.pts for frame in Paced(ListSource(later), clock, sleep)] == [frame.pts for frame in later]
        assert sleeps == pytest.approx([0, 0.04, 0.04])

    def test_a_slow_consumer_is_not_held_back_further(self) -> None:
        sleeps, clock, sleep = self.clock(late=0.1)
        assert len(list(Paced(ListSource(frames(4)), clock, sleep))) == 4
        assert sleeps == [0, 0, 0, 0]

    def test_it_is_live_and_silent_and_tells_of_damage(self) -> None:
        source = ListSource(frames(2))
        source.decode_error = "broken"
        paced = Paced(source, lambda: 0.0, lambda seconds: None)
        assert (paced.info.live, paced.info.path, paced.decode_error) == (True, None, None)
        list(paced)
        assert paced.decode_error == "broken"

    def test_it_follows_the_controls_as_a_camera_does(self) -> None:
        controls = Controls(Settings())
        source = iter(Paced(ListSource(frames(4)), lambda: 0.0, lambda seconds: None, controls, lambda: is_watched))
        is_watched = True
        assert np.array_equal(next(source).pixels, picture(0))
        controls.change(mirror=True)
        assert np.array_equal(next(source).pixels, picture(1)[:, ::-1])
        controls.change(paused=True)
        assert next(source).card == "paused"
        controls.change(paused=False)
        is_watched = False
        assert next(source).card == "nobody is watching"

    def test_a_file_stands_in_for_a_camera(self, tmp_path: Path) -> None:
        with open_camera(str(write_video(tmp_path / "clip.mp4", noise(2)))) as camera:
            assert isinstance(camera, Paced)
            assert camera.granted == "a file in place of a camera: 64x48 at 23.98 fps"


def test_without_a_driver_the_gpus_decoder_is_not_missed(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_source(str(clip.path)) as source:
        meant = [frame.pixels for frame in source]
    opened: list[object] = []
    open_file = av.open

    def watched(*given: Any, **told: Any) -> Any:
        opened.append(told.get("hwaccel"))
        if told.get("hwaccel"):
            raise av.error.PermissionError(1, "Operation not permitted")
        return open_file(*given, **told)

    monkeypatch.setattr("streamseg.hardware.nvidia.has_gpu", lambda: True)
    monkeypatch.setattr("streamseg.decode.video.av.open", watched)
    with open_source(str(clip.path)) as source:
        found = [frame.pixels for frame in source]
    assert [hardware is not None for hardware in opened] == [True, False]
    np.testing.assert_array_equal(found, meant)


def test_what_a_gpus_decoder_gives_has_the_same_samples() -> None:
    planar = av.VideoFrame.from_ndarray(picture(3, 128, 96), format="rgb24").reformat(format="yuv420p")
    found, meant = (ToPixels()(frame) for frame in (planar.reformat(format="nv12"), planar))
    assert isinstance(found, YuvImage)
    assert isinstance(meant, YuvImage)
    assert found.matrix == meant.matrix
    for mine, theirs in zip(found.planes, meant.planes, strict=True):
        np.testing.assert_array_equal(mine, theirs)
