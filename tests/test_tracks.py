"""The source's tracks in every container: copied, made anew or left out; as `probe` says, and whole."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
from av.audio.layout import AudioLayout
from av.container import OutputContainer
from av.video.stream import VideoStream

from streamseg.frames import Frame, VideoInfo
from streamseg.probe import describe
from streamseg.sink import open_sink
from streamseg.sink.sound import limited

SECONDS = 0.5
PICTURES = 13
GREY = np.full((32, 32, 3), 90, np.uint8)
INTO = (".mp4", ".mov", ".mkv", ".webm")
ACTIONS = {"c": "copied", "t": "transcoded", "-": "left out"}


@dataclass(frozen=True)
class Sound:
    """A track of a test's source: a tone.

    Attributes:
        codec: FFmpeg's name of the encoder.
        fates: what becomes of it in .mp4, .mov, .mkv and .webm, by the letters of `ACTIONS`.
        bits: a second, where the encoder wants to be told.
    """

    codec: str
    actions: str = ""
    rate_hz: int = 48_000
    layout: str = "stereo"
    hertz: float = 440
    seconds: float = SECONDS
    bits: str = ""


def write_source(path: Path, *sounds: Sound) -> Path:
    """A small video with tones."""
    with av.open(str(path), "w") as output:
        video = add_video(output)
        tracks = []
        for sound in sounds:
            options = {"strict": "-2"} | ({"b": sound.bits} if sound.bits else {})
            tracks.append(output.add_stream(sound.codec, rate=sound.rate_hz, layout=sound.layout, options=options))
        write_pictures(output, video)
        for sound, track in zip(sounds, tracks, strict=True):
            for piece in tone(sound):
                output.mux(track.encode(piece))
            output.mux(track.encode(None))
    return path


def add_video(output: OutputContainer) -> VideoStream:
    video = output.add_stream("mpeg4", rate=25)
    assert isinstance(video, VideoStream)
    video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
    return video


def write_pictures(output: OutputContainer, video: VideoStream, count: int = PICTURES, first: int = 0) -> None:
    """Grey ones, at 25 a second."""
    output.start_encoding()
    for index in range(first, first + count):
        picture = av.VideoFrame.from_ndarray(GREY, "rgb24")
        picture.pts, picture.time_base = index, Fraction(1, 25)
        output.mux(video.encode(picture))
    output.mux(video.encode(None))


def tone(sound: Sound) -> list[av.AudioFrame]:
    """A sine in every channel, in pieces of at most 1,024 samples."""
    times = np.arange(round(sound.seconds * sound.rate_hz)) / sound.rate_hz
    wave = (9000 * np.sin(2 * np.pi * sound.hertz * times)).astype(np.int16)
    pieces = []
    for first in range(0, len(wave), 1024):
        part = np.repeat(wave[first : first + 1024], AudioLayout(sound.layout).nb_channels)[None]
        piece = av.AudioFrame.from_ndarray(part, "s16", sound.layout)
        piece.sample_rate, piece.pts, piece.time_base = sound.rate_hz, first, Fraction(1, sound.rate_hz)
        pieces.append(piece)
    return pieces


def carry(source: Path, out: Path) -> str:
    """Writes a few pictures with the source's tracks; what became of them."""
    with open_sink(str(out), VideoInfo(32, 32, Fraction(25), Fraction(1, 25), PICTURES, source), "composite") as sink:
        for index in range(PICTURES):
            sink.write(Frame(index, Fraction(index, 25), GREY))
    return sink.summary.split(", ", 2)[2].partition(";")[0]


@dataclass(frozen=True)
class Heard:
    """What a track sounds like, in one channel."""

    samples: npt.NDArray[np.float32]
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz

    @property
    def pitch_hz(self) -> float:
        """The loudest frequency."""
        spectrum = np.abs(np.fft.rfft(self.samples * np.hanning(len(self.samples))))
        return float(np.argmax(spectrum)) / self.seconds


