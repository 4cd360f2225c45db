"""Sinks: exact times, true colours, the source's sound bit by bit, and one clear line for what cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from streamseg.decode import open_source
from streamseg.errors import OutputError
from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.settings import OutputSettings
from streamseg.sink import open_sink
from streamseg.sink.encoder import on_gpu
from streamseg.sink.formats import OPAQUE, choose_encoding
from streamseg.sink.images import ImageSequence, make_folder, opaque, write_image
from streamseg.sink.tracks import SourceTracks
from streamseg.sink.video import VideoSink
from streamseg.yuv import RgbImage, YuvImage
from tests.synthetic import RATE, picture

INFO = VideoInfo(64, 48, Fraction(25), Fraction(1, 25))
SOUND_HZ = 48_000
H264 = OPAQUE[".mp4"]


def grey_frames(count: int, time_base: Fraction = Fraction(1, 25), times: list[int] | None = None) -> list[Frame]:
    return [Frame(n, (times[n] if times else n) * time_base, picture(n, 64, 48)) for n in range(count)]


def noise_frames(count: int, width_px: int = 64, height_px: int = 48) -> list[Frame]:
    """Frames that do not compress."""
    source = np.random.default_rng(2)
    return [
        Frame(n, Fraction(n, 25), source.integers(0, 256, (height_px, width_px, 3), np.uint8)) for n in range(count)
    ]


def write_mp4(path: Path, frames: list[Frame], info: VideoInfo = INFO, error: BaseException | None = None) -> VideoSink:
    """Writes the frames, then raises `error` inside `with`."""
    with VideoSink(path, info, H264) as sink:
        for frame in frames:
            sink.write(frame)
        if error:
            raise error
    return sink


def write_source(path: Path, seconds: float, tracks: tuple[str, ...], start: Fraction = Fraction(0)) -> Path:
    """A clip of 25 frames a second and one second, with noise as sound that lasts `seconds`."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [output.add_stream(codec, rate=SOUND_HZ, layout="mono") for codec in tracks]
        output.start_encoding()
        for frame in grey_frames(25):
            made = av.VideoFrame.from_ndarray(frame.pixels, "rgb24")
            made.pts, made.time_base = round((frame.pts + start) * 25), Fraction(1, 25)
            output.mux(video.encode(made))
        for number, sound in enumerate(sounds):
            values = np.random.default_rng(number).integers(-9000, 9000, (1, int(seconds * SOUND_HZ)), np.int16)
            step = sound.codec_context.frame_size or 1024
            for first in range(0, values.shape[1] - step, step):
                part = np.ascontiguousarray(values[:, first : first + step])
                heard = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                heard.sample_rate, heard.pts = SOUND_HZ, first + round(start * SOUND_HZ)
                output.mux(sound.encode(heard))
            output.mux(sound.encode(None))
        output.mux(video.encode(None))
    return path


def sound_info(path: Path) -> VideoInfo:
    return VideoInfo(64, 48, Fraction(25), Fraction(1, 25), 25, path)


