"""Animated WebP, PNG, AVIF and GIF, read and written: every picture, its alpha, and exactly how long it is shown."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from typer.testing import CliRunner

from streamseg.cli import app as cli
from streamseg.composite.background import VideoBackground, open_background
from streamseg.decode import TimeRange, open_source
from streamseg.decode.images import read_image
from streamseg.errors import InputError, OutputError
from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.image import Pixels
from streamseg.settings import OutputSettings
from streamseg.sink import open_sink
from tests.synthetic import Clip, DiscEngine, picture, true_alpha

WIDTH_PX, HEIGHT_PX = 131, 97
MILLISECONDS = [33, 40, 100, 50, 3000]
NOISY = 10
FORMATS = [".gif", ".webp", ".apng"]
TICKS = {".gif": Fraction(1, 100), ".webp": Fraction(1, 1000), ".apng": Fraction(1, 30_000)}


def cut_out(index: int) -> Pixels:
    return np.dstack((picture(4 * index, WIDTH_PX, HEIGHT_PX), true_alpha(4 * index, WIDTH_PX, HEIGHT_PX)))


def write_with_pillow(path: Path, milliseconds: list[int] = MILLISECONDS, **options: Any) -> Path:
    """An animation by another writer than ours."""
    first, *others = (Image.fromarray(cut_out(index)) for index in range(len(milliseconds)))
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0, **options)
    return path


def write_noise(path: Path, has_alpha: bool = True) -> Path:
    """One of `NOISY` pictures of about the same number of bytes, a tenth of a second each."""
    source = np.random.default_rng(3)
    shape = (48, 64, 4 if has_alpha else 3)
    first, *others = (Image.fromarray(source.integers(0, 256, shape, np.uint8)) for _ in range(NOISY))
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


def cut(path: Path, share: float) -> tuple[list[Frame], str]:
    """Leaves a share of a file's pictures; returns what was in it, and what is said of it."""
    whole = frames_of(path)
    data = path.read_bytes()
    begin = data.index({".webp": b"ANMF", ".png": b"fcTL", ".avif": b"mdat"}[path.suffix])
    path.write_bytes(data[: begin + int((len(data) - begin) * share)])
    if path.suffix == ".webp":
        return whole, "is cut short: what followed its first {kept} frames is missing"
    return whole, "is cut short or damaged: the last {missing} of its frames cannot be read"


def same_pictures(found: list[Frame], whole: list[Frame]) -> None:
    for frame, meant in zip(found, whole, strict=False):
        assert (frame.pts, frame.duration) == (meant.pts, meant.duration)
        np.testing.assert_array_equal(frame.pixels, meant.pixels)


def layers(path: Path, layers: list[tuple[Pixels, tuple[int, int], tuple[int, int], int, int]], still: bool) -> Path:
    """An APNG by the book, of RGBA parts that are laid over each other: part, (x, y), duration, disposal, blending.

    With `still`, the file has one more picture, for viewers that do not know of animations.
    """
    parts = [
        chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 6, 0, 0, 0)),
        chunk(b"acTL", struct.pack(">II", len(layers), 0)),
    ]
    if still:
        parts.append(chunk(b"IDAT", rows(np.full((32, 32, 4), 99, np.uint8))))
    number = 0
    for index, (part, (x, y), (numerator, denominator), disposal, blending) in enumerate(layers):
        height, width = part.shape[:2]
        control = struct.pack(">IIIIIHHBB", number, width, height, x, y, numerator, denominator, disposal, blending)
        parts.append(chunk(b"fcTL", control))
        number += 1
        if index or still:
            parts.append(chunk(b"fdAT", struct.pack(">I", number) + rows(part)))
            number += 1
        else:
            parts.append(chunk(b"IDAT", rows(part)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))
    return path


