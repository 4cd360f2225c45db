"""Alpha video, written and read again: by us, and by an FFmpeg that is not the one inside PyAV."""

from __future__ import annotations

import errno
import itertools
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from streamseg.decode import open_source
from streamseg.errors import OutputError
from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.image import Pixels
from streamseg.settings import OutputSettings
from streamseg.sink import open_sink
from tests.synthetic import picture

WIDTH_PX, HEIGHT_PX, COUNT = 320, 180, 20
STANDARD = OutputSettings()
Alpha = Literal["embedded", "stacked", "sidecar"]
LOSSY_MEAN, LOSSY_MAX = 0.3, 40


@dataclass(frozen=True)
class Format:
    """A way to write alpha.

    Attributes:
        name: the file's.
        output: the settings.
        lossless: alpha must come back exactly.
        decoder: FFmpeg's decoder that must be asked for by name.
        beside: pictures of a file in which FFmpeg finds no alpha channel -> their alpha.
    """

    name: str
    output: OutputSettings = STANDARD
    lossless: bool = False
    decoder: str | None = None
    beside: Callable[[Pixels], Pixels] | None = None


FORMATS = {
    "ProRes 4444 (.mov)": Format("x.mov"),
    "ProRes 4444 (.mov, high)": Format("x.mov", OutputSettings(quality="high")),
    "VP9 (.webm)": Format("x.webm", decoder="libvpx-vp9"),
    "VP9 (.webm, high)": Format("x.webm", OutputSettings(quality="high"), decoder="libvpx-vp9"),
    "FFV1 (.mkv)": Format("x.mkv", lossless=True),
    "HEVC (.mp4)": Format("x.mp4"),
    "HEVC (.mp4, high)": Format("x.mp4", OutputSettings(quality="high")),
    "H.264, stacked (.mp4)": Format(
        "x.mp4", OutputSettings(alpha="stacked"), beside=lambda rgba: rgba[HEIGHT_PX:, :, 1]
    ),
    "H.264, sidecar (.mp4)": Format("x.mp4", OutputSettings(alpha="sidecar"), beside=lambda rgba: rgba[..., 1]),
}


