"""What editors check first: times, sound, shape, colours, subtitles. Clips as phones and broadcasters make them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange, Colorspace

from streamseg import MattingSession, convert
from streamseg.composite.background import BackgroundSpec, Fit
from streamseg.controls import Controls
from streamseg.decode import TimeRange, open_source
from streamseg.decode.images import read_image
from streamseg.decode.time_range import WHOLE
from streamseg.errors import InputError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.pipeline import run
from streamseg.settings import CompositeSettings, Settings, SmoothSettings, load_settings
from streamseg.sink import open_sink
from streamseg.sink.images import write_image
from streamseg.yuv import YuvImage
from tests.synthetic import Collector, DiscEngine, ListSource, picture

SOUND_HZ = 48_000
CLOCK = Fraction(1, 90_000)


def record(
    path: Path,
    pictures: list[av.VideoFrame],
    ticks: list[int],
    sound_seconds: float = 0.0,
    offset: float = 0.0,
    **options: Any,
) -> Path:
    """Writes H.264 with pictures at `ticks` of the 90 kHz clock, and noise as AAC from `offset` seconds on."""
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as output:
        video = output.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "12"})
        video.width, video.height, video.pix_fmt = pictures[0].width, pictures[0].height, pictures[0].format.name
        video.codec_context.time_base = video.time_base = CLOCK
        for name, value in options.items():
            setattr(video.codec_context, name, value)
        sound = output.add_stream("aac", rate=SOUND_HZ, layout="mono") if sound_seconds else None
        for made, pts in zip(pictures, ticks, strict=True):
            made.pts, made.time_base = pts, CLOCK
            output.mux(video.encode(made))
        output.mux(video.encode(None))
        if sound:
            for first in range(0, int(sound_seconds * SOUND_HZ) - 1024, 1024):
                heard = av.AudioFrame.from_ndarray(_noise(first), format="fltp", layout="mono")
                heard.sample_rate, heard.pts = SOUND_HZ, first + int(offset * SOUND_HZ)
                output.mux(sound.encode(heard))
            output.mux(sound.encode(None))
    return path


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (1, 1024)).astype(np.float32)


def yuv(pixels: Pixels) -> av.VideoFrame:
    """RGB -> 4:2:0 in limited-range BT.601, as untagged small video is, or 4:4:4 where a side is odd."""
    odd = any(side % 2 for side in pixels.shape[:2])
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
    return frame.reformat(
        format="yuv444p" if odd else "yuv420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG
    )


def through(source: Path, out: Path, time_range: TimeRange = WHOLE, **composite: Any) -> Path:
    """The whole line with the engine that knows the disc."""
    settings = Settings(composite=CompositeSettings(**composite), smooth=SmoothSettings(smooth="none"))
    with (
        open_source(str(source), time_range) as opened,
        open_sink(str(out), opened.info, settings.composite.kind) as sink,
    ):
        run(opened, DiscEngine(), sink, settings)
    return out


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def packets(path: Path, track: int = 0) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        return [
            (float(packet.pts * packet.time_base), bytes(packet)) for packet in container.demux(stream) if packet.size
        ]


def frames_of(path: Path, time_range: TimeRange = WHOLE) -> list[Frame]:
    with open_source(str(path), time_range) as source:
        return list(source)


def phone_clip(folder: Path) -> Path:
    """Upright on screen, stored on its side; 29.97 and 30 frames a second in turns; sound from 0.2 s; odd width."""
    steps = [3003 if n % 7 < 4 else 3000 for n in range(29)]
    ticks = [sum(steps[:n]) for n in range(30)]
    lying = [yuv(np.rot90(picture(n, 97, 128)).copy()) for n in range(30)]
    recorded = record(folder / "flat.mp4", lying, ticks, sound_seconds=1.0, offset=0.2)
    return rotated(recorded, folder / "phone.mp4")


def rotated(source: Path, out: Path) -> Path:
    """The same packets with a display matrix that turns the picture a quarter clockwise (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(source.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    turn = [0, 0x10000, 0, -0x10000, 0, 0, 97 << 16, 0, 0x40000000]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turn)
    out.write_bytes(bytes(data))
    return out


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv"])
def test_a_phone_clip(name: str, tmp_path: Path) -> None:
    source = phone_clip(tmp_path)
    seen = frames_of(source)
    assert seen[0].pixels.shape == (128, 97, 3)
    assert np.abs(seen[5].pixels.astype(int) - picture(5, 97, 128)).mean() < 3
    out = through(source, tmp_path / name, bg="blue")
    assert [float(t) for t in times(out)] == pytest.approx([float(t) for t in times(source)], abs=0.001)
    assert [data for _, data in packets(out)] == [data for _, data in packets(source)]
    assert [t for t, _ in packets(out)] == pytest.approx([t for t, _ in packets(source)], abs=0.001)
    shown = frames_of(out)[5].pixels[:, :97].astype(int)
    disc = picture(5, 97, 128)[..., 1] > 190
    assert np.abs(shown[disc] - picture(5, 97, 128)[disc]).mean() < 5
    assert np.abs(shown[:10, :10] - (0, 0, 255)).mean() < 5


class TestStretch:
    def test_it_begins_at_zero_with_its_own_sound(self, tmp_path: Path) -> None:
        source = record(tmp_path / "in.mp4", [yuv(picture(n)) for n in range(60)], [n * 3000 for n in range(60)], 2.0)
        out = through(source, tmp_path / "out.mp4", TimeRange.of("0.5", "1.5"), bg="blue")
        assert [float(t) for t in times(out)] == pytest.approx([n / 30 for n in range(30)], abs=0.0005)
        whole = packets(source)
        kept = [(t, data) for t, data in whole if 0.5 <= t < 1.5]
        assert [data for _, data in packets(out)] == [data for _, data in kept]
        assert [t for t, _ in packets(out)] == pytest.approx([t - 0.5 for t, _ in kept], abs=0.0005)

    def test_the_frames_are_the_same_as_of_the_whole(self, tmp_path: Path) -> None:
        source = record(tmp_path / "in.mp4", [yuv(picture(n)) for n in range(60)], [n * 3000 for n in range(60)])
        whole, part = frames_of(source), frames_of(source, TimeRange(Fraction(1), Fraction(3, 2)))
        assert len(part) == 15
        assert [frame.index for frame in part] == list(range(15))
        for frame, same in zip(part, whole[30:45], strict=True):
            assert frame.pts == same.pts - 1
            assert np.array_equal(frame.pixels, same.pixels)

    def test_seconds_count_from_the_first_frame_of_a_broadcast(self, tmp_path: Path) -> None:
        ticks = [90_000 * 3600 + n * 3000 for n in range(60)]
        source = record(tmp_path / "in.ts", [yuv(picture(n)) for n in range(60)], ticks)
        assert [float(f.pts) for f in frames_of(source, TimeRange.of("1", None))] == pytest.approx(
            [n / 30 for n in range(30)], abs=0.0005
        )

    def test_nothing_is_there(self, tmp_path: Path) -> None:
        source = record(tmp_path / "in.mp4", [yuv(picture(n)) for n in range(5)], [n * 3000 for n in range(5)])
        with pytest.raises(InputError, match=r"holds no video frame between 7 s and its end"):
            open_source(str(source), TimeRange.of("7", None))

    @pytest.mark.parametrize(
        ("text", "seconds"), [("90", 90), ("90.5", 90.5), ("1:30.5", 90.5), ("1:00:00", 3600), ("0:01:30", 90)]
    )
    def test_times_as_users_write_them(self, text: str, seconds: float) -> None:
        assert TimeRange.of(text, None).start == Fraction(seconds)

    def test_times_as_numbers(self) -> None:
        """Of seconds, which are what they look like."""
        found = TimeRange.of(0.1, np.float32(1.2))
        assert (found.start, found.end) == (Fraction(1, 10), Fraction(12, 10))
        assert TimeRange.of(1, Fraction(7, 3)).end == Fraction(7, 3)
        assert TimeRange.of(0, None) == TimeRange()
        with pytest.raises(InputError, match="the end 0 does not come after the start 0"):
            TimeRange.of(None, 0)

    @pytest.mark.parametrize("number", [-1, float("nan"), float("inf"), [1]], ids=repr)
    def test_numbers_that_are_no_time(self, number: Any) -> None:
        with pytest.raises(InputError, match=r"is not a time; write seconds such as 90\.5, or 1:30\.5"):
            TimeRange.of(number, None)

    @pytest.mark.parametrize("text", ["", "abc", "-5", "1:2:3:4", "5s", "1e3"])
    def test_what_is_no_time(self, text: str) -> None:
        if not text:
            assert TimeRange.of(text, None) == TimeRange()
            return
        with pytest.raises(InputError, match=r"is not a time; write seconds such as 90\.5, or 1:30\.5"):
            TimeRange.of(text, None)

    def test_the_end_comes_after_the_start(self) -> None:
        with pytest.raises(InputError, match="the end 5 does not come after the start 0:06"):
            TimeRange.of("0:06", "5")


@pytest.mark.parametrize(("turned", "expected"), [(False, Fraction(4, 3)), (True, Fraction(3, 4))])
def test_pixels_that_are_not_square(turned: bool, expected: Fraction, tmp_path: Path) -> None:
    source = record(
        tmp_path / "in.mp4", [yuv(picture(n)) for n in range(3)], [0, 3000, 6000], sample_aspect_ratio=Fraction(4, 3)
    )
    if turned:
        source = rotated(source, tmp_path / "turned.mp4")
    out = through(source, tmp_path / "out.mp4", bg="blue")
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


WIDE, TALL = Fraction(4, 3), Fraction(16, 15)


def disc_of(pixel_aspect: Fraction) -> Pixels:
    """White on black, round as displayed."""
    pixels = np.zeros((96, 128, 3), np.uint8)
    cv2.ellipse(pixels, (64, 48), (round(24 / pixel_aspect), 24), 0, 0, 360, (255, 255, 255), -1)
    return pixels


def displayed_ratio(pixels: Pixels, pixel_aspect: Fraction) -> float:
    """Width over height of what is white, as displayed."""
    height, width = (int((pixels[..., 1] > 127).any(axis=axis).sum()) for axis in (1, 0))
    return float(width * pixel_aspect) / height


@pytest.fixture(params=["image", "array", "square video", "wide video", "tall video"])
def round_background(request: pytest.FixtureRequest, tmp_path: Path) -> BackgroundSpec:
    """A disc that is round as displayed."""
    kind: str = request.param
    if kind == "array":
        return disc_of(Fraction(1))
    if kind == "image":
        write_image(tmp_path / "disc.png", disc_of(Fraction(1)))
        return tmp_path / "disc.png"
    aspect = {"square": Fraction(1), "wide": WIDE, "tall": TALL}[kind.partition(" ")[0]]
    pictures = [yuv(disc_of(aspect)) for _ in range(3)]
    return record(tmp_path / "disc.mp4", pictures, [0, 3000, 6000], sample_aspect_ratio=aspect)


class TestBackgroundsAreRoundAsDisplayed:
    """Whatever the shape of pixels is, of the video and of what is behind it."""

    empty = np.full((96, 128, 3), 40, np.uint8)

    @pytest.mark.parametrize("fit", ["cover", "contain"])
    @pytest.mark.parametrize("aspect", [Fraction(1), WIDE, TALL])
    def test_in_a_file(self, aspect: Fraction, fit: Fit, round_background: BackgroundSpec, tmp_path: Path) -> None:
        source = record(
            tmp_path / "in.mp4", [yuv(self.empty) for _ in range(3)], [0, 3000, 6000], sample_aspect_ratio=aspect
        )
        done = {"engine": DiscEngine(), "fit": fit, "input_size": 128}
        convert(source, tmp_path / "out.mkv", round_background, **done)
        with open_source(str(tmp_path / "out.mkv")) as written:
            assert written.info.pixel_aspect == aspect
            assert displayed_ratio(next(iter(written)).pixels, aspect) == pytest.approx(1, abs=0.06)
        convert(source, tmp_path / "x_%d.png", round_background, **done)
        pixels = read_image(tmp_path / "x_0.png")
        assert pixels.shape == (96, round(128 * aspect), 3)
        assert displayed_ratio(pixels, Fraction(1)) == pytest.approx(1, abs=0.06)

    def test_in_a_session(self, round_background: BackgroundSpec, tmp_path: Path) -> None:
        """A stream with wide pixels, and then a frame of the same size with square ones."""
        source = record(tmp_path / "in.mp4", [yuv(self.empty)], [0], sample_aspect_ratio=WIDE)
        with MattingSession(engine=DiscEngine(), input_size=128) as session:
            (wide,) = session.stream(source)
            assert displayed_ratio(wide.over(round_background), WIDE) == pytest.approx(1, abs=0.06)
            square = session(self.empty)
            assert displayed_ratio(square.over(round_background), Fraction(1)) == pytest.approx(1, abs=0.06)

    @pytest.mark.parametrize("controlled", [True, False])
    @pytest.mark.parametrize("round_background", ["image", "tall video"], indirect=True)
    def test_live(self, controlled: bool, round_background: BackgroundSpec) -> None:
        """Of any source, such as a camera."""
        source = ListSource([Frame(n, Fraction(n, 25), YuvImage.of(self.empty)) for n in range(2)], live=True)
        source.info = replace(source.info, pixel_aspect=WIDE)
        chosen = load_settings(overrides={"bg": str(round_background), "input_size": 128})
        run(source, DiscEngine(), sink := Collector(), chosen, controls=Controls(chosen) if controlled else None)
        assert displayed_ratio(sink.frames[-1].pixels, WIDE) == pytest.approx(1, abs=0.06)


def test_an_exr_states_the_shape_of_its_pixels(tmp_path: Path) -> None:
    """A float in its header, and the pixels as they are."""
    write_image(tmp_path / "x.exr", disc_of(WIDE), pixel_aspect=WIDE)
    header = (tmp_path / "x.exr").read_bytes()[:1000]
    _, _, value = header.partition(b"pixelAspectRatio\0float\0\4\0\0\0")
    assert np.frombuffer(value[:4], "<f4")[0] == pytest.approx(4 / 3)
    with av.open(str(tmp_path / "x.exr")) as written:
        assert written.streams.video[0].width == 128


def test_interlaced_frames_become_whole(tmp_path: Path) -> None:
    """A bar that moves between the two fields is a comb as stored, and has straight edges afterwards."""
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg2video", rate=25, options={"flags": "+ildct+ilme", "qscale": "2", "top": "1"})
        video.width, video.height, video.pix_fmt, video.bit_rate = 128, 96, "yuv420p", 8_000_000
        for n in range(12):
            fields = np.full((2, 96, 128, 3), 40, np.uint8)
            for half in (0, 1):
                fields[half, :, 10 + 8 * n + 4 * half : 26 + 8 * n + 4 * half] = 220
            woven = fields[0].copy()
            woven[1::2] = fields[1, 1::2]
            output.mux(video.encode(yuv(woven)))
        output.mux(video.encode(None))
    with av.open(str(path)) as container:
        stored = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    whole = [frame.pixels[..., 1] for frame in frames_of(path)]
    assert len(whole) == len(stored)
    combs = [np.abs(np.diff(picture.astype(int), axis=0)).mean() for picture in (stored[6], whole[6])]
    assert combs[1] < 0.2 * combs[0]


def hdr_clip(path: Path, transfer: int, levels: tuple[int, ...]) -> Path:
    """Flat grey pictures in 10 bits, BT.2020, each with one of `levels` as luma of 1023."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p10le"
        context = video.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 9, transfer, 9, 1
        for n, level in enumerate(levels):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, value in zip(frame.planes, (level, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
            frame.pts = n
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = transfer, 9, 9, 1
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    return path


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_high_dynamic_range_is_toned_down(transfer: int, tmp_path: Path) -> None:
    """Without mastering metadata: black stays black, brighter stays brighter, and the peak is not beyond white."""
    found = frames_of(hdr_clip(tmp_path / "in.mkv", transfer, (64, 300, 573, 700, 900)))
    shown = [float(frame.pixels.mean()) for frame in found]
    assert shown[0] < 3
    assert all(low < high for low, high in pairwise(shown))
    assert all(np.ptp(frame.pixels) <= 4 for frame in found)  # Grey stays grey.
    # White on paper, 203 cd/m2 (573 in PQ, about 720 in HLG), is bright and leaves room for highlights.
    assert 120 < shown[2 if transfer == 16 else 3] < 235


def test_ten_bits(tmp_path: Path) -> None:
    ten = [yuv(picture(n)).reformat(format="yuv420p10le") for n in range(3)]
    path = record(tmp_path / "in.mp4", ten, [0, 3000, 6000], pix_fmt="yuv420p10le")
    assert np.abs(frames_of(path)[1].pixels.astype(int) - picture(1)).mean() < 3


def test_a_change_of_size_midway(tmp_path: Path) -> None:
    """As meeting recorders and broadcasters do: the rest is scaled to the first pictures' size."""
    with open(tmp_path / "in.h264", "wb") as both:  # noqa: PTH123
        for size in ((128, 96), (160, 120)):
            made = record(
                tmp_path / f"{size[0]}.h264", [yuv(picture(n, *size)) for n in range(5)], [n * 3000 for n in range(5)]
            )
            both.write(made.read_bytes())
    found = frames_of(tmp_path / "in.h264")
    assert [frame.pixels.shape for frame in found] == [(96, 128, 3)] * 10
    assert np.abs(found[8].pixels.astype(int) - picture(3)).mean() < 6


def test_a_clock_that_begins_below_zero(tmp_path: Path) -> None:
    """A broadcast's clock may be cut so; what is first, picture or sound, is at 0, and the other keeps its distance."""
    source = record(
        tmp_path / "in.ts", [yuv(picture(n)) for n in range(20)], [n * 3000 - 45_000 for n in range(20)], 1.0, -0.5
    )
    assert times(source)[0] == Fraction(-1, 2)
    lead = -0.5 - packets(source)[0][0]
    assert 0 < lead < 0.03
    found = [float(frame.pts) for frame in frames_of(source)]
    assert found == pytest.approx([lead + n / 30 for n in range(20)], abs=0.001)
    out = through(source, tmp_path / "out.mp4", bg="blue")
    assert float(times(out)[0]) == pytest.approx(lead, abs=0.001)
    assert packets(out)[0][0] == pytest.approx(0, abs=0.001)


def test_many_tracks_subtitles_titles_and_chapters(tmp_path: Path) -> None:
    path = tmp_path / "in.mkv"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        sounds = [output.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(60)]
        for number, sound in enumerate(sounds):
            sound.metadata["title"] = f"microphone {number}"
        output.metadata["title"] = "The talk"
        output.set_chapters(
            [{"id": 1, "start": 0, "end": 400, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
        )
        for n in range(10):
            output.mux(video.encode(yuv(picture(n))))
        output.mux(video.encode(None))
        for number, sound in enumerate(sounds):
            heard = av.AudioFrame.from_ndarray(np.full((1, 3200), number, np.int16), format="s16", layout="mono")
            heard.sample_rate = 8000
            output.mux(sound.encode(heard))
    out = through(path, tmp_path / "out.mkv", bg="blue")
    with av.open(str(out)) as container:
        assert container.metadata["title"] == "The talk"
        assert [stream.metadata["title"] for stream in container.streams.audio] == [
            f"microphone {n}" for n in range(60)
        ]
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]
    for track in (0, 59):
        assert [data for _, data in packets(out, track)] == [data for _, data in packets(path, track)]


def test_sound_that_webm_cannot_hold_is_made_opus(tmp_path: Path) -> None:
    source = record(tmp_path / "in.mp4", [yuv(picture(n)) for n in range(30)], [n * 3000 for n in range(30)], 1.0, 0.2)
    out = through(source, tmp_path / "out.webm")
    with av.open(str(out)) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name in ("opus", "libopus")
        heard = list(container.decode(sound))
    length = sum(frame.samples for frame in heard) / SOUND_HZ
    assert length == pytest.approx(1.0, abs=0.06)
    assert float(heard[0].time) == pytest.approx(0.2, abs=0.03)


def test_the_display_matrix_of_the_phone_clip_is_really_there(tmp_path: Path) -> None:
    with av.open(str(phone_clip(tmp_path))) as container:
        frame = next(container.decode(video=0))
        assert frame.side_data.get(Type.DISPLAYMATRIX) is not None
        assert (frame.width, frame.height) == (128, 97)
