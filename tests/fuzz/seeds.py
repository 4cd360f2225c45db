"""Small whole files of every format that is read, to be damaged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from PIL import Image

from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.settings import OutputSettings
from streamseg.sink import open_sink
from tests.synthetic import ordinary_scheduling, picture, true_alpha

WIDTH_PX, HEIGHT_PX, COUNT = 64, 48, 5
SOUND_RATE = 48_000


@dataclass(frozen=True)
class Seed:
    """A file.

    Attributes:
        name: what it is; its suffix is the file's.
        data: its content.
        is_video: by its suffix; else it is a picture.
    """

    name: str
    data: bytes
    is_video: bool


@dataclass(frozen=True)
class Recipe:
    """A video as FFmpeg writes it: its name ends in the container's suffix."""

    name: str
    codec: str
    layout: str = "yuv420p"
    sound: str | None = None
    size_px: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)
    rate: int = 25
    options: tuple[tuple[str, str], ...] = ()
    sound_rate: int = SOUND_RATE


X264 = (("preset", "ultrafast"), ("bf", "2"))
RECIPES = (
    Recipe("h264 and aac.mp4", "libx264", sound="aac", options=X264),
    Recipe("fragments.mp4", "libx264", sound="aac", options=X264),
    Recipe("h264 of 10 bits.mov", "libx264", "yuv420p10le", "pcm_s16le", options=X264),
    Recipe("mpeg 4.3gp", "mpeg4", sound="aac"),
    Recipe("turned.mp4", "libx264", options=X264),
    Recipe("animation.mov", "qtrle", "argb", "alac"),
    Recipe("photo jpeg.mov", "mjpeg", "yuvj420p"),
    Recipe("dnxhr.mov", "dnxhd", "yuv422p", size_px=(256, 128), options=(("profile", "dnxhr_lb"),)),
    Recipe("h264, flac and subtitles.mkv", "libx264", sound="flac", options=X264),
    Recipe("ffv1.mkv", "ffv1", "yuv422p", "ac3"),
    Recipe("av1.mkv", "libsvtav1", sound="libopus", options=(("preset", "12"),)),
    Recipe("hevc.mkv", "libx265", options=(("preset", "ultrafast"), ("x265-params", "log-level=none:pools=1"))),
    Recipe("vp8.webm", "libvpx", sound="libopus", options=(("deadline", "realtime"),)),
    Recipe("xvid and mp3.avi", "mpeg4", sound="libmp3lame"),
    Recipe("huffyuv.avi", "huffyuv", "yuv422p", "pcm_s16le"),
    Recipe("wmv.wmv", "wmv2", sound="wmav2"),
    Recipe("flash.flv", "libx264", sound="aac", options=X264),
    Recipe("broadcast.ts", "libx264", sound="mp2", options=X264),
    Recipe("mpeg 2.ts", "mpeg2video", sound="ac3"),
    Recipe("dvd.mpg", "mpeg2video", sound="mp2"),
    Recipe("professional.mxf", "mpeg2video", "yuv422p", "pcm_s16le"),
    Recipe("nut.nut", "ffv1", "bgra", "libmp3lame"),
    Recipe("gif.gif", "gif", "rgb8"),
    Recipe("apng.apng", "apng", "rgba"),
    Recipe("raw.h264", "libx264", options=X264),
    Recipe("raw.hevc", "libx265", options=(("preset", "ultrafast"), ("x265-params", "log-level=none:pools=1"))),
    Recipe("frames.ivf", "libvpx-vp9", options=(("deadline", "realtime"),)),
    Recipe("uncompressed.y4m", "wrapped_avframe"),
    Recipe("jpegs.mjpeg", "mjpeg", "yuvj420p"),
)


EMBEDDED = OutputSettings()


@dataclass(frozen=True)
class Ours:
    """A video as we write it ourselves."""

    name: str
    kind: Kind
    output: OutputSettings = EMBEDDED


OWN = (
    Ours("layered hevc.mp4", "foreground"),
    Ours("prores 4444.mov", "foreground"),
    Ours("vp9 with alpha.webm", "foreground"),
    Ours("ffv1 with alpha.mkv", "foreground"),
    Ours("stacked.mp4", "foreground", OutputSettings(alpha="stacked")),
)


def all_seeds() -> list[Seed]:
    """Every one that the libraries here can write, in the order of the lists."""
    os.environ.setdefault("SVT_LOG", "0")  # AV1's encoder tells of itself in 25 lines.
    return [*_videos(), *_pictures()]


def _videos() -> Iterator[Seed]:
    with TemporaryDirectory() as folder:
        for recipe in (recipe for recipe in RECIPES if recipe.codec in av.codecs_available):
            path = Path(folder) / recipe.name
            _record(path, recipe)
            yield Seed(recipe.name, path.read_bytes(), is_video=True)
        for ours in OWN:
            path = Path(folder) / ours.name
            _write_ours(path, ours)
            yield Seed(ours.name, path.read_bytes(), is_video=True)