def packets(path: Path, track: int = 0) -> list[tuple[Fraction, Fraction, bytes]]:
    """Presentation and decoding time in seconds and the bytes of every audio packet."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        return [(p.pts * p.time_base, p.dts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def decode(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def book_rgb(frame: av.VideoFrame) -> np.ndarray:
    """Limited-range BT.709 -> RGB by the definition; chroma is repeated, so look inside flat areas."""
    y, u, v = (np.frombuffer(plane, np.uint8).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes)
    luma = (y.astype(float) - 16) / 219
    cb, cr = ((plane.repeat(2, 0).repeat(2, 1).astype(float) - 128) / 224 for plane in (u, v))
    rgb = np.dstack((luma + 1.5748 * cr, luma - 0.18733 * cb - 0.46812 * cr, luma + 1.8556 * cb))
    return (rgb * 255).clip(0, 255)


class TestMp4:
    def test_film_times_are_exact(self, tmp_path: Path) -> None:
        unit = 1 / RATE
        info = VideoInfo(64, 48, RATE, Fraction(1, 24000))
        sink = write_mp4(tmp_path / "out.mp4", grey_frames(50, unit), info)
        assert [frame.time_base * frame.pts for frame in decode(sink._path)] == [n * unit for n in range(50)]
        with av.open(str(sink._path)) as container:
            assert container.streams.video[0].frames == 50
            assert container.streams.video[0].average_rate == RATE

    @pytest.mark.parametrize("unit", [Fraction(1, 90000), Fraction(1, 1000), Fraction(1, 16000), Fraction(1001, 30000)])
    @pytest.mark.parametrize("start", [0, 7, 1234])
    def test_variable_times_are_exact(self, unit: Fraction, start: int, tmp_path: Path) -> None:
        times = [start + n for n in (0, 1, 2, 40, 41, 90, 300, 301)]
        info = VideoInfo(64, 48, Fraction(25), unit)
        write_mp4(tmp_path / "out.mp4", grey_frames(8, unit, times), info)
        found = decode(tmp_path / "out.mp4")
        assert [frame.time_base * frame.pts for frame in found] == [n * unit for n in times]

    def test_times_that_stand_still_are_moved_by_one_unit(self, tmp_path: Path) -> None:
        write_mp4(tmp_path / "out.mp4", grey_frames(4, Fraction(1, 25), [0, 1, 1, 0]))
        assert [float(frame.time) for frame in decode(tmp_path / "out.mp4")] == pytest.approx([0, 0.04, 0.08, 0.12])

    def test_it_is_tagged(self, tmp_path: Path) -> None:
        write_mp4(tmp_path / "out.mp4", grey_frames(2))
        with av.open(str(tmp_path / "out.mp4")) as container:
            context = container.streams.video[0].codec_context
            # ISO/IEC 23091-2: 1 is BT.709 everywhere; range 1 is limited.
            tags = (context.colorspace, context.color_primaries, context.color_trc, context.color_range)
            assert [int(tag) for tag in tags] == [1, 1, 1, 1]
            assert (context.name, context.format.name) == ("h264", "yuv420p")

    @pytest.mark.parametrize(
        "colour",
        [
            (255, 0, 0),
            (0, 255, 0),
            (0, 0, 255),
            (255, 255, 255),
            (0, 0, 0),
            (40, 200, 60),
            (128, 128, 128),
            (255, 255, 0),
        ],
    )
    def test_colours(self, colour: tuple[int, int, int], tmp_path: Path) -> None:
        frames = [Frame(n, Fraction(n, 25), np.full((48, 64, 3), colour, np.uint8)) for n in range(3)]
        write_mp4(tmp_path / "out.mp4", frames)
        for frame in decode(tmp_path / "out.mp4"):
            assert np.abs(book_rgb(frame) - colour).max() <= 4

    def test_colours_side_by_side(self, tmp_path: Path) -> None:
        colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))
        pixels = np.repeat(np.array(colours, np.uint8)[None], 16, 1).repeat(48, 0)
        write_mp4(tmp_path / "out.mp4", [Frame(n, Fraction(n, 25), pixels.copy()) for n in range(3)])
        for frame in decode(tmp_path / "out.mp4"):
            assert np.abs(book_rgb(frame)[24, 8::16] - colours).max() <= 4

    def test_a_matte_keeps_its_ends(self, tmp_path: Path) -> None:
        matte = np.zeros((48, 64), np.uint8)
        matte[:, 32:] = 255
        write_mp4(tmp_path / "out.mp4", [Frame(n, Fraction(n, 25), matte) for n in range(5)])
        for frame in decode(tmp_path / "out.mp4"):
            found = frame.to_ndarray(format="gray", interpolation=Interpolation.POINT).astype(int)
            assert np.isin(found[:, :24], (0, 1)).all()
            assert np.isin(found[:, 40:], (254, 255)).all()
            assert np.abs(book_rgb(frame)[:, 40:] - 255).max() <= 2
            assert book_rgb(frame)[:, :24].max() <= 2

    def test_a_grey_ramp_stays_straight(self, tmp_path: Path) -> None:
        ramp = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
        info = VideoInfo(256, 32, Fraction(25), Fraction(1, 25))
        write_mp4(tmp_path / "out.mp4", [Frame(n, Fraction(n, 25), ramp) for n in range(3)], info)
        for frame in decode(tmp_path / "out.mp4"):
            assert np.abs(book_rgb(frame) - ramp[..., None]).max() <= 4

    def test_a_name_with_any_characters(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("café 猫.mp4", "12:30.mp4", "a'b\"c.mp4", "UPPER.MP4"):
            with open_sink(name, INFO) as sink:
                sink.write(grey_frames(1)[0])
            assert len(decode(tmp_path / name)) == 1

    def test_an_older_file_stays_until_the_new_one_is_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "out.mp4"
        path.write_bytes(b"older")
        with pytest.raises(ValueError, match="elsewhere"):
            write_mp4(path, grey_frames(2), error=ValueError("elsewhere"))
        assert path.read_bytes() == b"older"
        write_mp4(path, grey_frames(2))
        assert len(decode(path)) == 2
        assert _names(tmp_path) == ["out.mp4"]

    def test_what_was_written(self, tmp_path: Path) -> None:
        sink = write_mp4(tmp_path / "out.mp4", grey_frames(2))
        assert sink.summary == f"{tmp_path / 'out.mp4'}: 2 frames, H.264, no sound; plays in any player"


class TestSound:
    @pytest.mark.parametrize("seconds", [0.5, 1.0, 3.0], ids=["short", "as long", "long tail"])
    def test_it_is_the_same_bit_by_bit(self, seconds: float, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mp4", seconds, ("aac",))
        sink = write_mp4(tmp_path / "out.mp4", grey_frames(25), sound_info(source))
        assert packets(tmp_path / "out.mp4") == packets(source)
        assert "aac copied" in sink.summary
        assert len(decode(tmp_path / "out.mp4")) == 25

    def test_two_tracks(self, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mp4", 1.5, ("aac", "libmp3lame"))
        sink = write_mp4(tmp_path / "out.mp4", grey_frames(25), sound_info(source))
        assert "aac, mp3 copied" in sink.summary
        for track in range(2):
            assert packets(tmp_path / "out.mp4", track) == packets(source, track)

    @pytest.mark.parametrize(
        ("suffix", "codec"), [(".mkv", "aac"), (".mkv", "flac"), (".mkv", "ac3"), (".mkv", "pcm_s16le"), (".ts", "aac")]
    )
    def test_other_containers(self, suffix: str, codec: str, tmp_path: Path) -> None:
        """The bytes are the same; times are as exact as the source's container."""
        source = write_source(tmp_path / f"in{suffix}", 1.5, (codec,))
        write_mp4(tmp_path / "out.mp4", grey_frames(25), sound_info(source))
        found, expected = packets(tmp_path / "out.mp4"), packets(source)
        header = 7 if suffix == ".ts" else 0  # ADTS, which mp4 states once for the whole track.
        assert [data for _, _, data in found] == [data[header:] for _, _, data in expected]
        assert [float(pts) for pts, _, _ in found] == pytest.approx([float(p) for p, _, _ in expected], abs=0.0011)

    def test_a_start_offset_keeps_sound_and_frames_together(self, tmp_path: Path) -> None:
        start = Fraction(7, 5)
        source = write_source(tmp_path / "in.ts", 1.0, ("aac",), start)
        frames = [Frame(f.index, f.pts + start, f.pixels) for f in grey_frames(25)]
        write_mp4(tmp_path / "out.mp4", frames, VideoInfo(64, 48, Fraction(25), Fraction(1, 90000), None, source))
        found = decode(tmp_path / "out.mp4")
        assert [frame.pts * frame.time_base for frame in found] == [frame.pts for frame in frames]
        assert float(packets(tmp_path / "out.mp4")[0][0]) == pytest.approx(float(packets(source)[0][0]), abs=0.0001)

    @pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
    @pytest.mark.parametrize("start_time", [Fraction(0), Fraction(1, 5)], ids=["from the file's start", "from within"])
    def test_frames_before_0_keep_sound_and_frames_together(
        self, start_time: Fraction, suffix: str, tmp_path: Path
    ) -> None:
        """Such as those of a source of one's own."""
        early = Fraction(3, 5)
        source = write_source(tmp_path / "in.mkv", 1.0, ("libopus",))
        frames = [Frame(f.index, f.pts - early, f.pixels) for f in grey_frames(25)]
        info = replace(sound_info(source), start_time=start_time)
        with open_sink(str(tmp_path / f"out{suffix}"), info) as sink:
            _write_all(sink, frames)
        found = decode(tmp_path / f"out{suffix}")
        assert [float(frame.pts * frame.time_base) for frame in found] == pytest.approx([n / 25 for n in range(25)])
        first_pts, last_pts = (float(packets(source)[at][0]) for at in (0, -1))
        sounds = [float(pts) for pts, _, _ in packets(tmp_path / f"out{suffix}")]
        late = float(early - start_time)
        one_packet = 0.03  # Of priming, where it is encoded anew or sought to.
        assert (sounds[0], sounds[-1]) == pytest.approx((first_pts + late, last_pts + late), abs=one_packet)

    def test_frames_before_0_are_not_resumed(self, tmp_path: Path) -> None:
        """The file begins at 0, and which of them it holds is not known."""
        frames = [Frame(n, Fraction(n - 25, 25), picture(n, 64, 48)) for n in range(200)]
        with pytest.raises(ValueError, match="elsewhere"):
            write_mp4(tmp_path / "out.mp4", frames[:150], error=ValueError("elsewhere"))
        sink = open_sink(str(tmp_path / "out.mp4"), INFO, resume=True)
        assert sink.resume_at > 0
        with (
            pytest.raises(OutputError, match="the source begins 1 s before 0, and the file at 0; leave out resume"),
            sink,
        ):
            sink.write(frames[0])

    def test_a_codec_that_mp4_cannot_hold_is_transcoded(self, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mov", 1.0, ("pcm_mulaw", "aac"))
        sink = write_mp4(tmp_path / "out.mp4", grey_frames(25), sound_info(source))
        assert "H.264, aac copied, pcm_mulaw to aac transcoded;" in sink.summary
        assert len(decode(tmp_path / "out.mp4")) == 25
        assert packets(tmp_path / "out.mp4", 1) == packets(source, 1)

    def test_ctrl_c_ends_the_sound_with_the_frames(self, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mp4", 3.0, ("aac",))
        with pytest.raises(KeyboardInterrupt):
            write_mp4(tmp_path / "out.mp4", grey_frames(12), sound_info(source), KeyboardInterrupt())
        found, expected = packets(tmp_path / "out.mp4"), packets(source)
        assert found == expected[: len(found)]
        last_picture = Fraction(11, 25)
        assert last_picture - Fraction(1024, SOUND_HZ) < found[-1][1] <= last_picture

    def test_a_damaged_tail_ends_the_sound_there(self, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mkv", 3.0, ("aac",))
        whole = packets(source)
        source.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
        write_mp4(tmp_path / "out.mp4", grey_frames(25), sound_info(source))
        found = packets(tmp_path / "out.mp4")
        assert 10 < len(found) < len(whole)
        assert [data for _, _, data in found] == [data for _, _, data in whole[: len(found)]]

    @pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), ValueError("stop"), None], ids=repr)
    def test_the_source_is_closed(
        self, error: BaseException | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = write_source(tmp_path / "in.mp4", 1.0, ("aac",))
        closed: list[SourceTracks] = []
        monkeypatch.setattr(SourceTracks, "close", lambda self: closed.append(self))
        with pytest.raises(type(error), match="stop") if error else nullcontext():
            write_mp4(tmp_path / "out.mp4", grey_frames(2), sound_info(source), error)
        assert closed

    def test_sound_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"cannot write .*out\.mp4: .*No such file"):
            VideoSink(tmp_path / "out.mp4", sound_info(tmp_path / "gone.mp4"), H264)
        assert _names(tmp_path) == []