def heard(path: Path, track: int = 0) -> Heard:
    with av.open(str(path)) as file:
        sound = file.streams.audio[track]
        pieces, rate_hz = [], sound.rate
        for packet in file.demux(sound):
            with suppress(av.FFmpegError):  # as players pass over what is damaged
                for frame in packet.decode():
                    mono = av.AudioResampler("flt", "mono", rate_hz)  # One for each, as tracks may change midway.
                    pieces += [piece.to_ndarray()[0] for part in (frame, None) for piece in mono.resample(part)]
        return Heard(np.concatenate(pieces), rate_hz)


def probed(source: Path) -> list[dict[str, str]]:
    """What `probe` says will become of each track of sound, by suffix."""
    lines = [line.text.partition("; ")[2] for line in describe(str(source), 64) if line.name == "audio"]
    return [
        {
            suffix: action
            for action, _, into in (part.partition(" in ") for part in line.split(", "))
            for suffix in into.split()
        }
        for line in lines
    ]


SOURCES = {
    ".mkv": [
        Sound("ac3", "ccct"),
        Sound("eac3", "ccct"),
        Sound("libmp3lame", "ccct"),
        Sound("mp2", "ccct"),
        Sound("flac", "ctct"),
        Sound("libopus", "ctcc"),
        Sound("vorbis", "ctcc"),
        Sound("wavpack", "ttct"),
        Sound("real_144", "ttct", 8000, "mono"),
        Sound("pcm_s24le", "tcct"),
        Sound("pcm_f32le", "tcct"),
    ],
    ".mov": [
        Sound("aac", "ccct"),
        Sound("alac", "ccct"),
        Sound("libopencore_amrnb", "tctt", 8000, "mono"),
        Sound("nellymoser", "tctt", 8000, "mono"),
        Sound("adpcm_ima_qt", "tctt"),
        Sound("pcm_mulaw", "tctt"),
        Sound("pcm_s8", "tctt"),
        Sound("pcm_s16be", "ccct"),
        Sound("pcm_s32le", "ccct"),
        Sound("pcm_f64le", "ccct"),
    ],
    ".avi": [
        Sound("adpcm_ms", "tttt"),
        Sound("adpcm_ima_wav", "tttt"),
        Sound("adpcm_swf", "tttt", 44_100),
        Sound("adpcm_yamaha", "tttt"),
        Sound("g722", "tttt", 16_000, "mono"),
        Sound("g726", "tttt", 8000, "mono", bits="32000"),
        Sound("dfpwm", "tttt"),
        Sound("pcm_alaw", "tctt"),
        Sound("pcm_u8", "tcct", 11_025, "mono"),
        Sound("pcm_s16le", "tcct"),
    ],
    ".wmv": [Sound("wmav1", "tttt", bits="128000"), Sound("wmav2", "tttt", bits="128000")],
    ".nut": [Sound("pcm_s16le_planar", "tttt"), Sound("pcm_u16be", "tttt")],
    ".vob": [Sound("pcm_dvd", "tttt")],
}
"""The kinds of sound that FFmpeg can write, in containers that take them."""


@pytest.mark.parametrize("container", SOURCES)
def test_every_codec_into_every_container(container: str, tmp_path: Path) -> None:
    sounds = [replace(sound, hertz=400 + 40 * number) for number, sound in enumerate(SOURCES[container])]
    source = write_source(tmp_path / f"in{container}", *sounds)
    expected = [
        {suffix: ACTIONS[action] for suffix, action in zip(INTO, sound.actions, strict=True)} for sound in sounds
    ]
    assert probed(source) == expected
    before = [heard(source, number) for number in range(len(sounds))]
    for suffix in INTO:
        said = carry(source, tmp_path / f"out{suffix}")
        for number, sound in enumerate(sounds):
            # What is copied is the same bytes; a codec's own delay and the filling of its last packet may be heard.
            now, was = heard(tmp_path / f"out{suffix}", number), before[number]
            assert was.seconds - 0.001 <= now.seconds <= was.seconds + max(0.035, 1100 / now.rate_hz), (suffix, sound)
            assert now.pitch_hz == pytest.approx(sound.hertz, abs=4), (suffix, sound)
        for action in set(ACTIONS.values()):
            assert (action in said) == any(each[suffix] == action for each in expected), said


PITCHES_HZ = {"FL": 300, "FR": 400, "FC": 500, "LFE": 90, "BL": 600, "BR": 700, "BC": 800, "SL": 600, "SR": 700}