def hairy_alpha(index: int) -> Pixels:
    """A matte `(H, W)` with a soft edge and strands of hair that wave."""
    alpha = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    cv2.circle(alpha, (WIDTH_PX // 2, HEIGHT_PX), HEIGHT_PX // 2, 255, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 3)
    strands = np.random.default_rng(5)
    for angle in strands.uniform(np.pi, 2 * np.pi, 60):
        bend = angle + 0.1 * np.sin(index / 5 + angle * 7)
        length = strands.uniform(0.55, 0.75) * HEIGHT_PX
        end = WIDTH_PX / 2 + length * np.cos(bend), HEIGHT_PX + length * np.sin(bend)
        cv2.line(alpha, (WIDTH_PX // 2, HEIGHT_PX), tuple(map(round, end)), 255, 1, cv2.LINE_AA)
    return cv2.GaussianBlur(alpha, (3, 3), 0).astype(np.uint8)


def cut_outs() -> list[Frame]:
    pixels = (np.dstack((picture(n, WIDTH_PX, HEIGHT_PX), hairy_alpha(n))) for n in range(COUNT))
    return [Frame(n, Fraction(n, 25), rgba) for n, rgba in enumerate(pixels)]


def write(
    path: Path, frames: list[Frame], output: OutputSettings, kind: Kind = "foreground", resume: bool = False
) -> float:
    """Writes the frames and returns the seconds that it took."""
    info = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(25), Fraction(1, 25), len(frames))
    started = time.perf_counter()
    with open_sink(str(path), info, kind, output, resume) as sink:
        for frame in frames:
            sink.write(frame)
    return time.perf_counter() - started


def ours(path: Path, form: Format) -> list[Pixels]:
    """The mattes as streamseg reads them."""
    if form.output.alpha == "sidecar":
        with open_source(str(path.with_suffix(".alpha.mp4"))) as source:
            return [frame.pixels[..., 1] for frame in source]
    with open_source(str(path)) as source:
        return [frame.pixels[..., 3] for frame in source]


def theirs(path: Path, form: Format) -> list[Pixels]:
    """The mattes as a separate FFmpeg reads them."""
    source = path.with_suffix(".alpha.mp4") if form.output.alpha == "sidecar" else path
    decoder = ["-c:v", form.decoder] if form.decoder else []
    raw = ["-sws_flags", "accurate_rnd+full_chroma_int", "-pix_fmt", "rgba", "-f", "rawvideo", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *decoder, "-i", str(source), *raw]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    frames = np.frombuffer(data, np.uint8).reshape(COUNT, -1, WIDTH_PX, 4)
    return [form.beside(frame) if form.beside else frame[..., 3] for frame in frames]


def errors(found: list[Pixels], meant: list[Frame]) -> tuple[int, float]:
    """The largest and the mean difference of alpha, in levels of 255."""
    difference = np.abs(np.stack(found).astype(int) - np.stack([frame.pixels[..., 3] for frame in meant]))
    return int(difference.max()), float(difference.mean())


def test_round_trip_table(tmp_path: Path) -> None:
    """Every format within its bounds, by both readers; `pytest -s -k round_trip_table` prints the README's table."""
    frames = cut_outs()
    opaque = [Frame(frame.index, frame.pts, frame.pixels[..., :3].copy()) for frame in frames]
    plain_seconds = write(tmp_path / "plain.mp4", opaque, STANDARD, "composite")
    rows = ["| format | alpha, max error | mean | size, KB | time, H.264 = 1 |", "|---|---|---|---|---|"]
    for name, form in FORMATS.items():
        folder = tmp_path / name.partition(" (")[0].replace("/", "") / form.output.quality
        folder.mkdir(parents=True)
        path = folder / form.name
        seconds = write(path, frames, form.output)
        results = errors(ours(path, form), frames), errors(theirs(path, form), frames)
        for largest, mean in results:
            assert largest <= (0 if form.lossless else LOSSY_MAX), name
            assert mean <= (0 if form.lossless else LOSSY_MEAN), name
        largest, mean = map(max, zip(*results, strict=True))
        size = sum(file.stat().st_size for file in folder.iterdir())
        rows.append(f"| {name} | {largest} | {mean:.2f} | {size / 1000:.0f} | {seconds / plain_seconds:.1f} |")
    print("\n".join(rows))


def test_colours_under_alpha_come_back(tmp_path: Path) -> None:
    frames = cut_outs()
    for name in ("x.mov", "x.webm", "x.mkv", "x.mp4"):
        write(tmp_path / name, frames, STANDARD)
        with open_source(str(tmp_path / name)) as source:
            for frame, meant in zip(source, frames, strict=True):
                assert np.abs(frame.pixels[..., :3].astype(int) - meant.pixels[..., :3]).mean() < 2, name


ANY_SIZE = (".gif", ".webp", ".apng")
VIDEOS = (".mp4", ".mov", ".mkv", ".webm")
KEEPS_ODD_SIDES = ("x.mov", "x.mkv")
"""Files of foregrounds of which the codec has a colour for each pixel."""


def of_size(width_px: int, height_px: int) -> tuple[VideoInfo, list[Frame]]:
    """Two foregrounds: the lower right quarter shows."""
    pixels = np.full((height_px, width_px, 4), (96, 160, 60, 0), np.uint8)
    pixels[height_px // 2 :, width_px // 2 :, 3] = 255
    info = VideoInfo(width_px, height_px, Fraction(25), Fraction(1, 25), 2)
    return info, [Frame(n, Fraction(n, 25), pixels, duration=Fraction(1, 25)) for n in range(2)]


@pytest.mark.parametrize("quality", ["standard", "high"])
@pytest.mark.parametrize("size_px", [(131, 97), (97, 130), (130, 97), (17, 16)])
def test_odd_sizes(size_px: tuple[int, int], quality: Literal["standard", "high"], tmp_path: Path) -> None:
    """Every writer: as they are where the codec can, or with the last row and column repeated."""
    width, height = size_px
    info, frames = of_size(width, height)
    even = width + width % 2, height + height % 2
    for suffix, alpha in itertools.product(VIDEOS + ANY_SIZE, get_args(Alpha)):
        if alpha != "embedded" and suffix in ANY_SIZE:
            continue
        path = tmp_path / f"x{suffix}"
        with open_sink(str(path), info, "foreground", OutputSettings(alpha=alpha, quality=quality)) as sink:
            for frame in frames:
                sink.write(frame)
        if alpha == "sidecar":
            path = path.with_suffix(f".alpha{suffix}")
        with open_source(str(path)) as source:
            found = [frame.pixels[..., 1 if alpha == "sidecar" else 3] for frame in source]
        as_it_is = suffix in ANY_SIZE or (alpha == "embedded" and path.name in KEEPS_ODD_SIDES)
        assert found[0].shape[::-1] == (size_px if as_it_is else even), path.name
        for matte, meant in zip(found, frames, strict=True):
            difference = np.abs(matte[:height, :width].astype(int) - meant.pixels[..., 3])
            assert difference.mean() < 0.5, path.name  # A row or column amiss is more than 2.


@pytest.mark.parametrize("size_px", [(1, 1), (2, 2), (3, 200), (200, 15)])
def test_tiny_sizes(size_px: tuple[int, int], tmp_path: Path) -> None:
    """An animation takes them, a video refuses them at once."""
    info, frames = of_size(*size_px)
    for suffix, alpha in itertools.product(VIDEOS, get_args(Alpha)):
        for kind in (None, "foreground", "composite", "matte"):
            with pytest.raises(OutputError, match=r"have {}x{} px, a video has 16x16 px at least".format(*size_px)):
                open_sink(str(tmp_path / f"x{suffix}"), info, kind, OutputSettings(alpha=alpha))
    assert not list(tmp_path.iterdir())
    for suffix in ANY_SIZE:
        with open_sink(str(tmp_path / f"x{suffix}"), info) as sink:
            for frame in frames:
                sink.write(frame)
        with Image.open(tmp_path / f"x{suffix}") as picture:
            assert picture.size == size_px


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_sequences_are_exact(suffix: str, tmp_path: Path) -> None:
    """The colours where nothing shows, too."""
    frames = cut_outs()[:3]
    write(tmp_path / f"x_%05d{suffix}", frames, STANDARD)
    with open_source(str(tmp_path)) as source:
        for found, meant in zip(source, frames, strict=True):
            np.testing.assert_array_equal(found.pixels, meant.pixels)


@pytest.mark.parametrize("straight", [False, True])
@pytest.mark.parametrize("kind", ["foreground", "composite", "matte"])
def test_exr_by_a_separate_ffmpeg(kind: Kind, straight: bool, tmp_path: Path) -> None:
    """Linear, to the precision of half floats: premultiplied, or straight with the colours where nothing shows."""
    rgba = cut_outs()[3].pixels
    pixels = {"foreground": rgba, "composite": rgba[..., :3].copy(), "matte": rgba[..., 3].copy()}[kind]
    write(tmp_path / "x_%d.exr", [Frame(0, Fraction(0), pixels)], OutputSettings(straight=straight), kind)
    raw = ["-pix_fmt", "grayf32le" if kind == "matte" else "gbrapf32le", "-f", "rawvideo", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "x_0.exr"), *raw]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    planes = np.frombuffer(data, np.float32).reshape(-1, HEIGHT_PX, WIDTH_PX)
    share = rgba[..., 3] / 255
    if kind == "matte":
        np.testing.assert_allclose(planes[0], share, atol=1e-3)
        return
    green, blue, red, alpha = planes
    cover = share if kind == "foreground" else np.ones_like(share)
    np.testing.assert_allclose(alpha, cover, atol=1e-3)
    for plane, channel in ((red, 0), (green, 1), (blue, 2)):
        level = rgba[..., channel] / 255
        light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
        np.testing.assert_allclose(plane, light if straight else light * cover, atol=1e-3)


def test_an_exr_sequence_says_which_alpha_it_has(tmp_path: Path) -> None:
    info = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(25), Fraction(1, 25), 1)
    for straight, said in ((False, "premultiplied alpha"), (True, "straight alpha")):
        with open_sink(str(tmp_path / "x_%d.exr"), info, "foreground", OutputSettings(straight=straight)) as sink:
            assert sink.summary.endswith(said)


def test_a_file_without_its_alpha_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a codec drops it without a word."""
    from streamseg.sink import formats

    broken = {**formats.WITH_ALPHA, ".mkv": formats.OPAQUE[".mkv"]}
    monkeypatch.setattr(formats, "WITH_ALPHA", broken)
    with pytest.raises(
        OutputError, match=r"x\.mkv lost its alpha: the first frame came back without it; .*x\.mkv\.part"
    ):
        write(tmp_path / "x.mkv", cut_outs(), STANDARD)
    assert plays(tmp_path) == {"x.mkv.part": COUNT}


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_wrong_alpha_is_an_error(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = cut_outs()
    index = {"first": 0, "middle": COUNT // 2, "last": COUNT - 1}[place]
    from streamseg.sink.check import AlphaCheck

    def note(self: AlphaCheck, frame: Frame, honest: Callable[[AlphaCheck, Frame], None] = AlphaCheck.note) -> None:
        wrong = np.dstack((frame.pixels[..., :3], 255 - frame.pixels[..., 3]))
        honest(self, Frame(frame.index, frame.pts, wrong) if frame.index == index else frame)

    monkeypatch.setattr(AlphaCheck, "note", note)
    with pytest.raises(OutputError, match=rf"lost its alpha: the {place} frame is off by [0-9.]+ levels"):
        write(tmp_path / "x.mkv", frames, STANDARD)
    assert plays(tmp_path) == {"x.mkv.part": COUNT}


def test_a_sidecar_that_is_wrong_keeps_both_files_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamseg.sink import check

    monkeypatch.setattr(check, "MAX_MEAN_ERROR_LEVELS", -1.0)
    with pytest.raises(OutputError, match=r"x\.alpha\.mp4 lost its alpha: .*; what was written is in .*\.mp4\.part"):
        write(tmp_path / "x.mp4", cut_outs(), OutputSettings(alpha="sidecar"))
    assert plays(tmp_path) == {"x.alpha.mp4.part": COUNT, "x.mp4.part": COUNT}


def plays(folder: Path) -> dict[str, int]:
    """The files of a folder, and how many pictures of each play."""
    counts = {}
    for path in sorted(folder.iterdir()):
        with open_source(str(path)) as source:
            counts[path.name] = len(list(source))
    return counts


def test_a_sidecar_is_two_files_or_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="elsewhere"):
        write(tmp_path / "x.mp4", [*cut_outs(), *_failing()], OutputSettings(alpha="sidecar"))
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "x.mp4", cut_outs(), OutputSettings(alpha="sidecar"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.alpha.mp4", "x.mp4"]


def test_a_disk_that_fills_with_the_last_bytes_of_the_colours_keeps_both_to_go_on_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, output = tmp_path / "x.mp4", OutputSettings(alpha="sidecar")

    def replace(part: Path, name: Path, honest: Callable[[Path, Path], None] = os.replace) -> None:
        if name == path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        honest(part, name)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError, match=r"x\.mp4\.part plays up to there, and --resume goes on"):
        write(path, cut_outs(), output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.alpha.mp4.part", "x.mp4.part"]
    monkeypatch.undo()
    write(path, cut_outs(), output, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.alpha.mp4", "x.mp4"]


def _failing():  # type: ignore[no-untyped-def]
    raise ValueError("elsewhere")
    yield
