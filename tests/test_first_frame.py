"""The first frame of a video file decides what it holds; what does not fit is refused there and then."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import get_args

import pytest

import streamseg
from streamseg.decode import open_source
from streamseg.errors import OutputError
from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.settings import OutputSettings, load_settings
from streamseg.sink import open_sink
from streamseg.yuv import RgbImage
from tests.synthetic import DiscEngine, ListSource, frames
from tests.writer import frame

INFO = VideoInfo(96, 64, Fraction(30000, 1001), Fraction(1, 30000))
KINDS: tuple[Kind, ...] = get_args(Kind)
SIDECAR = OutputSettings(alpha="sidecar")


def written(path: Path) -> list[Frame]:
    with open_source(str(path)) as source:
        return list(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_decides(kind: Kind, suffix: str, tmp_path: Path) -> None:
    with open_sink(str(tmp_path / f"x{suffix}"), INFO) as sink:
        for index in range(3):
            sink.write(frame(index, kind))
    found = written(tmp_path / f"x{suffix}")
    assert [one.kind for one in found] == ["foreground" if kind == "foreground" else "composite"] * 3


def test_it_decides_where_alpha_goes_into_a_second_file(tmp_path: Path) -> None:
    for folder, kind in (("two", "foreground"), ("one", "composite")):
        (tmp_path / folder).mkdir()
        with open_sink(str(tmp_path / folder / "x.mp4"), INFO, output=SIDECAR) as sink:
            sink.write(frame(0, kind))
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["x.alpha.mp4", "x.mp4"]
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["x.mp4"]


def test_the_settings_decide_and_not_the_sink(tmp_path: Path) -> None:
    """Without a background the pipeline makes foregrounds, and they are kept."""
    with open_sink(str(tmp_path / "x.mkv"), ListSource(frames(4)).info) as sink:
        streamseg.run(ListSource(frames(4)), DiscEngine(), sink, load_settings())
    assert [one.kind for one in written(tmp_path / "x.mkv")] == ["foreground"] * 4


@pytest.mark.parametrize("output", [OutputSettings(), OutputSettings(alpha="stacked"), SIDECAR], ids=lambda o: o.alpha)
@pytest.mark.parametrize(("said", "came"), list(itertools.permutations(KINDS, 2)))
def test_what_does_not_fit_is_refused_at_once(said: Kind, came: Kind, output: OutputSettings, tmp_path: Path) -> None:
    message = rf"x\.mp4: frame 0 is a {came} and the file holds {said}s; open the sink with kind=.{came}., or without"
    sink = open_sink(str(tmp_path / "x.mp4"), INFO, said, output)
    with pytest.raises(OutputError, match=message), sink:
        sink.write(frame(0, came))
    assert list(tmp_path.iterdir()) == []


def test_frames_that_change_midway_are_refused_and_the_others_kept(tmp_path: Path) -> None:
    def write_both_kinds() -> None:
        with open_sink(str(tmp_path / "x.mkv"), INFO) as sink:
            for index in range(30):
                sink.write(frame(index, "foreground"))
            sink.write(frame(30, "composite"))

    with pytest.raises(OutputError, match="frame 30 is a composite and the file holds foregrounds"):
        write_both_kinds()
    assert [path.name for path in tmp_path.iterdir()] == ["x.mkv.part"]
    assert len(written(tmp_path / "x.mkv.part")) == 30


@pytest.mark.parametrize("output", [OutputSettings(), SIDECAR], ids=lambda o: o.alpha)
@pytest.mark.parametrize("kind", [None, "foreground"])
def test_it_goes_on_without_being_told_again(kind: Kind | None, output: OutputSettings, tmp_path: Path) -> None:
    def write(count: int, resume: bool, error: BaseException | None = None) -> Fraction:
        with open_sink(str(tmp_path / "x.mp4"), INFO, kind, output, resume) as sink:
            for index in range(count):
                sink.write(frame(index, "foreground"))
            if error:
                raise error
        return sink.resume_at

    with pytest.raises(ValueError, match="elsewhere"):
        write(130, False, ValueError("elsewhere"))
    assert write(140, True) > 1
    assert [one.pts for one in written(tmp_path / "x.mp4")] == [frame(n, "foreground").pts for n in range(140)]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("kind", ["composite", "foreground"])
def test_frames_of_two_sizes_are_refused(kind: Kind, suffix: str, tmp_path: Path) -> None:
    """FFmpeg would scale them unasked, and the check of alpha would take that for a fault."""
    small = replace(frame(2, kind), image=RgbImage(frame(2, kind).pixels[:48, :64]))
    sink = open_sink(str(tmp_path / f"x{suffix}"), INFO)
    sink.write(frame(0, kind))
    sink.write(frame(1, kind))
    with pytest.raises(OutputError, match=r"frame 2 is 64x48 px and the file 96x64 px; frames of two sizes do"), sink:
        sink.write(small)
    assert not (tmp_path / f"x{suffix}").exists()
