"""The sound of a background video: its level beside the source's, its place in time, its loop, and what refuses it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.stream import Disposition

from streamseg.batch.schedule import work_off
from streamseg.batch.tasks import Failure, JoinTask
from streamseg.composite.background import playing_time
from streamseg.frames import BackgroundSound, Frame, VideoInfo
from streamseg.matting import convert
from streamseg.sink import open_sink
from streamseg.sink.base import BaseSink
from tests.crews import OneByOne, done, register_engines, settings_of, work_on
from tests.synthetic import DiscEngine
from tests.test_cli import expect_one_line_error, streamseg
from tests.test_tracks import Heard, Sound, add_video, tone, write_pictures, write_source

SOURCE_HZ, BEHIND_HZ = 440.0, 1000.0
LEVEL = 0.3
AMPLITUDE = 9000 / 32768
"""Of the tones of `test_tracks`."""

BEEP_AT, BEEP_SECONDS = 0.3, 0.05
WALL, FLASH = (0, 0, 90), (255, 255, 255)


def sine(hertz: float, seconds: float, rate_hz: int = 48_000) -> npt.NDArray[np.float64]:
    return AMPLITUDE * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)


@dataclass(frozen=True)
class Behind:
    """A background video: a wall that flashes while a tone is heard.

    Attributes:
        frames: number of its pictures.
        rate: pictures a second.
        codec: of the sound.
        start_time: time of the first picture in seconds.
        sound_seconds: length of the sound; None for that of the pictures.
    """

    frames: int = 25
    rate: Fraction = Fraction(25)
    codec: str = "aac"
    start_time: Fraction = Fraction(0)
    sound_seconds: float | None = None
    size: tuple[int, int] = field(default=(32, 32))

    @property
    def seconds(self) -> Fraction:
        return self.frames / self.rate

    def write(self, path: Path) -> Path:
        """The flash is seen, and the beep heard, from `BEEP_AT` after the first picture on."""
        start, length = float(self.start_time), self.sound_seconds or float(self.seconds + self.start_time)
        samples = sine(BEHIND_HZ, length)
        times = np.arange(len(samples)) / 48_000 - start
        samples[(times < BEEP_AT) | (times >= BEEP_AT + BEEP_SECONDS)] = 0
        with av.open(str(path), "w") as output:
            video = output.add_stream(
                "libx264", rate=self.rate, options={"preset": "ultrafast", "crf": "10", "g": "25"}
            )
            video.width, video.height = self.size
            video.pix_fmt = "yuv420p"
            video.codec_context.time_base = Fraction(1, 90_000)
            track = output.add_stream(self.codec, rate=48_000, layout="mono")
            for index in range(self.frames):
                colour = FLASH if 0 <= float(index / self.rate) - BEEP_AT < 0.1 else WALL
                picture = av.VideoFrame.from_ndarray(np.full((*self.size[::-1], 3), colour, np.uint8), "rgb24")
                picture.pts = round((index / self.rate + self.start_time) * 90_000)
                picture.time_base = Fraction(1, 90_000)
                output.mux(video.encode(picture))
            output.mux(video.encode(None))
            for first in range(0, len(samples), 1024):
                part = np.ascontiguousarray(samples[first : first + 1024], np.float32)[None]
                piece = av.AudioFrame.from_ndarray(part, "flt", "mono")
                piece.sample_rate, piece.pts, piece.time_base = 48_000, first, Fraction(1, 48_000)
                output.mux(track.encode(piece))
            output.mux(track.encode(None))
        return path


def info_of(source: Path | None, behind: Path, level: float = LEVEL, count: int = 25) -> VideoInfo:
    info = VideoInfo(32, 32, Fraction(25), Fraction(1, 25), count, source)
    return replace(info, background_sound=BackgroundSound(behind, level))


def write_grey(sink: BaseSink, count: int = 25, first_pts: Fraction = Fraction(0)) -> None:
    for index in range(count):
        sink.write(Frame(index, first_pts + Fraction(index, 25), np.full((32, 32, 3), 90, np.uint8)))


def mixed(out: Path, source: Path | None, behind: Path, level: float = LEVEL, count: int = 25) -> str:
    """Writes grey pictures with the sound; what the summary says of it."""
    with open_sink(str(out), info_of(source, behind, level, count), "composite") as sink:
        write_grey(sink, count)
    return sink.summary


def amplitude(sound: Heard, hertz: float, begin: float = 0.1, end: float | None = None) -> float:
    """Of a tone within a stretch, where full scale is 1."""
    part = sound.samples[round(begin * sound.rate_hz) : None if end is None else round(end * sound.rate_hz)]
    window = np.hanning(len(part))
    turning = np.exp(-2j * np.pi * hertz * np.arange(len(part)) / sound.rate_hz)
    return float(2 * np.abs(np.sum(part * window * turning)) / window.sum())


def left(path: Path, track: int = 0) -> Heard:
    """A track's first channel, since to mix channels would change the level."""
    with av.open(str(path)) as file:
        sound = file.streams.audio[track]
        floats = av.AudioResampler("fltp")
        pieces = [piece.to_ndarray()[0] for frame in file.decode(sound) for piece in floats.resample(frame)]
        return Heard(np.concatenate(pieces), sound.rate)