def laid_over(layers: list[tuple[Pixels, tuple[int, int], tuple[int, int], int, int]]) -> list[npt.NDArray[Any]]:
    """What is seen of them, in floats, after Porter and Duff."""
    canvas, seen = np.zeros((32, 32, 4)), []
    for part, (x, y), _, disposal, blending in layers:
        before = canvas.copy()
        area = np.s_[y : y + part.shape[0], x : x + part.shape[1]]
        canvas[area] = over(part / 255, canvas[area] / 255) * 255 if blending else part
        seen.append(canvas.copy())
        if disposal == 1:
            canvas[area] = 0
        canvas = before if disposal == 2 else canvas
    return seen


def over(top: npt.NDArray[Any], below: npt.NDArray[Any]) -> npt.NDArray[Any]:
    share, rest = top[..., 3:], below[..., 3:] * (1 - top[..., 3:])
    colours = (top[..., :3] * share + below[..., :3] * rest) / np.maximum(share + rest, 1e-9)
    return np.dstack((colours, share + rest))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rows(pixels: Pixels) -> bytes:
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))


def flat(colour: tuple[int, ...], side: int = 16) -> Pixels:
    return np.full((side, side, 4), colour, np.uint8)


LAYERS = [
    (flat((255, 0, 0, 128), 32), (0, 0), (1, 10), 0, 0),
    (flat((0, 255, 0, 128)), (8, 8), (1, 30), 0, 1),
    (flat((0, 0, 255, 200)), (4, 4), (1001, 30000), 1, 1),
    (flat((9, 9, 9, 90), 8), (0, 0), (3, 1), 2, 0),
    (flat((0, 0, 255, 60)), (10, 10), (1, 0), 0, 1),
]
LAYERS_SECONDS = [Fraction(1, 10), Fraction(1, 30), Fraction(1001, 30000), Fraction(3), Fraction(1, 10)]
"""The last is stated as 1/0, which the format counts in hundredths: too short for any browser, and so a tenth."""


def frames_of(path: Path, time_range: TimeRange | None = None) -> list[Frame]:
    with open_source(str(path), *([time_range] if time_range else [])) as source:
        found = list(source)
        assert source.info.frame_count == len(found)
        assert source.decode_error is None
    return found


def seconds_of(path: Path) -> list[Fraction]:
    """How long each picture is shown, as an independent FFmpeg says."""
    report = ffmpeg("-i", path, "-fps_mode", "passthrough", "-enc_time_base", "1:100000", "-f", "framecrc", "-")
    lines = [line.split(",") for line in report.splitlines() if not line.startswith("#")]
    return [Fraction(int(line[3]), 100_000) for line in lines]


