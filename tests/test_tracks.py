"""The source's tracks in every container: copied, made anew or left out; as `probe` says, and whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.audio.layout import AudioLayout

from streamseg.frames import Frame, VideoInfo
from streamseg.pipeline import Statistics
from streamseg.probe import describe
from streamseg.sink import open_sink

SECONDS = 0.5
PICTURES = 13
GREY = np.full((32, 32, 3), 90, np.uint8)
INTO = (".mp4", ".mov", ".mkv", ".webm")
FATES = {"c": "copied", "t": "transcoded", "-": "left out"}


@dataclass(frozen=True)
class Sound:
    """A track of a test's source: a tone.

    Attributes:
        codec: FFmpeg's name of the encoder.
        fates: what becomes of it in .mp4, .mov, .mkv and .webm, by the letters of `FATES`.
        bits: a second, where the encoder wants to be told.
    """

    codec: str
    fates: str = ""
    rate_hz: int = 48_000
    layout: str = "stereo"
    hertz: float = 440
    seconds: float = SECONDS
    bits: str = ""


def write_source(path: Path, *sounds: Sound) -> Path:
    """A small video with tones."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        tracks = []
        for sound in sounds:
            options = {"strict": "-2"} | ({"b": sound.bits} if sound.bits else {})
            tracks.append(output.add_stream(sound.codec, rate=sound.rate_hz, layout=sound.layout, options=options))
        output.start_encoding()
        for index in range(PICTURES):
            picture = av.VideoFrame.from_ndarray(GREY, "rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        for sound, track in zip(sounds, tracks, strict=True):
            for piece in tone(sound):
                output.mux(track.encode(piece))
            output.mux(track.encode(None))
    return path


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
    with open_sink(str(out), VideoInfo(32, 32, Fraction(25), Fraction(1, 25), PICTURES, source), "picture") as sink:
        for index in range(PICTURES):
            sink.write(Frame(index, Fraction(index, 25), GREY), Statistics())
    return sink.written.split(", ", 2)[2].partition(";")[0]


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
        mono = av.AudioResampler("flt", "mono", sound.rate)
        pieces = [piece for frame in [*file.decode(sound), None] for piece in mono.resample(frame)]
        return Heard(np.concatenate([piece.to_ndarray()[0] for piece in pieces]), sound.rate)


def probed(source: Path) -> list[dict[str, str]]:
    """What `probe` says will become of each track of sound, by suffix."""
    lines = [line.text.partition("; ")[2] for line in describe(str(source), 64) if line.name == "audio"]
    return [
        {
            suffix: fate
            for fate, _, into in (part.partition(" in ") for part in line.split(", "))
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
    expected = [{suffix: FATES[fate] for suffix, fate in zip(INTO, sound.fates, strict=True)} for sound in sounds]
    assert probed(source) == expected
    before = [heard(source, number) for number in range(len(sounds))]
    for suffix in INTO:
        said = carry(source, tmp_path / f"out{suffix}")
        for number, sound in enumerate(sounds):
            # What is copied is the same bytes; a codec's own delay and the filling of its last packet may be heard.
            now, was = heard(tmp_path / f"out{suffix}", number), before[number]
            assert was.seconds - 0.001 <= now.seconds <= was.seconds + max(0.035, 1100 / now.rate_hz), (suffix, sound)
            assert now.pitch_hz == pytest.approx(sound.hertz, abs=4), (suffix, sound)
        for fate in set(FATES.values()):
            assert (fate in said) == any(each[suffix] == fate for each in expected), said