def beeps(sound: Heard) -> list[float]:
    """When each beep begins, in seconds."""
    loud = np.abs(sound.samples) > 0.1 * np.abs(sound.samples).max()
    at = np.flatnonzero(loud) / sound.rate_hz
    return [float(now) for now, before in zip(at, [-1.0, *at], strict=False) if now - before > 0.1]


def start_of_sound(path: Path) -> float:
    with av.open(str(path)) as file:
        track = file.streams.audio[0]
        return float((track.start_time or 0) * track.time_base)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bg_sound")


@pytest.fixture(scope="module")
def source(folder: Path) -> Path:
    """Half a second of pictures with a stereo tone."""
    return write_source(folder / "source.mov", Sound("aac", hertz=SOURCE_HZ, seconds=1.0))


@pytest.fixture(scope="module")
def tones(folder: Path) -> Path:
    """A background with a tone that never ends."""
    return write_source(folder / "tones.mov", Sound("pcm_s16le", hertz=BEHIND_HZ, seconds=1.0))


@pytest.fixture(scope="module")
def flashes(folder: Path) -> Path:
    """A background of 1.001 s with a flash and a beep."""
    return Behind(24, Fraction(24000, 1001)).write(folder / "flashes.mp4")


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("mov", "aac"), ("mkv", "flac"), ("webm", "opus")])
def test_both_tones_have_their_level(suffix: str, codec: str, source: Path, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / f"x.{suffix}"
    summary = mixed(out, source, tones)
    assert f"aac and the background's pcm_s16le to {codec} mixed;" in summary
    sound = left(out)
    assert amplitude(sound, SOURCE_HZ) == pytest.approx(AMPLITUDE, rel=0.05)
    assert amplitude(sound, BEHIND_HZ, end=0.5) == pytest.approx(LEVEL * AMPLITUDE, rel=0.05)
    assert sound.seconds == pytest.approx(1, abs=0.03)


def test_it_begins_anew_with_its_pictures(flashes: Path, tmp_path: Path) -> None:
    """Alone, as the source has no sound; four times, within 20 ms each."""
    out = tmp_path / "x.mp4"
    assert ", the background's aac to aac mixed;" in mixed(out, None, flashes, 1, 90)
    sound = left(out)
    assert beeps(sound) == pytest.approx([BEEP_AT + number * 1.001 for number in range(4)], abs=0.005)
    assert amplitude(sound, BEHIND_HZ, BEEP_AT, BEEP_AT + BEEP_SECONDS) == pytest.approx(AMPLITUDE, rel=0.1)
    assert sound.seconds == pytest.approx(3.6, abs=0.03)


def test_pictures_and_sound_begin_anew_together(flashes: Path, tmp_path: Path) -> None:
    """Through the whole pipeline, where the source's pictures begin late and the background's file not at 0."""
    late = Behind(24, Fraction(24000, 1001), start_time=Fraction(1, 5)).write(tmp_path / "late.mp4")
    source = Behind(80, start_time=Fraction(2, 5)).write(tmp_path / "source.mp4")
    out = tmp_path / "x.mkv"
    convert(source, out, late, engine=DiscEngine(), bg_sound=1, input_size=64)
    with av.open(str(out)) as file:
        pictures = [(float(f.pts * f.time_base), f.to_ndarray(format="gray").mean()) for f in file.decode(video=0)]
    bright = [when for when, grey in pictures if grey > 128]
    flash = [now for now, before in zip(bright, [-1.0, *bright], strict=False) if now - before > 0.2]
    first = start_of_sound(out)
    heard_at = [first + when for when in beeps(left(out))]
    rounds = [0.4 + number * 1.001 for number in range(3)]
    seen_at = [begin + 8 * 1001 / 24000 for begin in rounds]  # In the source's next picture.
    assert flash == pytest.approx([when + 0.02 for when in seen_at], abs=0.021)
    assert heard_at == pytest.approx([begin + BEEP_AT for begin in rounds], abs=0.005)


def test_the_source_keeps_its_rate_channels_language_and_place(tones: Path, tmp_path: Path) -> None:
    """A mono track of 44,100 Hz, marked as the main one, that ends early; the other one is copied as it is."""
    source = tmp_path / "two.mkv"
    with av.open(str(source), "w") as output:
        video = add_video(output)
        tracks = [output.add_stream("aac", rate=44_100, layout="mono") for _ in range(2)]
        tracks[0].disposition, tracks[1].disposition = Disposition.comment, Disposition.default
        tracks[1].metadata["language"] = "fra"
        write_pictures(output, video)
        for track, hertz in zip(tracks, (3000, SOURCE_HZ), strict=True):
            for piece in tone(Sound("aac", rate_hz=44_100, layout="mono", hertz=hertz, seconds=0.5)):
                output.mux(track.encode(piece))
            output.mux(track.encode(None))
    out = tmp_path / "x.mp4"
    assert ", aac and the background's pcm_s16le to aac mixed, aac copied;" in mixed(out, source, tones)
    with av.open(str(out)) as file:
        main, other = file.streams.audio
        assert (main.rate, main.layout.name, main.language) == (44_100, "mono", "fra")
        assert main.disposition & Disposition.default
        assert not other.disposition & Disposition.default
    sound = left(out)
    assert sound.seconds == pytest.approx(1, abs=0.03)
    assert amplitude(sound, SOURCE_HZ, 0.1, 0.45) == pytest.approx(AMPLITUDE, rel=0.05)
    assert amplitude(sound, SOURCE_HZ, 0.55, 0.95) < 0.001
    assert amplitude(sound, BEHIND_HZ, 0.05, 0.5) == pytest.approx(LEVEL * AMPLITUDE, rel=0.05)
    assert left(out, 1).pitch_hz == pytest.approx(3000, abs=10)


def test_what_is_too_loud_is_clipped(tmp_path: Path) -> None:
    loud = write_source(tmp_path / "loud.mov", *[Sound("pcm_s16le", hertz=SOURCE_HZ, seconds=1.0)])
    out = tmp_path / "x.mkv"
    with open_sink(str(out), info_of(loud, loud, 1), "composite") as sink:
        write_grey(sink)
    assert amplitude(left(out), SOURCE_HZ, end=0.5) == pytest.approx(2 * AMPLITUDE, rel=0.02)


def test_ctrl_c_ends_the_sound_with_the_pictures(source: Path, tones: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.mp4"
    with suppress(KeyboardInterrupt), open_sink(str(out), info_of(source, tones), "composite") as sink:
        write_grey(sink, 10)
        raise KeyboardInterrupt
    assert left(out).seconds == pytest.approx(0.4, abs=0.03)
    assert amplitude(left(out), SOURCE_HZ, end=0.35) == pytest.approx(AMPLITUDE, rel=0.05)


def test_frames_before_0_keep_the_sound_beside_them(source: Path, tones: Path, tmp_path: Path) -> None:
    """The source's begins where its 0 is, the background's with the first frame."""
    with open_sink(str(tmp_path / "x.mp4"), info_of(source, tones, count=50), "composite") as sink:
        write_grey(sink, 50, first_pts=Fraction(-1))
    sound = left(tmp_path / "x.mp4")
    assert amplitude(sound, SOURCE_HZ, 0.1, 0.9) < 0.001
    assert amplitude(sound, SOURCE_HZ, 1.1, 1.4) == pytest.approx(AMPLITUDE, rel=0.05)
    assert amplitude(sound, BEHIND_HZ, 0.1, 1.9) == pytest.approx(LEVEL * AMPLITUDE, rel=0.05)


def test_a_run_that_goes_on_has_the_same_sound(source: Path, flashes: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.mp4", tmp_path / "x.mp4"
    mixed(whole, source, flashes, count=125)
    info = info_of(source, flashes, count=125)
    with suppress(OSError), open_sink(str(out), info, "composite") as sink:
        write_grey(sink, 115)
        raise OSError("unplugged")
    with open_sink(str(out), info, "composite", resume=True) as sink:
        assert sink.resume_at > 0
        write_grey(sink, 125)
    assert np.abs(left(out).samples - left(whole).samples).max() < 0.001


def test_segments_have_the_same_sound_whatever_the_level_was(flashes: Path, tmp_path: Path) -> None:
    """What is matted is taken up with another level."""
    register_engines()
    source, whole, out = (tmp_path / name for name in ("source.mp4", "whole.mkv", "x.mkv"))
    Behind(50, size=(64, 48)).write(source)
    fast = {"smooth": "none", "gate": False, "input_size": 64, "bg": str(flashes)}
    convert(source, whole, engine=DiscEngine(), bg_sound=0.5, **fast)
    first = OneByOne(lambda task: Failure("unplugged") if isinstance(task, JoinTask) else None)
    (result,) = work_off([work_on(source, out, settings_of(bg_sound=0.2, **fast), 1)], first)
    assert result.message == "unplugged"
    crew = OneByOne()
    done(work_on(source, out, settings_of(bg_sound=0.5, **fast), 1), crew)
    assert (first.segments, crew.segments) == ([0, 1], [])
    assert np.array_equal(left(out).samples, left(whole).samples)


@pytest.mark.parametrize(
    ("flags", "fragments"),
    [
        ("-o x.mp4 --bg {tones} --bg-sound 1.5", ["composite.bg_sound", "1.5", "less than or equal to 1"]),
        ("-o x.mp4 --bg-sound 0.5", ["--bg-sound", "there is none", "give one as --bg"]),
        ("-o x.mp4 --bg green --bg-sound 0.5", ["green is none", "give one as --bg"]),
        ("-o x.mp4 --bg blur --bg-sound 0.5", ["blur is none"]),
        ("-o x.mp4 --bg {silent} --bg-sound 0.5", ["silent.mp4 has no sound", "leave out --bg-sound"]),
        ("-o x.mp4 --bg {text} --bg-sound 0.5", ["cannot read the background", "text.mp4", "Invalid data"]),
        ("-o x.gif --bg {tones} --bg-sound 0.5", ["x.gif holds no sound", "leave out --bg-sound", "a video file"]),
        ("-o x_%03d.png --bg {tones} --bg-sound 0.5", ["holds no sound"]),
        ("-o x_%03d.png --bg {tones} --bg-sound 0.5 --jobs 2", ["holds no sound"]),
    ],
)
def test_one_line_for_what_cannot_be(
    flags: str, fragments: list[str], source: Path, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_, **__: DiscEngine())
    silent = write_source(tmp_path / "silent.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("words")
    result = streamseg("video", source, *flags.format(tones=tones, silent=silent, text=text).split())
    expect_one_line_error(result, *fragments)
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"} == {"silent.mp4", "text.mp4"}


def test_a_folder_is_refused_once(source: Path, tmp_path: Path) -> None:
    result = streamseg("batch", source.parent, "-o", tmp_path / "out", "--bg", "green", "--bg-sound", 0.5)
    expect_one_line_error(result, "green is none")
    assert not (tmp_path / "out").exists()


def test_a_matte_keeps_the_sources_sound(source: Path, tones: Path, tmp_path: Path) -> None:
    made = convert(source, tmp_path / "x.mp4", tones, engine=DiscEngine(), bg_sound=1, matte_only=True, input_size=64)
    assert ", aac copied;" in made.summary


@pytest.mark.parametrize("sound_seconds", [0.4, 1.0, 14.0])
def test_the_pictures_end_is_found_however_long_the_sound_is(sound_seconds: float, tmp_path: Path) -> None:
    behind = Behind(24, Fraction(24000, 1001), sound_seconds=sound_seconds)
    begin, end = playing_time(behind.write(tmp_path / "x.mp4"))
    assert abs(end - begin - behind.seconds) <= Fraction(1, 90_000)