class Failing:
    """An output container that fails at its `good`-th packet, or at its trailer."""

    def __init__(self, output: Any, error: BaseException, good: int | None) -> None:
        self._output, self._error, self._good = output, error, good

    def __getattr__(self, name: str) -> Any:
        return getattr(self._output, name)

    def mux(self, made: Any) -> None:
        if self._good is not None:
            self._good -= 1
            if self._good < 0:
                raise self._error
        self._output.mux(made)

    def close(self) -> None:
        self._output.close()
        if self._good is None:
            self._good = 0
            raise self._error


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestFullDisk:
    @pytest.mark.parametrize("good", [0, 1, 5, None], ids=["first packet", "second", "last", "trailer"])
    def test_mp4(self, good: int | None, tmp_path: Path) -> None:
        sink = VideoSink(tmp_path / "out.mp4", INFO, H264)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sink._output = Failing(sink._output, full, good)  # type: ignore[assignment]
        with pytest.raises(OutputError, match=r"cannot write .*out\.mp4: No space left on device"), sink:
            _write_all(sink, grey_frames(6))
        _check_what_is_left(tmp_path, playable=good != 0)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.98], ids=["header", "middle", "trailer"])
    def test_mp4_for_real(self, share: float, tmp_path: Path) -> None:
        info, frames = VideoInfo(128, 96, Fraction(25), Fraction(1, 25)), noise_frames(90, 128, 96)
        size = write_mp4(tmp_path / "out.mp4", frames, info)._path.stat().st_size
        (tmp_path / "out.mp4").unlink()
        with (
            file_limit(int(size * share)),
            pytest.raises(OutputError, match=r"cannot write .*out\.mp4: File too large"),
        ):
            write_mp4(tmp_path / "out.mp4", frames, info)
        _check_what_is_left(tmp_path, playable=share > 0)

    def test_the_message_says_how_to_go_on(self, tmp_path: Path) -> None:
        sink = VideoSink(tmp_path / "out.mp4", INFO, H264)
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sink._output = Failing(sink._output, full, None)  # type: ignore[assignment]
        with pytest.raises(OutputError, match=r"out\.mp4\.part plays up to there, and --resume goes on"), sink:
            _write_all(sink, grey_frames(6))

    def test_frames_for_real(self, tmp_path: Path) -> None:
        with file_limit(1000), pytest.raises(OutputError, match=r"cannot write .*00000\.png: File too large"):
            write_image(tmp_path / "00000.png", noise_frames(1)[0].pixels)
        assert _names(tmp_path) == []

    def test_a_second_ctrl_c_while_completing(self, tmp_path: Path) -> None:
        sink = VideoSink(tmp_path / "out.mp4", INFO, H264)
        sink._output = Failing(sink._output, KeyboardInterrupt(), None)  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt), sink:
            _write_all(sink, grey_frames(3))
        _check_what_is_left(tmp_path, playable=True)