def write_speakers(path: Path, codec: str, layout: str) -> Path:
    """A small video whose sound has another pitch in each loudspeaker."""
    names = [channel.name for channel in AudioLayout(layout).channels]
    times = np.arange(24_000) / 48_000
    waves = np.stack([8000 * np.sin(2 * np.pi * times * PITCHES_HZ[name]) for name in names], 1)
    with av.open(str(path), "w") as output:
        video, track = add_video(output), output.add_stream(codec, rate=48_000, layout=layout)
        write_pictures(output, video)
        mixed = av.AudioFrame.from_ndarray(waves.astype(np.int16).reshape(1, -1), "s16", layout)
        mixed.sample_rate, mixed.pts, mixed.time_base = 48_000, 0, Fraction(1, 48_000)
        output.mux(track.encode(mixed))
        output.mux(track.encode(None))
    return path


def pitches_hz(path: Path) -> dict[str, float]:
    """The loudest frequency from each loudspeaker that sounds."""
    with av.open(str(path)) as file:
        sound = file.streams.audio[0]
        names = [channel.name for channel in sound.layout.channels]
        packed = av.AudioResampler("flt", sound.layout, sound.rate)
        pieces = [piece.to_ndarray()[0] for frame in [*file.decode(sound), None] for piece in packed.resample(frame)]
        channels = np.concatenate(pieces).reshape(-1, len(names)).T
    return {
        name: Heard(samples, sound.rate).pitch_hz
        for name, samples in zip(names, channels, strict=True)
        if np.abs(samples).max() > 0.03
    }


class TestChannels:
    @pytest.mark.parametrize("layout", ["mono", "stereo", "2.1", "3.0", "4.0", "quad", "5.0", "5.1", "5.1(side)"])
    def test_each_sounds_from_its_loudspeaker(self, layout: str, tmp_path: Path) -> None:
        """Sides are as good as backs; Opus has no single loudspeaker at the back."""
        source = write_speakers(tmp_path / "in.mov", "pcm_s8", layout)
        for suffix in (".mp4", ".mkv", ".webm"):
            assert "pcm_s8 to" in carry(source, tmp_path / f"out{suffix}")
            found = pitches_hz(tmp_path / f"out{suffix}")
            expected = PITCHES_HZ | ({"BL": 800, "BR": 800} if (layout, suffix) == ("4.0", ".webm") else {})
            assert found == {name: pytest.approx(expected[name], abs=4) for name in found}, suffix
            assert len(found) == AudioLayout(layout).nb_channels + (expected != PITCHES_HZ), (suffix, found)

    def test_more_than_the_codec_knows_are_mixed(self, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mov", Sound("pcm_s8", layout="7.1"))
        carry(source, tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as file:
            assert file.streams.audio[0].layout.name == "5.1"

    def test_counted_ones_are_taken_in_the_usual_order(self, tmp_path: Path) -> None:
        """Matroska says no more of PCM than its number of channels."""
        source = write_speakers(tmp_path / "in.mkv", "pcm_s16le", "5.1")
        assert next(line.text for line in describe(str(source), 64) if line.name == "audio").startswith(
            "pcm_s16le, 48,000 Hz, 6 channels; transcoded in .mp4 .webm"
        )
        carry(source, tmp_path / "out.mp4")
        found = pitches_hz(tmp_path / "out.mp4")
        assert found == {name: pytest.approx(PITCHES_HZ[name], abs=4) for name in found}
        assert len(found) == 6

    def test_too_many_without_names(self, tmp_path: Path) -> None:
        """They cannot be mixed, and are left out where they cannot be copied."""
        source = write_source(tmp_path / "in.mov", Sound("pcm_s16le", layout="9 channels"))
        assert probed(source) == [{".mp4": "left out", ".mov": "copied", ".mkv": "copied", ".webm": "left out"}]
        assert carry(source, tmp_path / "out.webm") == "pcm_s16le left out"

    @pytest.mark.parametrize("order", ["FL+FC+FR+BL+BR+LFE", "FL+FL"])
    def test_an_order_of_its_own(self, order: str, tmp_path: Path) -> None:
        """Film editors write 5.1 so; PyAV crashes where it looks at it."""
        names = order.split("+")
        waves = "|".join(f"0.3*sin(2*PI*t*{PITCHES_HZ[name]})" for name in names)
        source = ffmpeg(tmp_path / "in.mov", "-f", "lavfi", "-i", f"aevalsrc={waves}:c={order}:d=0.5:s=48000")
        assert probed(source) == [{".mp4": "copied", ".mov": "copied", ".mkv": "transcoded", ".webm": "transcoded"}]
        for suffix in (".mkv", ".webm"):
            carry(source, tmp_path / f"out{suffix}")
            found = pitches_hz(tmp_path / f"out{suffix}")
            # Two of one name are two channels all the same.
            expected = {"FL": 300, "FR": 300} if order == "FL+FL" else {name: PITCHES_HZ[name] for name in names}
            assert found == {name: pytest.approx(hertz, abs=4) for name, hertz in expected.items()}


def ffmpeg(path: Path, *sound: str, codec: str = "pcm_s16le") -> Path:
    """A small video with sound that only FFmpeg's own program makes; `sound` is its input."""
    picture = ("-f", "lavfi", "-i", "testsrc2=size=32x32:rate=25:d=0.5")
    coded = ("-c:v", "mpeg4", "-c:a", codec, "-strict", "-2", str(path))
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *picture, *sound, *coded], check=True)
    return path


