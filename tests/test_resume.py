"""A killed run leaves what it completed, and a run that goes on from there ends with the same frames."""

from __future__ import annotations

import random
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from streamseg.decode import open_source
from streamseg.errors import InputError, OutputError
from streamseg.frames import Frame, Kind
from streamseg.pipeline import run
from streamseg.settings import InferSettings, OutputSettings, Settings
from streamseg.sink import Sink, open_sink
from streamseg.sink.resume import BEGINNING, left_over, part_of
from tests import writer
from tests.synthetic import DiscEngine, picture
from tests.test_fidelity import packets, record, yuv
from tests.writer import COUNT, INFO

HELD_BACK = 40
"""Frames that encoder and container may hold back."""


@dataclass(frozen=True)
class Format:
    """What is written, and how far its pictures may be from what was meant, in levels of 255."""

    name: str
    kind: Kind
    error: float


FORMATS = [
    Format("x.mp4", "composite", 4),
    Format("x.mp4", "foreground", 4),
    Format("x.mov", "foreground", 2),
    Format("x.webm", "foreground", 4),
    Format("x.mkv", "foreground", 0),
    Format("x.mkv", "composite", 4),
]


def killed(path: Path, form: Format, after: int, *flags: str) -> bool:
    """Runs the writer and kills it once it has taken `after` frames; whether it was still at work."""
    command = [sys.executable, "-m", "tests.writer", str(path), form.kind, *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.strip() == str(after):
                process.kill()
        return process.wait() != 0


def frames_of(path: Path) -> list[Frame]:
    try:
        with open_source(str(path)) as source:
            return list(source)
    except InputError:
        return []


def check_same(frames: list[Frame], form: Format) -> None:
    """Every frame at its time; the pictures as they were meant, as near as the format is at all."""
    assert len(frames) == COUNT
    for found in frames:
        meant = writer.frame(found.index, form.kind)
        assert abs(found.pts - meant.pts) <= Fraction(1, 1000)
        assert np.abs(found.pixels.astype(int) - meant.pixels).mean() <= form.error


def check_left(folder: Path, part: Path, form: Format, after: int) -> None:
    """A file that plays up to the last frames, or nothing if these are all that there were."""
    if not part.exists():
        assert after <= HELD_BACK
        assert [file.suffix for file in folder.iterdir()] == [".lock"]
        return
    with open_source(str(part)) as source:
        playable = list(source)
    assert len(playable) >= max(1, after - HELD_BACK)
    for found in playable[:-1]:
        assert abs(found.pts - writer.frame(found.index, form.kind).pts) <= Fraction(1, 1000)


@pytest.mark.parametrize("attempt", range(20))
def test_killed_at_a_random_moment(attempt: int, tmp_path: Path) -> None:
    form = FORMATS[attempt % len(FORMATS)]
    path, after = tmp_path / form.name, random.Random(attempt).randrange(COUNT + 5)
    was_killed = killed(path, form, after)
    if was_killed and not path.exists():
        check_left(tmp_path, part_of(path), form, after)
    else:
        assert not part_of(path).exists()
    writer.write(open_sink(str(path), INFO, form.kind, resume=True), form.kind)
    check_same(frames_of(path), form)
    assert [file.name for file in tmp_path.iterdir()] == [form.name]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.kind} {form.name}")
@pytest.mark.parametrize("after", [0, 1, 9])
def test_killed_at_once(after: int, form: Format, tmp_path: Path) -> None:
    path = tmp_path / form.name
    assert killed(path, form, after)
    check_left(tmp_path, part_of(path), form, after)
    assert killed(path, form, 200)
    assert len(frames_of(part_of(path))) >= 200 - HELD_BACK


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: f"{form.kind} {form.name}")
def test_the_finished_groups_are_taken_over(form: Format, tmp_path: Path) -> None:
    """Not made again, and the first frame of the next group is the next one in the file."""
    path = tmp_path / form.name
    assert killed(path, form, 200)
    with open_sink(str(path), INFO, form.kind, resume=True) as sink:
        assert sink.resume_at >= writer.frame(60, form.kind).pts - Fraction(1, 1000)
        for index in range(COUNT):
            sink.write(writer.frame(index, form.kind))
    check_same(frames_of(path), form)