def _check_what_is_left(folder: Path, playable: bool) -> None:
    """Never a file of the final name; a `.part` only where it holds pictures."""
    assert _names(folder) == (["out.mp4.part"] if playable else [])
    if playable:
        with open_source(str(folder / "out.mp4.part")) as source:
            assert next(iter(source)).pixels.shape[2] == 3


def _write_all(sink: VideoSink, frames: list[Frame]) -> None:
    for frame in frames:
        sink.write(frame)


class TestTheGpusEncoder:
    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamseg.hardware.nvidia.has_gpu", lambda: True)

    def test_it_is_not_missed_where_it_does_not_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamseg.sink.encoder.NVENC", "h264_of_no_such_maker")
        assert on_gpu(H264, INFO) is H264

    def test_nor_where_it_is_there_without_its_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: object, strict: bool = True) -> None:
            raise av.error.PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(
            "streamseg.sink.encoder.av.CodecContext.create", lambda *_: SimpleNamespace(open=refuse.__get__(self))
        )
        assert on_gpu(H264, INFO) is H264

    @pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
    def test_frames_at_the_standard_quality(self, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamseg.sink.encoder._opens", lambda *_: True)
        chosen = choose_encoding(Path(f"x{suffix}"), "composite", OutputSettings())
        encoding = on_gpu(chosen, INFO)
        assert (encoding.codec, encoding.muxer, encoding.layout) == ("h264_nvenc", chosen.muxer, "yuv420p")

    @pytest.mark.parametrize(
        ("name", "kind", "output"),
        [
            ("x.mp4", "composite", OutputSettings(quality="high")),
            ("x.mp4", "matte", OutputSettings()),
            ("x.mp4", "foreground", OutputSettings(alpha="stacked")),
            ("x.webm", "composite", OutputSettings()),
            ("x.mov", "foreground", OutputSettings()),
        ],
    )
    def test_what_is_measured_stays_with_its_encoder(
        self, name: str, kind: Kind, output: OutputSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamseg.sink.encoder._opens", lambda *_: True)
        chosen = choose_encoding(Path(name), kind, output)
        assert on_gpu(chosen, INFO) is chosen


@pytest.mark.gpu
def test_the_gpus_encoder_writes_what_it_was_given(tmp_path: Path) -> None:
    info = VideoInfo(256, 144, Fraction(25), Fraction(1, 25))
    if on_gpu(H264, info) is H264:
        pytest.skip("its encoder does not open here")
    frames = [Frame(n, Fraction(n, 25), picture(n, 256, 144)) for n in range(30)]
    with open_sink(str(tmp_path / "x.mp4"), info) as sink:
        for frame in frames:
            sink.write(frame)
    with open_source(str(tmp_path / "x.mp4")) as source:
        for found, meant in zip(source, frames, strict=True):
            assert found.pts == meant.pts
            assert np.abs(found.pixels.astype(int) - meant.pixels).mean() < 3


class TestRefusals:
    @pytest.mark.parametrize("name", ["out.avi", "out", "out.mp4.txt", "out.png", "out.avif"])
    def test_unknown_suffix(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(
            OutputError, match=r"ends in \.mp4, \.mov, \.mkv, \.webm, \.webp, \.gif or \.apng, a pattern"
        ):
            open_sink(str(tmp_path / name), INFO)
        assert _names(tmp_path) == []

    @pytest.mark.parametrize(
        "name", ["x_%s.png", "x_%d_%d.png", "x_%.png", "x_%%.png", "%c.png", "x_%99999d.png", "%f.png"]
    )
    def test_bad_patterns(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"is not a pattern for numbered files; write one such as x_%05d\.png"):
            open_sink(str(tmp_path / name), INFO)

    @pytest.mark.parametrize("name", ["x_%05d.jpg", "x_%05d", "x_%05d.mp4"])
    def test_sequences_keep_every_level(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"only \.png, \.webp, \.exr keep every level"):
            open_sink(str(tmp_path / name), INFO)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="there is no folder"):
            open_sink(str(tmp_path / "none" / "out.mp4"), INFO)

    def test_a_file_where_a_folder_should_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="there is no folder"):
            open_sink(str(tmp_path / "file" / "out.mp4"), INFO)
        with pytest.raises(OutputError, match="cannot make the folder"):
            open_sink(str(tmp_path / "file" / "x_%05d.png"), INFO)
        with pytest.raises(OutputError, match="cannot write"):
            write_image(tmp_path / "file" / "x.png", picture(0))

    @pytest.mark.parametrize("name", ["out.mp4", "x_%05d.png", ""])
    def test_a_folder_that_may_not_be_written(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        with pytest.raises(OutputError, match=r"cannot write .*permission"):
            open_sink(str(tmp_path / name), INFO)
        assert _names(tmp_path) == []

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_that_may_not_be_written_for_real(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="permission"):
            open_sink(str(tmp_path / "out.mp4"), INFO)
        with pytest.raises(OutputError, match="permission"):
            make_folder(tmp_path / "new")
        tmp_path.chmod(0o700)

    @pytest.mark.parametrize("name", ["x.xyz", "x", "x.mp4"])
    def test_images_of_an_unknown_format(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="not a known image format, use"):
            write_image(tmp_path / name, picture(0))
        assert _names(tmp_path) == []

    @pytest.mark.parametrize("name", ["folder.png", "n" * 251 + ".png"])
    def test_images_that_cannot_be_named_so(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "folder.png").mkdir()
        with pytest.raises(OutputError, match="cannot write"):
            write_image(tmp_path / name, picture(0))
        assert _names(tmp_path) == ["folder.png"]


class TestPictures:
    def test_names_follow_the_index(self, tmp_path: Path) -> None:
        with ImageSequence(tmp_path / "x_%03d.png") as sink:
            for index in (0, 2, 1000):
                sink.write(Frame(index, Fraction(index), picture(index)))
        assert _names(tmp_path) == ["x_000.png", "x_002.png", "x_1000.png"]
        assert sink.summary == f"{tmp_path / 'x_%03d.png'}: 3 images, PNG"

    @pytest.mark.parametrize("name", ["x_%d.png", "%05d.PNG", "café_%03d.png", "%1d.png"])
    def test_patterns(self, name: str, tmp_path: Path) -> None:
        with open_sink(str(tmp_path / name), INFO) as sink:
            sink.write(Frame(7, Fraction(0), picture(0)))
        assert _names(tmp_path) == [name % 7]

    @pytest.mark.parametrize("name", ["new/deep", "50%", "old"])
    def test_folders(self, name: str, tmp_path: Path) -> None:
        if name != "new/deep":
            (tmp_path / name).mkdir()
        with open_sink(f"{tmp_path / name}/", INFO) as sink:
            sink.write(Frame(7, Fraction(0), picture(0)))
        assert _names(tmp_path / name) == ["00007.png"]

    def test_an_image_comes_back_exactly(self, tmp_path: Path) -> None:
        rgb = picture(0)
        rgba = np.dstack((rgb, rgb[..., 1]))
        for name, pixels in (("rgb", rgb), ("rgba", rgba), ("grey", rgb[..., 1])):
            write_image(tmp_path / f"{name}.png", np.ascontiguousarray(pixels))
            back = cv2.imread(str(tmp_path / f"{name}.png"), cv2.IMREAD_UNCHANGED)
            code = {"rgb": cv2.COLOR_BGR2RGB, "rgba": cv2.COLOR_BGRA2RGBA}.get(name)
            assert np.array_equal(back if code is None else cv2.cvtColor(back, code), pixels)

    def test_opaque(self) -> None:
        grey = picture(0)[..., 1].copy()
        assert np.array_equal(opaque(RgbImage(grey)).pixels, np.dstack((grey, grey, grey)))
        rgb, yuv = RgbImage(picture(0)), YuvImage.of(picture(0))
        assert opaque(rgb) is rgb
        assert opaque(yuv) is yuv
        whole = np.dstack((picture(0), np.full_like(grey, 255)))
        assert np.abs(opaque(RgbImage(whole)).pixels.astype(int) - picture(0)).max() <= 1
        hidden = opaque(RgbImage(np.dstack((picture(0), np.zeros_like(grey))))).pixels
        assert set(np.unique(hidden)) == {204, 255}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
