"""Damaged files: each packet that does not decode costs its own pictures, and one line says which."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.packet import Packet
from typer.testing import CliRunner

from streamseg.cli import app as cli
from streamseg.decode import TimeRange, open_source
from streamseg.decode.damage import Damage
from streamseg.decode.reading import packets_of
from streamseg.errors import InputError
from streamseg.probe import describe
from tests.synthetic import DiscEngine, ordinary_scheduling, picture, write_clip

COUNT, RATE = 48, Fraction(24)
CODECS = {
    "h264.mp4": ("libx264", {"g": "12", "preset": "veryfast"}, "yuv420p"),
    "hevc.mp4": ("libx265", {"preset": "ultrafast", "x265-params": "keyint=12:bframes=2:log-level=error"}, "yuv420p"),
    "hevc.mkv": (
        "libx265",
        {"preset": "ultrafast", "x265-params": "keyint=12:bframes=2:open-gop=1:log-level=error"},
        "yuv420p",
    ),
    "vp8.webm": ("libvpx", {"g": "12", "deadline": "realtime", "cpu-used": "8"}, "yuv420p"),
    "vp9.webm": ("libvpx-vp9", {"g": "12", "deadline": "realtime", "cpu-used": "8"}, "yuv420p"),
    "av1.mkv": ("libsvtav1", {"g": "12", "preset": "12", "svtav1-params": "pred-struct=1"}, "yuv420p"),
    "mjpeg.avi": ("mjpeg", {}, "yuvj420p"),
    "prores.mov": ("prores_ks", {}, "yuv422p10le"),
    "h264.ts": ("libx264", {"g": "12", "preset": "veryfast"}, "yuv420p"),
    "mpeg2.ts": ("mpeg2video", {"g": "12", "bf": "2"}, "yuv420p"),
}
IN_FILES = [name for name in CODECS if not name.endswith(".ts")]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each, 48 pictures at 24 a second."""
    folder = tmp_path_factory.mktemp("clips")
    for name, (codec, options, layout) in CODECS.items():
        with ordinary_scheduling(), av.open(str(folder / name), "w") as output:
            stream = output.add_stream(codec, rate=RATE, options=options)
            stream.width, stream.height, stream.pix_fmt = 160, 96, layout
            for index in range(COUNT):
                rgb = av.VideoFrame.from_ndarray(picture(index, 160, 96), "rgb24")
                output.mux(stream.encode(rgb.reformat(format=layout)))
            output.mux(stream.encode(None))
    return folder


def packets(path: Path) -> list[Packet]:
    with av.open(str(path)) as file:
        return [packet for packet in file.demux(file.streams.video[0]) if packet.size]


def destroyed(path: Path, number: int, to: Path, share: float = 1) -> Path:
    """A copy in which the end of one packet is noise."""
    data, found = bytearray(path.read_bytes()), bytes(packets(path)[number])
    start = data.index(found) + round(len(found) * (1 - share))
    end = data.index(found) + len(found)
    data[start:end] = random.Random(1).randbytes(end - start)
    (to / path.name).write_bytes(data)
    return to / path.name


