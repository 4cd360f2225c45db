"""What an output takes over from its source beside the sound: text, flags, subtitles, fonts, place and make."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet

from streamseg.decode.video import VideoFile
from streamseg.frames import Frame, VideoInfo
from streamseg.media.stacked import STACKED_TAG, is_stacked
from streamseg.probe import describe
from streamseg.settings import OutputSettings
from streamseg.sink import open_sink
from streamseg.sink.first_frame import FirstFrameSink
from tests.test_tracks import GREY, INTO, PICTURES, Sound, carry, tone

HEADER = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname, Fontsize, PrimaryColour, "
    "SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, "
    "BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding\nStyle: Default,Arial,16,&Hffffff,"
    "&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1\n\n[Events]\nFormat: Layer, Start, End, Style, Name, "
    "MarginL, MarginR, MarginV, Effect, Text\n\0"
)
LINES = [(Fraction(1, 10), Fraction(1, 10), "Grüezi"), (Fraction(3, 10), Fraction(1, 5), "zwei, drei")]
"""Begin and length in seconds, and text."""


def write_source(
    path: Path,
    sounds: list[Disposition] | None = None,
    subtitles: str | None = None,
    lines: list[tuple[Fraction, Fraction, str]] | None = None,
    seconds: float = 0.5,
    **metadata: str,
) -> Path:
    """A small video with mono sounds of these flags, subtitles that are forced, and metadata."""
    movflags = {"movflags": "use_metadata_tags"} if path.suffix == ".mov" else {}
    with av.open(str(path), "w", options=movflags) as output:
        output.metadata.update({key.replace("__", "."): text for key, text in metadata.items()})
        video = output.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
        tracks = [output.add_stream("aac", rate=48_000, layout="mono") for _ in sounds or []]
        for track, flags in zip(tracks, sounds or [], strict=True):
            track.disposition = flags
        text = output.add_stream(subtitles) if subtitles else None
        if isinstance(text, SubtitleStream):
            text.codec_context.subtitle_header = HEADER.encode()
            text.disposition, text.metadata["language"] = Disposition.forced, "eng"
        if path.suffix == ".mkv":
            output.add_attachment("Font.ttf", "application/x-truetype-font", b"a font")
        output.start_encoding()
        for index in range(round(25 * seconds)):
            picture = av.VideoFrame.from_ndarray(GREY, "rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            output.mux(video.encode(picture))
        output.mux(video.encode(None))
        for track in tracks:
            for piece in tone(Sound("aac", layout="mono", seconds=seconds)):
                output.mux(track.encode(piece))
            output.mux(track.encode(None))
        for number, (begin, length, line) in enumerate(LINES if lines is None else lines):
            if isinstance(text, SubtitleStream):
                said = SubtitleSet.create(f"{number},0,Default,,0,0,0,,{line}".encode(), 0, int(length * 1000))
                packet = text.codec_context.encode_subtitle(said)
                packet.pts = packet.dts = int(begin * 1000)
                packet.duration, packet.time_base, packet.stream = int(length * 1000), Fraction(1, 1000), text
                output.mux(packet)
    return path


def flags(path: Path) -> list[Disposition]:
    """Of each track of sound."""
    with av.open(str(path)) as file:
        return [sound.disposition for sound in file.streams.audio]


def subtitles(path: Path) -> list[tuple[float, float, str]]:
    """Begin, length and text of each line that is not empty."""
    with av.open(str(path)) as file:
        track = file.streams.subtitles[0]
        return [
            (float(packet.pts * packet.time_base), float(packet.duration * packet.time_base), line.dialogue.decode())
            for packet in file.demux(track)
            if packet.size
            for line in track.decode(packet)
        ]


def test_text_that_is_not_utf8_is_left_out(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in.avi", comment="hello", title="TITLE_OF_12B")
    written = source.read_bytes()
    assert b"TITLE_OF_12B" in written
    source.write_bytes(written.replace(b"TITLE_OF_12B", "テストの話".encode("shift_jis") + b"!!"))
    with VideoFile(str(source)) as opened:
        assert len(list(opened)) == PICTURES - 1
    assert "mpeg4" in describe(str(source), 64)[1].text
    carry(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as file:
        found = {key.lower(): text for key, text in file.metadata.items()}
    assert found["comment"] == "hello"
    assert "title" not in found


@pytest.mark.parametrize("suffix", INTO)
def test_flags(suffix: str, tmp_path: Path) -> None:
    """A commentary that comes first is not what is played."""
    source = write_source(tmp_path / "in.mkv", [Disposition.comment, Disposition.default], "subrip")
    carry(source, tmp_path / f"out{suffix}")
    comment, main = flags(tmp_path / f"out{suffix}")
    assert main == Disposition.default
    assert comment == (
        Disposition.comment if suffix in (".mp4", ".mkv") else Disposition(0)
    )  # Others have no such flag.
    with av.open(str(tmp_path / f"out{suffix}")) as file:
        assert file.streams.video[0].disposition & Disposition.default
        text = file.streams.subtitles[0]
        assert text.language == "eng"
        assert text.disposition & Disposition.forced or suffix == ".mov"


def test_the_default_is_not_the_commentary_where_none_is_flagged(tmp_path: Path) -> None:
    source = write_source(tmp_path / "in.mkv", [Disposition.comment, Disposition(0), Disposition(0)])
    carry(source, tmp_path / "out.mp4")
    assert flags(tmp_path / "out.mp4") == [Disposition.comment, Disposition.default, Disposition(0)]


@pytest.mark.parametrize("suffix", INTO)
def test_fonts(suffix: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "in.mkv")
    said = carry(source, tmp_path / f"out{suffix}")
    probed = next(line.text for line in describe(str(source), 64) if line.name == "attachment")
    assert probed == "Font.ttf; left out in .mp4 .mov .webm, copied in .mkv"
    with av.open(str(tmp_path / f"out{suffix}")) as file:
        fonts = [(font.name, font.mimetype, font.data) for font in file.streams.attachments]
    if suffix == ".mkv":
        assert fonts == [("Font.ttf", "application/x-truetype-font", b"a font")]
    else:
        assert not fonts
        assert said == "Font.ttf left out"


SUBTITLES = [
    ("in.mkv", "subrip", ("converted", "converted", "copied", "converted")),
    ("in.mkv", "ass", ("converted", "converted", "copied", "converted")),
    ("in.webm", "webvtt", ("converted", "converted", "copied", "copied")),
    ("in.mp4", "mov_text", ("copied", "copied", "converted", "converted")),
]


@pytest.mark.parametrize(("name", "codec", "actions"), SUBTITLES, ids=[codec for _, codec, _ in SUBTITLES])
def test_subtitles_in_every_container(name: str, codec: str, actions: tuple[str, ...], tmp_path: Path) -> None:
    """The text with its times; `probe` says the same."""
    source = write_source(tmp_path / name.replace(".webm", ".mkv"), subtitles=codec)
    probed = next(line.text for line in describe(str(source), 64) if line.name == "subtitle")
    expected = [
        (pytest.approx(begin, abs=0.002), pytest.approx(length, abs=0.002), line) for begin, length, line in LINES
    ]
    for suffix, action in zip(INTO, actions, strict=True):
        said = carry(source, tmp_path / f"out{suffix}")
        assert f"{codec} {action}" in said or (f"{codec} to" in said and action in said)
        assert suffix in next(part for part in probed.partition("; ")[2].split(", ") if part.startswith(action))
        assert [line for line in subtitles(tmp_path / f"out{suffix}") if line[2]] == expected


@pytest.mark.parametrize("text", ["テストの話", "Café à la crème"], ids=["Shift-JIS", "Windows-1252"])
@pytest.mark.parametrize(
    ("name", "codec", "into"),
    [("in.mkv", "subrip", ".mp4"), ("in.mkv", "ass", ".webm"), ("in.mp4", "mov_text", ".mkv")],
)
def test_lines_that_are_not_utf8_are_kept(name: str, codec: str, into: str, text: str, tmp_path: Path) -> None:
    """With a mark for what cannot be read; those beside them are as they were."""
    data = text.encode("shift_jis" if "の" in text else "cp1252")
    stand_in = "@" * len(data)
    lines = [(Fraction(n, 10), Fraction(1, 20), line) for n, line in enumerate(["before", f"{stand_in}!", "after"])]
    source = write_source(tmp_path / name, subtitles=codec, lines=lines)
    written = source.read_bytes()
    assert written.count(stand_in.encode()) == 1
    source.write_bytes(written.replace(stand_in.encode(), data))
    assert "converted" in carry(source, tmp_path / f"out{into}")
    found = [line for _, _, line in subtitles(tmp_path / f"out{into}") if line]
    assert found == ["before", data.decode(errors="replace") + "!", "after"]


def test_rare_subtitles_do_not_hold_back_what_a_killed_run_leaves(tmp_path: Path) -> None:
    lines = [(Fraction(0), Fraction(1), "one"), (Fraction(11), Fraction(1), "two")]
    source = write_source(tmp_path / "in.mkv", [Disposition.default], "subrip", lines, seconds=12)
    for suffix in INTO:
        sink = open_sink(str(tmp_path / f"out{suffix}"), VideoInfo(32, 32, Fraction(25), Fraction(1, 25), 300, source))
        assert isinstance(sink, FirstFrameSink)
        for index in range(100):
            sink.write(Frame(index, Fraction(index, 25), GREY))
        with av.open(str(tmp_path / f"out{suffix}.part")) as file:
            assert sum(packet.size > 0 for packet in file.demux(video=0)) >= 60
        sink.discard()


@pytest.mark.parametrize("suffix", INTO)
def test_sound_that_ends_early_does_not_either(suffix: str, tmp_path: Path) -> None:
    """Nor does the file suffer where the pictures come late out of their encoder."""
    source, out = write_source(tmp_path / "in.mkv", [Disposition.default], seconds=1), tmp_path / f"out{suffix}"
    info = VideoInfo(32, 32, Fraction(25), Fraction(1, 25), 200, source)
    with open_sink(str(out), info, output=OutputSettings(quality="high")) as sink:
        for index in range(200):
            sink.write(Frame(index, Fraction(index, 25), GREY))
        with av.open(f"{out}.part") as file:
            assert sum(packet.size > 0 for packet in file.demux(video=0)) >= 200 - 80
    with av.open(str(out)) as file:
        times = [frame.pts * frame.time_base for frame in file.decode(video=0)]
    assert times == pytest.approx([n / 25 for n in range(200)], abs=0.001)
    with av.open(str(out)) as file:
        heard = list(file.decode(audio=0))
    assert heard[0].pts * heard[0].time_base == pytest.approx(0, abs=0.03)
    assert sum(frame.samples for frame in heard) / 48_000 == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("suffix", INTO)
def test_place_and_make(suffix: str, tmp_path: Path) -> None:
    noted = {
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 16",
        "com.apple.quicktime.location.ISO6709": "+47.3769+008.5417+408.000/",
        "com.apple.quicktime.creationdate": "2024-05-01T12:00:00+0200",
    }
    source = write_source(tmp_path / "in.mov", **{key.replace(".", "__"): text for key, text in noted.items()})
    carry(source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as file:
        found = {key.lower(): text for key, text in file.metadata.items()}
    assert {key: found[key.lower()] for key in noted} == noted


@pytest.mark.parametrize("suffix", INTO)
def test_our_mark_is_not_inherited(suffix: str, tmp_path: Path) -> None:
    """A picture made of a stacked source would be read as half of one."""
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    info = VideoInfo(32, 32, Fraction(25), Fraction(1, 25), PICTURES)
    with open_sink(str(source), info, "foreground", OutputSettings(alpha="stacked")) as sink:
        for index in range(PICTURES):
            sink.write(Frame(index, Fraction(index, 25), np.dstack((GREY, GREY[..., :1]))))
    with av.open(str(source)) as file:
        assert is_stacked(file.metadata)
    with VideoFile(str(source)) as opened:
        assert next(iter(opened)).pixels.shape == (32, 32, 4)
    carry(source, out)
    with av.open(str(out)) as file:
        assert not is_stacked(file.metadata)
    assert STACKED_TAG.encode() not in out.read_bytes()