def test_two_files_go_on_together(tmp_path: Path) -> None:
    output = OutputSettings(alpha="sidecar")
    sink = open_sink(str(tmp_path / "x.mp4"), INFO, "foreground", output)
    for index in range(200):
        sink.write(writer.frame(index, "foreground"))
    # As killed: neither completed nor discarded; what was flushed is there.
    assert sink.claim
    sink.claim.release()
    again = open_sink(str(tmp_path / "x.mp4"), INFO, "foreground", output, resume=True)
    assert again.resume_at > 0
    writer.write(again, "foreground")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.alpha.mp4", "x.mp4"]
    for name in ("x.mp4", "x.alpha.mp4"):
        assert [frame.pts for frame in frames_of(tmp_path / name)] == [
            writer.frame(index, "foreground").pts for index in range(COUNT)
        ]
    sink.__exit__(ValueError, None, None)


def test_a_run_that_is_killed_again_while_it_goes_on(tmp_path: Path) -> None:
    form = FORMATS[4]
    path = tmp_path / form.name
    assert killed(path, form, 200)
    assert killed(path, form, 210, "--resume")
    sink = open_sink(str(path), INFO, form.kind, resume=True)
    assert sink.resume_at > 4
    writer.write(sink, form.kind)
    check_same(frames_of(path), form)


def test_nothing_was_left(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "x.mp4"), INFO, resume=True)
    assert sink.resume_at == BEGINNING
    sink.__exit__(None, None, None)


@pytest.mark.parametrize("name", ["x_%05d.png", "folder/"])
def test_images_are_not_resumed(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be resumed"):
        open_sink(f"{tmp_path}/{name}", INFO, resume=True)


def test_what_was_left_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.mkv"
    assert killed(path, FORMATS[4], 200)
    with pytest.raises(OutputError, match=r"x\.mkv\.part\.old is ffv1 of 96x64 px, not h264 of 96x64 px"):
        open_sink(str(path), INFO, "composite", resume=True)
    assert left_over(path).exists()


@pytest.mark.parametrize("content", [b"", b"nothing"])
def test_what_was_left_cannot_be_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    part_of(path).write_bytes(content)
    sink = open_sink(str(path), INFO, resume=True)
    assert sink.resume_at == BEGINNING
    writer.write(sink, "composite")
    assert len(frames_of(path)) == COUNT


@pytest.mark.parametrize("stride", [1, 3])
def test_the_whole_line_goes_on_without_a_seam(stride: int, tmp_path: Path) -> None:
    """Decoder, filter, sound and pictures, to the last level of alpha: the filter is warmed up before the seam."""
    count = 240
    pictures = [yuv(picture(n // 2, 96, 64)) for n in range(count)]
    source = record(tmp_path / "in.mp4", pictures, [n * 3003 for n in range(count)], sound_seconds=8, offset=0.1)
    line(source, tmp_path / "whole.mkv", stride)
    with pytest.raises(InterruptedError):
        line(source, tmp_path / "x.mkv", stride, stop_after=190)
    assert not (tmp_path / "x.mkv").exists()
    again = line(source, tmp_path / "x.mkv", stride, resume=True)
    assert 4 < again.resume_at < 6.4
    whole, resumed = frames_of(tmp_path / "whole.mkv"), frames_of(tmp_path / "x.mkv")
    assert [frame.pts for frame in resumed] == [frame.pts for frame in whole]
    for found, meant in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(found.pixels, meant.pixels)
    assert packets(tmp_path / "x.mkv") == packets(tmp_path / "whole.mkv")


class Killed:
    """A sink that is left as a killed process leaves it."""

    def __init__(self, sink: Sink, part: Path, after: int) -> None:
        self._sink, self._part, self._left = sink, part, after
        self.resume_at, self.summary = sink.resume_at, ""

    def write(self, frame: Frame) -> None:
        self._left -= 1
        if not self._left:
            raise InterruptedError
        self._sink.write(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        left = self._part.read_bytes()
        self._sink.__exit__(InterruptedError, None, None)  # gives back what a process gives back at its end
        self._part.write_bytes(left)


def line(source: Path, out: Path, stride: int, resume: bool = False, stop_after: int = 0) -> Sink:
    """The whole line with the engine that knows the disc and the filter at its defaults."""
    with open_source(str(source)) as opened:
        sink = open_sink(str(out), opened.info, "foreground", resume=resume)
        with Killed(sink, part_of(out), stop_after) if stop_after else sink as target:
            run(opened, DiscEngine(), target, Settings(infer=InferSettings(stride=stride)))
    return sink
