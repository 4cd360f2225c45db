"""The end that a finished MP4 or MOV states: exact, with late beginnings, long clocks and longer sound."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import pytest

from streamseg.frames import Frame, VideoInfo
from streamseg.media.boxes import Box
from streamseg.sink import open_sink
from streamseg.sink.mp4 import Length
from tests.synthetic import picture
from tests.test_sink import write_source

TIME_BASE = Fraction(1, 90_000)
FRAME = Fraction(1, 25)
COUNTS = (8, 9, 10)
"""The first two end with pictures that are stored out of order across a fragment's end."""


def write(path: Path, times: list[Fraction], last: Fraction = FRAME, sound: Path | None = None) -> None:
    info = VideoInfo(48, 32, Fraction(25), TIME_BASE, len(times), sound)
    with open_sink(str(path), info) as sink:
        for index, time in enumerate(times):
            duration = last if index == len(times) - 1 else None
            sink.write(Frame(index, time, picture(index, 48, 32), duration=duration))


def stated(path: Path) -> tuple[Fraction, Fraction]:
    """How long the file and its pictures last, by their headers."""
    with path.open("rb") as file:
        movie = Box(file, 0, path.stat().st_size).first(b"moov")
        header, track = movie.first(b"mvhd"), movie.first(b"trak", b"tkhd")
        clock = header.number(header.by_version(12, 20), 4)
        of_file = header.number(header.by_version(16, 24), header.by_version(4, 8))
        of_track = track.number(track.by_version(20, 28), track.by_version(4, 8))
        return Fraction(of_file, clock), Fraction(of_track, clock)


def played(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(7, 5), Fraction(7000)], ids=["0", "1.4 s", "wide numbers"])
@pytest.mark.parametrize("count", COUNTS)
def test_the_last_frame_plays_as_long_as_it_should(suffix: str, start: Fraction, count: int, tmp_path: Path) -> None:
    times = [start + n * FRAME for n in range(count)]
    path = tmp_path / f"x{suffix}"
    write(path, times, last=Fraction(3, 2))
    assert played(path) == times
    assert stated(path) == (times[-1] + Fraction(3, 2), times[-1] + Fraction(3, 2))


@pytest.mark.parametrize("seconds", [0.3, 3.0], ids=["shorter", "longer"])
@pytest.mark.parametrize("count", COUNTS)
def test_sound_of_another_length(seconds: float, count: int, tmp_path: Path) -> None:
    source = write_source(tmp_path / "in.mp4", seconds, ("aac",))
    times = [n * FRAME for n in range(count)]
    write(tmp_path / "x.mp4", times, sound=source)
    assert played(tmp_path / "x.mp4") == times
    of_file, of_pictures = stated(tmp_path / "x.mp4")
    assert of_pictures == count * FRAME
    assert float(of_file) == pytest.approx(max(count * 0.04, seconds), abs=0.05)


@pytest.mark.parametrize(("version", "most"), [(0, 2**32 - 1), (1, 2**64 - 1)])
def test_an_end_beyond_what_a_box_can_say(version: int, most: int) -> None:
    """As of a file whose clock was damaged: it is the last one that it can."""
    length = Length(Box(BytesIO(bytes([version]) + bytes(19)), 0, 20), 8)
    length.put(2**70)
    assert length.ticks == most


def test_boxes_of_a_file_that_is_cut() -> None:
    """What has a whole header is listed with the end that it states."""
    short, long = b"\0\0\0\x0cfreeabcd", b"\0\0\0\x01mdat" + (20).to_bytes(8, "big") + b"wxyz"

    def listed(data: bytes) -> list[tuple[bytes, int, int]]:
        return [(kind, box.begin, box.end) for kind, box in Box(BytesIO(data), 0, len(data)).boxes()]

    whole = [(b"free", 8, 12), (b"mdat", 28, 32)]
    assert listed(short + long) == listed((short + long)[:-3]) == whole
    assert listed((short + long)[:-5]) == listed(short + b"\0\0\0") == listed(short + bytes(8)) == whole[:1]


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_frames_of_uneven_length_keep_their_times(suffix: str, tmp_path: Path) -> None:
    """29.97 and 30 frames a second in turns: frames last as long as they are shown, and are stored in another order."""
    sound = write_source(tmp_path / "sound.mp4", 4.0, ("aac",))
    times = [(n * 3000 + 3 * (n // 2)) * TIME_BASE for n in range(120)]
    info = VideoInfo(48, 32, Fraction(30), TIME_BASE, len(times), sound)
    with open_sink(str(tmp_path / f"x{suffix}"), info) as sink:
        for index, (time, following) in enumerate(pairwise([*times, times[-1] + Fraction(1, 30)])):
            sink.write(Frame(index, time, picture(index // 2, 48, 32), duration=following - time))
    assert played(tmp_path / f"x{suffix}") == times