def without_packets(path: Path, lost: Collection[int], to: Path) -> Path:
    """A transport stream whose packets of 188 bytes did not all arrive."""
    data = path.read_bytes()
    kept = [data[at : at + 188] for at in range(0, len(data), 188) if at // 188 not in lost]
    (to / path.name).write_bytes(b"".join(kept))
    return to / path.name


def read(path: Path) -> tuple[list[Fraction], str | None]:
    with open_source(str(path)) as source:
        times = [frame.pts for frame in source]
    return times, source.decode_error


@pytest.mark.parametrize("name", CODECS)
def test_whole_files_are_not_called_damaged(name: str, clips: Path) -> None:
    times, damage = read(clips / name)
    assert (len(times), damage) == (COUNT, None)


@pytest.mark.parametrize("number", [0, 17, COUNT - 1])
@pytest.mark.parametrize("name", IN_FILES)
def test_what_decodes_is_there_and_the_rest_is_told(name: str, number: int, clips: Path, tmp_path: Path) -> None:
    whole, _ = read(clips / name)
    path = destroyed(clips / name, number, tmp_path)
    times, damage = read(path)
    assert COUNT / 3 < len(times) < COUNT
    assert set(times) < set(whole) and times == sorted(times)
    missing = COUNT - len(times)
    assert damage is not None and "\n" not in damage
    assert f"{missing} frame{' is' if missing == 1 else 's are'} missing (at " in damage
    first = min(set(whole) - set(times))
    assert f"at {float(first):.2f}" in damage


@pytest.mark.parametrize("name", ["vp8.webm", "vp9.webm", "mjpeg.avi", "prores.mov"])
def test_one_packet_costs_one_frame(name: str, clips: Path, tmp_path: Path) -> None:
    times, damage = read(destroyed(clips / name, 17, tmp_path))
    assert len(times) == COUNT - 1
    assert damage is not None and damage.endswith("is damaged: 1 frame is missing (at 0.71 s)")


@pytest.mark.parametrize("name", ["prores.mov", "h264.mp4"])
def test_frames_that_the_decoder_makes_up_are_told(name: str, clips: Path, tmp_path: Path) -> None:
    times, damage = read(destroyed(clips / name, 12, tmp_path, 0.5))
    assert len(times) == COUNT
    assert damage is not None and damage.endswith("is damaged: 1 frame is wrong (at 0.50 s)")


def test_several_places(clips: Path, tmp_path: Path) -> None:
    path = clips / "prores.mov"
    for number in (2, 10, 11, 20, 30, 40):
        path = destroyed(path, number, tmp_path)
    times, damage = read(path)
    assert len(times) == COUNT - 6
    assert damage is not None
    assert damage.endswith("6 frames are missing (at 0.08 s, 0.42 to 0.46 s, 0.83 s, 2 more places)")


@pytest.mark.parametrize(("start", "end", "told"), [("1", None, False), (None, "0.5", False), ("0.5", "1", True)])
def test_damage_outside_of_the_stretch_is_not_told(
    start: str | None, end: str | None, told: bool, clips: Path, tmp_path: Path
) -> None:
    path = destroyed(clips / "prores.mov", 17, tmp_path)
    with open_source(str(path), TimeRange.of(start, end)) as source:
        assert list(source)
    assert bool(source.decode_error) == told


@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.ts"])
@pytest.mark.parametrize("share", [8, 3])
def test_a_broadcast_that_begins_amid_a_group_is_whole(name: str, share: int, clips: Path, tmp_path: Path) -> None:
    count = (clips / name).stat().st_size // 188
    times, damage = read(without_packets(clips / name, range(count // share), tmp_path))
    assert damage is None
    assert 20 < len(times) < COUNT


@pytest.mark.parametrize("name", ["h264.ts", "mpeg2.ts"])
def test_packets_lost_on_the_way_are_told(name: str, clips: Path, tmp_path: Path) -> None:
    pictures = [n for n, head in enumerate(heads(clips / name)) if head == 0x100]
    middle = len(pictures) // 2
    path = without_packets(clips / name, pictures[middle : middle + 5], tmp_path)
    times, damage = read(path)
    assert damage is not None
    assert f"{COUNT - len(times)} frames are missing" in damage
    assert times == sorted(set(times))


def heads(path: Path) -> list[int]:
    """The packet identifiers of a transport stream; ISO/IEC 13818-1, 2.4.3.2."""
    data = path.read_bytes()
    return [(data[at + 1] & 31) << 8 | data[at + 2] for at in range(0, len(data), 188)]


class TestFields:
    """Two packets for a picture, as interlaced broadcasts send them."""

    @staticmethod
    def sent(lost: Collection[int] = (), error: bool = False) -> str | None:
        """What is told of 50 pictures in 100 packets of which some come to nothing."""
        damage = Damage(Fraction(1, 1000), Fraction(50), may_begin_amid=True)
        for field in range(100):
            packet = Packet(b"field")
            packet.pts, packet.time_base, packet.is_keyframe = 20 * field, Fraction(1, 1000), field == 0
            damage.note_packet(packet)
            if field in lost and error:
                damage.note_error()
            if field % 2 and not {field - 1, field} & set(lost):
                picture = av.VideoFrame(16, 16)
                picture.pts = 20 * (field - 1)
                damage.note_frame(picture)
                damage.note_presented(picture.pts)
        damage.note_end()
        return damage.describe(Fraction(0), None, None)

    def test_a_second_field_is_no_missing_frame(self) -> None:
        assert self.sent() is None

    @pytest.mark.parametrize("error", [False, True])
    def test_a_lost_field_costs_one_frame(self, error: bool) -> None:
        told = self.sent({30}, error)
        assert told is not None and told.startswith("1 frame is missing (at 0.5")

    def test_several(self) -> None:
        told = self.sent({30, 50, 52, 98})
        assert told is not None and told.startswith("4 frames are missing (at 0.5")


def test_nothing_that_decodes(clips: Path, tmp_path: Path) -> None:
    path = clips / "prores.mov"
    for number in range(COUNT):
        path = destroyed(path, number, tmp_path)
    with pytest.raises(InputError, match=r"is damaged: 48 frames are missing \(at 0.00 to 1.96 s\)"):
        open_source(str(path))


def test_probe_describes_what_decodes(clips: Path, tmp_path: Path) -> None:
    found = dict(describe(str(destroyed(clips / "prores.mov", 0, tmp_path)), 64))
    assert found["video"].startswith("prores, 160x96 px")


class TestCommands:
    @pytest.fixture(autouse=True)
    def disc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_: DiscEngine())

    def test_written_with_the_sound_and_exit_code_3(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", COUNT, rate=RATE)
        (tmp_path / "damaged").mkdir()
        path = destroyed(clip.path, 17, tmp_path / "damaged")
        result = CliRunner().invoke(cli.app, ["video", str(path), "-o", str(tmp_path / "out.mp4"), "--bg", "green"])
        assert result.exit_code == 3
        (line,) = result.stderr.strip().splitlines()
        assert line.startswith(f"warning: {path} is damaged: 1 frame is missing (at 0.71 s); ")
        with av.open(str(tmp_path / "out.mp4")) as file, av.open(str(clip.path)) as source:
            times = [frame.pts * frame.time_base for frame in file.decode(video=0)]  # type: ignore[operator]
            assert times == [n / RATE for n in range(COUNT) if n != 17]
            file.seek(0)
            assert [bytes(one) for one in file.demux(audio=0)] == [bytes(one) for one in source.demux(audio=0)]

    def test_a_batch_counts_it_apart(self, clips: Path, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        destroyed(clips / "prores.mov", 17, tmp_path / "in")
        command = ["batch", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--bg", "green", "--input-size", "64"]
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == 3, result.output
        assert "1/1  damaged" in result.output
        assert (tmp_path / "out" / "prores.mp4").exists()

    @pytest.mark.parametrize("command", ["video", "batch"])
    def test_the_exit_code_is_documented(self, command: str) -> None:
        help_text = " ".join(CliRunner().invoke(cli.app, [command, "--help"]).output.split())
        assert "3: " in help_text and "damaged" in help_text


@pytest.mark.parametrize("error", [av.InvalidDataError, av.BlockingIOError])
def test_reading_goes_on_after_an_error_of_the_demuxer(error: type[av.FFmpegError]) -> None:
    """A transport stream with a gap asks to be read again."""

    errors = [error(1, "once"), error(1, "and again")]

    class Container:
        def demux(self, streams: list[object]) -> Iterator[Packet]:
            if errors:
                raise errors.pop()
            yield Packet(b"packet")

    assert [bytes(packet) for packet in packets_of(Container(), [None])] == [b"packet"]  # type: ignore[arg-type, list-item]