@pytest.mark.parametrize(
    ("codec", "actions"), [("truehd", "ttct"), ("mlp", "ttct"), ("dca", "ccct")], ids=["TrueHD", "MLP", "DTS"]
)
def test_what_discs_hold(codec: str, actions: str, tmp_path: Path) -> None:
    source = ffmpeg(tmp_path / "in.mkv", "-f", "lavfi", "-i", "sine=440:d=0.5:r=48000", codec=codec)
    assert probed(source) == [{suffix: ACTIONS[action] for suffix, action in zip(INTO, actions, strict=True)}]
    for suffix in INTO:
        carry(source, tmp_path / f"out{suffix}")
        now = heard(tmp_path / f"out{suffix}")
        assert 0.499 <= now.seconds <= 0.53
        assert now.pitch_hz == pytest.approx(440, abs=4)


class TestWhatIsNotSound:
    """Tracks that cannot be kept are left out and said; all else is written."""

    def test_a_codec_that_ffmpeg_does_not_know(self, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mp4", Sound("aac"), Sound("aac", hertz=600))
        # The first track's name of its codec, and what else tells it.
        before, _, after = source.read_bytes().partition(b"mp4a")
        source.write_bytes(before + b"apac" + after.replace(b"esds", b"free", 1))
        assert probed(source)[0] == dict.fromkeys(INTO, "left out")
        for suffix in INTO:
            said = carry(source, tmp_path / f"out{suffix}")
            assert said.startswith("aac") and said.endswith("sound in an unknown codec left out")
            assert heard(tmp_path / f"out{suffix}").pitch_hz == pytest.approx(600, abs=4)

    @pytest.mark.parametrize("container", [".ts", ".mkv", ".mp4"])
    def test_a_track_without_packets(self, container: str, tmp_path: Path) -> None:
        with av.open(str(tmp_path / f"in{container}"), "w") as output:
            video = add_video(output)
            output.add_stream("aac", rate=48_000, layout="stereo")
            full = output.add_stream("ac3", rate=48_000, layout="stereo")
            write_pictures(output, video)
            for piece in tone(Sound("ac3")):
                output.mux(full.encode(piece))
            output.mux(full.encode(None))
        for suffix in INTO:
            said = carry(tmp_path / f"in{container}", tmp_path / f"out{suffix}")
            assert "aac without packets left out" in said or container == ".mp4"  # which drops it itself
            with av.open(str(tmp_path / f"out{suffix}")) as file:
                assert len(file.streams.audio) == 1
            assert heard(tmp_path / f"out{suffix}").seconds > 0.49

    def test_sound_that_ends_before_the_stretch_begins(self, tmp_path: Path) -> None:
        source = write_source(tmp_path / "in.mkv", Sound("aac"))
        info = VideoInfo(32, 32, Fraction(25), Fraction(1, 25), None, source, start_time=Fraction(2))
        with open_sink(str(tmp_path / "out.mp4"), info) as sink:
            sink.write(Frame(0, Fraction(0), GREY))
        assert "aac without packets left out" in sink.summary


class TestStretch:
    """What is shown or lasts beyond the beginning or the end of a stretch is cut there."""

    @pytest.fixture
    def talk(self, tmp_path: Path) -> Path:
        """Four seconds with three chapters and two subtitles."""
        (tmp_path / "in.srt").write_text(
            "1\n00:00:00,500 --> 00:00:01,900\nfirst\n\n2\n00:00:02,000 --> 00:00:09,000\nsecond\n"
        )
        with av.open(str(tmp_path / "in.srt")) as text, av.open(str(tmp_path / "in.mkv"), "w") as output:
            video = add_video(output)
            subtitles = output.add_stream_from_template(text.streams.subtitles[0])
            output.set_chapters(
                [
                    {
                        "id": number + 1,
                        "start": number * 1000,
                        "end": number * 1000 + 1000,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": f"chapter {number}"},
                    }
                    for number in range(3)
                ]
            )
            for packet in text.demux():
                if packet.size:
                    packet.stream = subtitles
                    output.mux(packet)
            write_pictures(output, video, 100)
        return tmp_path / "in.mkv"

    def carried(self, talk: Path, out: Path, start: Fraction, end: Fraction) -> None:
        info = VideoInfo(32, 32, Fraction(25), Fraction(1, 25), None, talk, start_time=start, end=end)
        with open_sink(str(out), info, "composite") as sink:
            for index in range(int((end - start) * 25)):
                sink.write(Frame(index, Fraction(index, 25), GREY))

    @pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
    def test_subtitles(self, suffix: str, talk: Path, tmp_path: Path) -> None:
        out = tmp_path / f"out{suffix}"
        self.carried(talk, out, Fraction(1), Fraction(5, 2))
        with av.open(str(out)) as file:
            shown = [
                (float(packet.pts * packet.time_base), float(packet.duration * packet.time_base))
                for packet in file.demux(file.streams.subtitles[0])
                if packet.size > 2 and packet.pts is not None and packet.duration
            ]
            assert file.duration is not None
            assert file.duration / av.time_base == pytest.approx(1.5, abs=0.05)
        assert shown == [pytest.approx((0, 0.9), abs=0.01), pytest.approx((1, 0.5), abs=0.01)]

    @pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
    def test_chapters(self, suffix: str, talk: Path, tmp_path: Path) -> None:
        out = tmp_path / f"out{suffix}"
        self.carried(talk, out, Fraction(3, 2), Fraction(5, 2))
        with av.open(str(out)) as file:
            found = [
                (one["metadata"]["title"], *(float(one[side] * one["time_base"]) for side in ("start", "end")))
                for one in file.chapters()
            ]
        assert found == [("chapter 1", 0.0, 0.5), ("chapter 2", 0.5, 1.0)]


def write_joined(path: Path, *parts: tuple[Sound, Fraction]) -> Path:
    """A transport stream whose sound is that of several, each from its own time on."""
    with av.open(str(path), "w", format="mpegts") as output:
        video = add_video(output)
        track = output.add_mux_stream(parts[0][0].codec.removeprefix("lib"), rate=parts[0][0].rate_hz)
        track.time_base = Fraction(1, 90_000)
        write_pictures(output, video)
        for sound, begin in parts:
            raw = BytesIO()
            with av.open(raw, "w", format="adts" if sound.codec == "aac" else sound.codec) as single:
                encoder = single.add_stream(sound.codec, rate=sound.rate_hz, layout=sound.layout)
                for piece in tone(sound):
                    single.mux(encoder.encode(piece))
                single.mux(encoder.encode(None))
            with av.open(BytesIO(raw.getvalue())) as single:
                for packet in single.demux(audio=0):
                    if packet.size:
                        packet.pts += round(begin / packet.time_base)
                        packet.dts, packet.stream = packet.pts, track
                        output.mux(packet)
    return path


class TestChangesMidway:
    """Half a second each of 440 and 660 Hz, with something else about them."""

    @pytest.mark.parametrize("suffix", INTO)
    @pytest.mark.parametrize(
        ("codec", "layout", "rate_hz"),
        [("aac", "stereo", 48_000), ("aac", "mono", 32_000), ("ac3", "5.1", 48_000), ("ac3", "mono", 32_000)],
    )
    def test_channels_and_rate(self, codec: str, layout: str, rate_hz: int, suffix: str, tmp_path: Path) -> None:
        first = Sound(codec, layout="mono" if layout == "stereo" else "stereo")
        second = Sound(codec, rate_hz=rate_hz, layout=layout, hertz=660)
        source = write_joined(tmp_path / "in.ts", (first, Fraction(0)), (second, Fraction(6, 10)))
        said = carry(source, tmp_path / f"out{suffix}")
        action = "copied" if codec == "ac3" and suffix != ".webm" else "transcoded"
        assert action in said
        assert probed(source)[0][suffix] == action
        now = heard(tmp_path / f"out{suffix}")
        assert now.seconds == pytest.approx(1.05, abs=0.1)
        half = round(0.4 * now.rate_hz)
        assert Heard(now.samples[:half], now.rate_hz).pitch_hz == pytest.approx(440, abs=6)
        assert Heard(now.samples[-half:], now.rate_hz).pitch_hz == pytest.approx(660, abs=6)

    @pytest.mark.parametrize("suffix", INTO)
    @pytest.mark.parametrize("begin", [Fraction(4, 10), Fraction(0)])
    def test_a_clock_that_goes_back(self, begin: Fraction, suffix: str, tmp_path: Path) -> None:
        """What overlaps comes after what was before it."""
        parts = [(Sound("aac"), Fraction(0)), (Sound("aac", hertz=660), begin)]
        source = tmp_path / "in.ts"
        source.write_bytes(b"".join(write_joined(tmp_path / "part.ts", part).read_bytes() for part in parts))
        carry(source, tmp_path / f"out{suffix}")
        assert heard(tmp_path / f"out{suffix}").seconds == pytest.approx(1.05, abs=0.05)

    @pytest.mark.parametrize("suffix", INTO)
    def test_a_damaged_beginning(self, suffix: str, tmp_path: Path) -> None:
        """It does not cost the track."""
        source = write_source(tmp_path / "in.avi", Sound("adpcm_ms"), Sound("libmp3lame"), Sound("aac"))
        with av.open(str(source)) as file:
            first = {
                packet.stream.index: packet for packet in reversed(list(file.demux(audio=(0, 1, 2)))) if packet.size
            }
            spoilt = [(bytes(packet), bytes(255 - byte for byte in bytes(packet))) for packet in first.values()]
        written = source.read_bytes()
        for whole, broken in spoilt:
            assert whole in written
            written = written.replace(whole, broken, 1)
        source.write_bytes(written)
        assert "left out" not in carry(source, tmp_path / f"out{suffix}")
        for track in range(3):
            now = heard(tmp_path / f"out{suffix}", track)
            assert Heard(now.samples[-now.rate_hz // 4 :], now.rate_hz).pitch_hz == pytest.approx(440, abs=6)


@pytest.mark.parametrize("immense", [1e8, -1e30, np.inf, np.nan])
@pytest.mark.parametrize("sample_format", ["fltp", "flt", "dbl"])
def test_samples_that_damage_made_immense_are_clipped(sample_format: str, immense: float) -> None:
    """FFmpeg's AAC encoder never ends on some of them."""
    values = np.zeros((2, 64) if sample_format == "fltp" else (1, 128), "f8" if sample_format == "dbl" else "f4")
    values[0, 5] = immense
    frame = av.AudioFrame.from_ndarray(values, format=sample_format, layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 16_000, 80, Fraction(1, 1000)
    found = limited(frame)
    assert np.abs(found.to_ndarray()).max() <= 1
    assert (found.sample_rate, found.pts, found.time_base) == (16_000, 80, Fraction(1, 1000))
    assert found.samples == frame.samples


def test_samples_somewhat_over_full_scale_stay() -> None:
    frame = av.AudioFrame.from_ndarray(np.full((1, 64), 1.5, "f4"), format="fltp", layout="mono")
    assert limited(frame) is frame