def _record(path: Path, recipe: Recipe) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"} if recipe.name.startswith("fragments") else {}
    with ordinary_scheduling(), av.open(str(path), "w", options=options) as output:
        video = output.add_stream(recipe.codec, rate=recipe.rate, options=dict(recipe.options))
        video.width, video.height, video.pix_fmt = *recipe.size_px, recipe.layout
        if recipe.name.startswith("turned"):
            video.set_display_rotation(90)
        layout = "mono" if recipe.sound in ("pcm_s16le", "flac", "alac") else "stereo"
        sound = output.add_stream(recipe.sound, rate=recipe.sound_rate, layout=layout) if recipe.sound else None
        if sound:
            sound.bit_rate = 64_000
        texts, lines = _subtitles(output) if "subtitles" in recipe.name else (None, [])
        for index in range(COUNT):
            rgb = av.VideoFrame.from_ndarray(picture(index, *recipe.size_px), "rgb24")
            output.mux(video.encode(rgb.reformat(format=recipe.layout)))
        output.mux(video.encode(None))
        for line in lines:
            line.stream = texts
            output.mux(line)
        if sound:
            for start in range(0, SOUND_RATE * COUNT // recipe.rate, 960):
                output.mux(sound.encode(_noise(start, sound.codec_context.format.name, layout)))
            output.mux(sound.encode(None))


def _subtitles(output: av.container.OutputContainer) -> tuple[av.stream.Stream, list[av.Packet]]:
    file = BytesIO(b"1\n00:00:00,000 --> 00:00:00,100\n<i>one</i>\n\n2\n00:00:00,120 --> 00:00:00,200\ntwo\n")
    with av.open(file, format="srt") as source:
        return output.add_stream_from_template(source.streams.subtitles[0]), [
            packet for packet in source.demux() if packet.size
        ]


def _noise(start: int, form: str, layout: str) -> av.AudioFrame:
    """20 ms."""
    values = np.random.default_rng(start).integers(-8000, 8000, (1, 960 * (1 if layout == "mono" else 2)), np.int16)
    frame = av.AudioFrame.from_ndarray(values, format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
    return frame


def _write_ours(path: Path, ours: Ours) -> None:
    info = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(25), Fraction(1, 25), COUNT)
    with open_sink(str(path), info, ours.kind, ours.output) as sink:
        for index in range(COUNT):
            pixels = np.dstack((picture(index, WIDTH_PX, HEIGHT_PX), true_alpha(index, WIDTH_PX, HEIGHT_PX)))
            sink.write(Frame(index, Fraction(index, 25), pixels))


def _pictures() -> Iterator[Seed]:
    rgb = Image.fromarray(picture(0, WIDTH_PX, HEIGHT_PX))
    rgba = Image.merge("RGBA", (*rgb.split(), Image.fromarray(true_alpha(0, WIDTH_PX, HEIGHT_PX))))
    later = [Image.fromarray(picture(index, WIDTH_PX, HEIGHT_PX)) for index in (1, 2)]
    turned = Image.Exif()
    turned[0x0112] = 6
    made: dict[str, Callable[[BytesIO], None]] = {
        "baseline.jpg": lambda file: rgb.save(file, "jpeg", exif=turned),
        "progressive.jpeg": lambda file: rgb.save(file, "jpeg", progressive=True, subsampling=0),
        "ink.jpg": lambda file: rgb.convert("CMYK").save(file, "jpeg"),
        "grey.jpg": lambda file: rgb.convert("L").save(file, "jpeg"),
        "alpha.png": lambda file: rgba.save(file, "png", exif=turned),
        "palette.png": lambda file: rgb.quantize(16).save(file, "png", transparency=3),
        "moving.png": lambda file: rgb.save(file, "png", save_all=True, append_images=later),
        "lossy.webp": lambda file: rgba.save(file, "webp"),
        "lossless.webp": lambda file: rgb.save(file, "webp", lossless=True),
        "moving.webp": lambda file: rgb.save(file, "webp", save_all=True, append_images=later, duration=100),
        "plain.bmp": lambda file: rgb.save(file, "bmp"),
        "plain.tif": lambda file: rgba.save(file, "tiff"),
        "lzw.tiff": lambda file: rgb.save(file, "tiff", compression="tiff_lzw"),
        "jpeg.tif": lambda file: rgb.save(file, "tiff", compression="jpeg"),
        "photo.avif": lambda file: rgba.save(file, "avif"),
        "plain.jp2": lambda file: rgb.save(file, "jpeg2000"),
        "plain.ppm": lambda file: rgb.save(file, "ppm"),
    }
    for name, save in made.items():
        file = BytesIO()
        save(file)
        yield Seed(name, file.getvalue(), is_video=False)
    deep = (np.random.default_rng(0).random((HEIGHT_PX, WIDTH_PX, 4)) * 65535).astype(np.uint16)
    for name in ("deep.png", "deep.tif"):
        yield Seed(name, cv2.imencode(Path(name).suffix, deep)[1].tobytes(), is_video=False)