def ffmpeg(*arguments: object) -> str:
    command = [get_ffmpeg_exe(), "-v", "error", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class TestReading:
    @pytest.mark.parametrize("name", ["x.webp", "x.avif", "x.png", "x.apng"])
    def test_every_frame_and_how_long_it_is_shown(self, name: str, tmp_path: Path) -> None:
        lossy = {".webp": {"lossless": True}, ".avif": {"quality": 95}}.get(Path(name).suffix, {})
        found = frames_of(write_with_pillow(tmp_path / name, **lossy))
        seconds = [Fraction(each, 1000) for each in MILLISECONDS]
        assert [frame.duration for frame in found] == seconds
        assert [frame.pts for frame in found] == list(accumulate(seconds, initial=Fraction(0)))[:-1]
        for index, frame in enumerate(found):
            assert frame.pixels.shape == (HEIGHT_PX, WIDTH_PX, 4)
            there = cut_out(index)[..., 3] > 0
            assert np.abs(frame.pixels[there].astype(int) - cut_out(index)[there]).mean() < 3

    @pytest.mark.parametrize("still", [False, True], ids=["alone", "with a still"])
    def test_parts_of_an_apng_are_laid_over_each_other(self, still: bool, tmp_path: Path) -> None:
        found = frames_of(layers(tmp_path / "x.png", LAYERS, still))
        assert [frame.duration for frame in found] == LAYERS_SECONDS
        for frame, seen in zip(found, laid_over(LAYERS), strict=True):
            assert np.abs(frame.pixels - seen).max() < 2

    def test_a_palette_with_alpha(self, tmp_path: Path) -> None:
        pictures = [Image.fromarray(np.full((32, 32), index, np.uint8)) for index in range(3)]
        for each in pictures:
            each.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
        pictures[0].save(
            tmp_path / "x.png", save_all=True, append_images=pictures[1:], duration=100, transparency=b"\xff\x80\x00"
        )
        shown = [frame.pixels[0, 0].tolist() for frame in frames_of(tmp_path / "x.png")]
        assert shown[:2] == [[10, 20, 30, 255], [40, 50, 60, 128]]
        assert shown[2][3] == 0

    def test_the_clock_is_the_coarsest_that_fits(self, tmp_path: Path) -> None:
        with open_source(str(write_with_pillow(tmp_path / "x.webp", [40, 80, 120]))) as source:
            assert (source.info.time_base, source.info.rate) == (Fraction(1, 25), Fraction(25, 2))

    @pytest.mark.parametrize("milliseconds", [0, 5, 10])
    def test_what_is_too_short_is_shown_as_browsers_do(self, milliseconds: int, tmp_path: Path) -> None:
        found = frames_of(write_with_pillow(tmp_path / "x.webp", [50, milliseconds, 50]))
        assert [frame.duration for frame in found] == [Fraction(1, 20), Fraction(1, 10), Fraction(1, 20)]

    def test_one_frame_is_a_still(self, tmp_path: Path) -> None:
        assert [frame.duration for frame in frames_of(write_with_pillow(tmp_path / "x.webp", [50]))] == [None]

    def test_a_stretch(self, tmp_path: Path) -> None:
        path = write_with_pillow(tmp_path / "x.webp", [100, 200, 300, 400], lossless=True)
        whole, part = frames_of(path), frames_of(path, TimeRange.of("0.1", "0.6"))
        assert [(frame.index, frame.pts) for frame in part] == [(0, 0), (1, Fraction(1, 5))]
        assert np.array_equal(part[1].pixels, whole[2].pixels)
        with pytest.raises(InputError, match="no frame at that time: it lasts 1 s"):
            open_source(str(path), TimeRange.of("2", None))

    @pytest.mark.parametrize("share", [0.25, 0.65, 0.85, 0.999])
    @pytest.mark.parametrize("name", ["x.webp", "x.png"])
    def test_one_that_is_cut_short_gives_what_is_there(self, name: str, share: float, tmp_path: Path) -> None:
        path = write_noise(tmp_path / name)
        whole, told = cut(path, share)
        with open_source(str(path)) as source:
            found = list(source)
        assert len(found) == int(share * NOISY)
        same_pictures(found, whole)
        assert source.decode_error == f"{path} {told.format(kept=len(found), missing=NOISY - len(found))}"

    @pytest.mark.parametrize("has_alpha", [True, False])
    @pytest.mark.parametrize("share", [0.25, 0.65, 0.85, 0.999])
    def test_avif_that_is_cut_short_gives_what_is_there(self, share: float, has_alpha: bool, tmp_path: Path) -> None:
        """The library puts the alpha of all pictures before the colours of any."""
        path = write_noise(tmp_path / "x.avif", has_alpha)
        whole, told = cut(path, share)
        if has_alpha and share == 0.25:
            with pytest.raises(InputError, match="badly damaged"):
                open_source(str(path))
            return
        with open_source(str(path)) as source:
            found = list(source)
        assert found[0].image.shape[2] == (4 if has_alpha else 3)
        same_pictures(found, whole)
        assert source.decode_error == f"{path} {told.format(missing=NOISY - len(found))}"

    @pytest.mark.parametrize("name", ["x.webp", "x.avif"])
    def test_one_frame_that_is_left(self, name: str, tmp_path: Path) -> None:
        path = write_noise(tmp_path / name, has_alpha=False)
        whole, _ = cut(path, 1.5 / NOISY)
        with open_source(str(path)) as source:
            found = list(source)
        assert len(found) == 1
        same_pictures(found, whole)
        assert source.decode_error
        np.testing.assert_array_equal(read_image(path), whole[0].pixels)

    @pytest.mark.parametrize("left_out", [1, 2, 3, 400, 3000])
    def test_gif_that_is_cut_short(self, left_out: int, tmp_path: Path) -> None:
        """Where only the mark of the end is missing, every picture is there."""
        path = write_noise(tmp_path / "x.gif")
        path.write_bytes(path.read_bytes()[:-left_out])
        with open_source(str(path)) as source:
            assert len(list(source)) == NOISY
        assert source.decode_error == (
            None if left_out == 1 else f"{path} is damaged: it is cut short amid its last frame"
        )

    @pytest.mark.parametrize("end", ["0.2", "9"])
    def test_only_what_is_wanted_is_missed(self, end: str, tmp_path: Path) -> None:
        path = write_noise(tmp_path / "x.webp")
        cut(path, 0.65)
        with open_source(str(path), TimeRange.of(None, end)) as source:
            assert len(list(source)) == {"0.2": 2, "9": 6}[end]
        assert bool(source.decode_error) == (end == "9")

    @pytest.mark.parametrize("name", ["x.webp", "x.avif"])
    def test_half_a_photo_is_none(self, name: str, tmp_path: Path) -> None:
        path = tmp_path / name
        Image.fromarray(cut_out(0)).save(path)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(InputError, match="damaged"):
            open_source(str(path))

    @pytest.mark.parametrize("name", ["x.webp", "x.avif", "x.png"])
    def test_one_line_for_what_is_broken(self, name: str, tmp_path: Path) -> None:
        path = write_with_pillow(tmp_path / name)
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(InputError, match="damaged"):
            open_source(str(path))

    @pytest.mark.parametrize("name", ["x.webp", "x.png", "x.gif"])
    def test_a_background_plays_and_begins_again_after_its_last_frame(self, name: str, tmp_path: Path) -> None:
        greys = [Image.fromarray(np.full((16, 16), level, np.uint8)) for level in (0, 100, 200)]
        greys[0].save(tmp_path / name, save_all=True, append_images=greys[1:], duration=[100, 100, 800])
        background = open_background(str(tmp_path / name), "cover")
        assert isinstance(background, VideoBackground)
        black = np.zeros((16, 16, 3), np.uint8)
        times = ["0", "0.1", "0.25", "0.9", "1", "1.1", "1.2"]
        shown = [int(background.frame_at(Frame(0, Fraction(time), black)).mean().round()) for time in times]
        background.close()
        assert np.abs(np.array(shown) - [0, 100, 200, 200, 0, 100, 200]).max() < 3


def write(path: Path, pictures: list[Pixels], times: list[Fraction], **more: Any) -> str:
    """Writes pictures, the last of which is shown for three seconds; what the sink says of it."""
    info = VideoInfo(
        pictures[0].shape[1],
        pictures[0].shape[0],
        more.get("rate", Fraction(30)),
        more.get("time_base", Fraction(1, 30)),
    )
    kind: Kind = "matte" if pictures[0].ndim == 2 else "foreground" if pictures[0].shape[2] == 4 else "composite"
    with open_sink(str(path), info, kind, more.get("output", OutputSettings())) as sink:
        for index, (pixels, time) in enumerate(zip(pictures, times, strict=True)):
            is_last = index == len(pictures) - 1
            sink.write(Frame(index, time, pixels, duration=Fraction(3) if is_last else None))
    return sink.summary


UNEVEN = [Fraction(number, 30) for number in (0, 1, 2, 3, 5, 9)]


class TestWriting:
    @pytest.mark.parametrize("suffix", FORMATS)
    @pytest.mark.parametrize("kind", ["foreground", "composite", "matte"])
    def test_times_in_three_readers(self, kind: str, suffix: str, tmp_path: Path) -> None:
        made = [cut_out(index) for index in range(len(UNEVEN))]
        part = {"foreground": np.s_[:], "composite": np.s_[..., :3], "matte": np.s_[..., 3]}[kind]
        path = tmp_path / f"x{suffix}"
        write(path, [np.ascontiguousarray(pixels[part]) for pixels in made], UNEVEN)
        starts = [round(time / TICKS[suffix]) * TICKS[suffix] for time in UNEVEN]
        seconds = [after - before for before, after in zip(starts, [*starts[1:], starts[-1] + 3], strict=True)]
        assert [frame.pts for frame in frames_of(path)] == starts
        assert [float(each) for each in seconds_of(path)] == pytest.approx([float(each) for each in seconds], abs=2e-5)
        with Image.open(path) as found:
            for number, each in enumerate(seconds):
                found.seek(number)
                found.load()
                assert found.info["duration"] == pytest.approx(float(1000 * each))
            assert found.info["loop"] == 0
        assert list(tmp_path.iterdir()) == [path]

    def test_apng_keeps_every_level(self, tmp_path: Path) -> None:
        made = [cut_out(index) for index in range(6)]
        write(tmp_path / "x.apng", made, UNEVEN)
        for found, pixels in zip(frames_of(tmp_path / "x.apng"), made, strict=True):
            assert np.array_equal(found.pixels, np.where(pixels[..., 3:], pixels, 0))

    def test_webp_keeps_every_level_of_alpha_and_the_colours_well(self, tmp_path: Path) -> None:
        made = [cut_out(index) for index in range(6)]
        written = write(tmp_path / "x.webp", made, UNEVEN)
        assert "6 frames, animated WebP, with soft alpha, no sound; plays in any browser" in written
        for found, pixels in zip(frames_of(tmp_path / "x.webp"), made, strict=True):
            assert np.array_equal(found.pixels[..., 3], pixels[..., 3])
            there = pixels[..., 3] == 255
            assert np.abs(found.pixels[there].astype(int) - pixels[there]).mean() < 3

    def test_webp_of_high_quality_keeps_all(self, tmp_path: Path) -> None:
        made = [cut_out(index) for index in range(6)]
        write(tmp_path / "x.webp", made, UNEVEN, output=OutputSettings(quality="high"))
        for found, pixels in zip(frames_of(tmp_path / "x.webp"), made, strict=True):
            there = pixels[..., 3] > 0
            assert np.array_equal(found.pixels[there], pixels[there])

    def test_gif_is_whole_or_transparent_and_says_so(self, tmp_path: Path) -> None:
        made = [cut_out(index) for index in range(6)]
        written = write(tmp_path / "x.gif", made, UNEVEN)
        assert "GIF, 256 colours a frame, dithered, each pixel whole or transparent (.webp and .apng keep" in written
        for found, pixels in zip(frames_of(tmp_path / "x.gif"), made, strict=True):
            there = pixels[..., 3] >= 128
            assert np.array_equal(found.pixels[..., 3], np.where(there, 255, 0))
            assert np.abs(found.pixels[there, :3].astype(int) - pixels[there, :3]).mean() < 3

    def test_gif_dithers(self, tmp_path: Path) -> None:
        slope = np.dstack([*np.meshgrid(np.arange(256), np.arange(256)), np.full((256, 256), 128)]).astype(np.uint8)
        write(tmp_path / "x.gif", [slope], [Fraction(0)])
        found = frames_of(tmp_path / "x.gif")[0].pixels[..., :3].astype(float)
        assert len(np.unique(found.reshape(-1, 3), axis=0)) <= 256
        near = cv2.blur(found, (9, 9)) - cv2.blur(slope.astype(float), (9, 9))
        assert np.abs(near).mean() < 4, "colours between those of the palette are mixed from them"

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_frames_where_nothing_shows(self, suffix: str, tmp_path: Path) -> None:
        nothing = np.zeros((HEIGHT_PX, WIDTH_PX, 4), np.uint8)
        corner = nothing.copy()
        corner[-1, -1] = 255
        write(tmp_path / f"x{suffix}", [nothing, corner, cut_out(0), nothing], UNEVEN[:4])
        found = frames_of(tmp_path / f"x{suffix}")
        assert [int((frame.pixels[..., 3] > 0).sum()) for frame in found][:2] == [0, 1]
        assert found[1].pixels[-1, -1, 3] == 255
        assert not found[3].pixels[..., 3].any()

    def test_film_times_are_exact_in_an_apng(self, tmp_path: Path) -> None:
        unit = Fraction(1001, 24000)
        times = [number * unit for number in range(12)]
        write(tmp_path / "x.apng", [cut_out(0)] * 12, times, rate=1 / unit, time_base=Fraction(1, 24000))
        assert [frame.pts for frame in frames_of(tmp_path / "x.apng")] == times

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_no_drift(self, suffix: str, tmp_path: Path) -> None:
        times = [Fraction(number * 3003, 90_000) for number in range(60)]
        write(tmp_path / f"x{suffix}", [cut_out(0)[:32, :32]] * 60, times, time_base=Fraction(1, 90_000))
        found = frames_of(tmp_path / f"x{suffix}")
        assert len(found) == 60
        assert all(abs(frame.pts - time) <= TICKS[suffix] / 2 for frame, time in zip(found, times, strict=True))

    @pytest.mark.parametrize(("suffix", "kept", "most"), [(".gif", 50, "50 a second"), (".webp", 60, "90 a second")])
    def test_more_than_browsers_show_is_left_out_and_said(
        self, suffix: str, kept: int, most: str, tmp_path: Path
    ) -> None:
        times = [Fraction(number, 120) for number in range(120)]
        written = write(tmp_path / f"x{suffix}", [cut_out(0)[:32, :32]] * 120, times, rate=Fraction(120))
        found = frames_of(tmp_path / f"x{suffix}")
        assert len(found) == kept
        assert f"{kept} frames" in written
        assert f"{120 - kept} left out: it shows {most} at most" in written
        assert sum(seconds_of(tmp_path / f"x{suffix}")) == pytest.approx(float(times[-1] + 3), abs=0.01)

    def test_pixels_become_square(self, tmp_path: Path) -> None:
        info = VideoInfo(64, 48, pixel_aspect=Fraction(4, 3))
        with open_sink(str(tmp_path / "x.webp"), info) as sink:
            sink.write(Frame(0, Fraction(0), picture(0, 64, 48)))
        assert frames_of(tmp_path / "x.webp")[0].pixels.shape == (48, 85, 3)

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_the_first_frame_decides(self, suffix: str, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="two sizes or kinds"):
            write(tmp_path / f"x{suffix}", [cut_out(0), cut_out(1)[..., :3]], UNEVEN[:2])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_what_cannot_be_is_refused_at_once(self, suffix: str, tmp_path: Path) -> None:
        out, info = str(tmp_path / f"x{suffix}"), VideoInfo(64, 48)
        with pytest.raises(OutputError, match="cannot be resumed"):
            open_sink(out, info, resume=True)
        with pytest.raises(OutputError, match="holds alpha itself: leave out --alpha stacked"):
            open_sink(out, info, "foreground", OutputSettings(alpha="stacked"))
        with pytest.raises(OutputError, match="no folder"):
            open_sink(str(tmp_path / "gone" / f"x{suffix}"), info)
        with pytest.raises(OutputError, match="no more than"):
            open_sink(out, VideoInfo(20_000_000, 48))

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_full_disk_is_one_line(self, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.replace", full)
        with pytest.raises(OutputError, match=r"cannot write .*x.*: No space left on device"):
            write(tmp_path / f"x{suffix}", [cut_out(0)], UNEVEN[:1])
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_what_a_killed_run_leaves_plays(self, suffix: str, tmp_path: Path) -> None:
        out = tmp_path / f"x{suffix}"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.writer", str(out), "foreground"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        for line in process.stdout:
            if int(line) == 30:
                process.send_signal(signal.SIGKILL)
                break
        process.wait()
        process.stdout.close()
        assert not out.exists()
        part = out.with_name(f"{out.name}.part")
        found = frames_of(part.rename(tmp_path / f"left{suffix}"))
        assert len(found) >= 28
        assert len(seconds_of(tmp_path / f"left{suffix}")) == len(found)


@pytest.fixture
def disc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the synthetic disc instead of loading a network."""
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_: DiscEngine())


@pytest.mark.usefixtures("disc")
class TestCommands:
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_video_becomes_a_sticker(self, suffix: str, clip: Clip, tmp_path: Path) -> None:
        out = tmp_path / f"sticker{suffix}"
        result = CliRunner().invoke(cli.app, ["video", str(clip.path), "-o", str(out)])
        assert result.exit_code == 0, result.output
        found = frames_of(out)
        assert len(found) == clip.frames
        assert f"{out}: {clip.frames} frames" in result.output
        for index, frame in enumerate(found):
            assert np.abs(frame.pixels[..., 3].astype(int) - true_alpha(index)).mean() < 4

    @pytest.mark.parametrize("name", ["x.webp", "x.png"])
    def test_an_animation_becomes_a_video(self, name: str, tmp_path: Path) -> None:
        source = write_with_pillow(tmp_path / name)
        result = CliRunner().invoke(cli.app, ["video", str(source), "-o", str(tmp_path / "x.mkv")])
        assert result.exit_code == 0, result.output
        with av.open(str(tmp_path / "x.mkv")) as file:
            times = [frame.pts * frame.time_base for frame in file.decode(video=0)]
        assert times == list(accumulate((Fraction(each, 1000) for each in MILLISECONDS), initial=0))[:-1]

    @pytest.mark.parametrize("name", ["x.webp", "x.avif"])
    def test_one_that_is_cut_short_is_done_as_far_as_it_goes(self, name: str, tmp_path: Path) -> None:
        source = write_noise(tmp_path / name, has_alpha=False)
        cut(source, 0.5)
        result = CliRunner().invoke(cli.app, ["video", str(source), "-o", str(tmp_path / "y.gif")])
        assert result.exit_code == 3, result.output
        assert "is cut short" in result.stderr
        assert 1 <= len(frames_of(tmp_path / "y.gif")) < NOISY

    def test_probe_counts_the_frames(self, tmp_path: Path) -> None:
        result = CliRunner().invoke(cli.app, ["probe", str(write_with_pillow(tmp_path / "x.webp"))])
        assert f"5 images of {WIDTH_PX}x{HEIGHT_PX} px" in result.output

    @pytest.mark.parametrize("out", ["y.gif", "y.webp", "y.apng"])
    @pytest.mark.parametrize("name", ["x.gif", "x.webp", "x.png"])
    def test_an_animation_becomes_an_animation_of_the_same_times(self, name: str, out: str, tmp_path: Path) -> None:
        hundredths = [30, 40, 100, 50, 3000]
        source = write_with_pillow(tmp_path / name, hundredths)
        result = CliRunner().invoke(cli.app, ["video", str(source), "-o", str(tmp_path / out)])
        assert result.exit_code == 0, result.output
        assert [frame.duration for frame in frames_of(tmp_path / out)] == [Fraction(each, 1000) for each in hundredths]

    @pytest.mark.parametrize("start", ["0.07", "0.2"])
    def test_a_stretch_of_an_animation(self, start: str, tmp_path: Path) -> None:
        source = write_with_pillow(tmp_path / "x.webp", [50, 50, 100, 100, 100])
        result = CliRunner().invoke(cli.app, ["video", str(source), "-o", str(tmp_path / "y.webp"), "--start", start])
        assert result.exit_code == 0, result.output
        assert len(frames_of(tmp_path / "y.webp")) == {"0.07": 3, "0.2": 2}[start]

    def test_a_photo_becomes_a_gif_and_what_that_means_is_said(self, tmp_path: Path) -> None:
        source = write_with_pillow(tmp_path / "x.webp")
        result = CliRunner().invoke(cli.app, ["image", str(source), "-o", str(tmp_path / "y.gif")])
        assert result.exit_code == 0, result.output
        assert "the first of 5 frames, streamseg video does them all; GIF, 256 colours a frame" in result.output
        with Image.open(tmp_path / "y.gif") as found:
            assert found.format == "GIF"
