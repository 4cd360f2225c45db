"""A killed run leaves what it completed, and a run that goes on from there ends with the same frames."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from streamseg import convert
from streamseg.batch.matting import open_to_go_on
from streamseg.decode import open_source
from streamseg.errors import InputError, OutputError
from streamseg.frames import Frame, Kind
from streamseg.pipeline import run
from streamseg.settings import InferSettings, OutputSettings, Settings, load_settings
from streamseg.sink import MadeOtherwise, Sink, open_sink
from streamseg.sink.made_from import made_from
from streamseg.sink.record import record_of
from streamseg.sink.resume import BEGINNING, left_over, part_of, unfinished
from streamseg.yuv import RgbImage
from tests import writer
from tests.synthetic import DiscEngine, picture, write_clip
from tests.test_cli import expect_one_line_error, streamseg
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


QUICK = ("--input-size", 64, "--stride", 8)
GREEN = load_settings(overrides={"bg": "green", "input_size": 64, "stride": 8})


@dataclass
class Interrupted:
    """A clip, and 150 of its 200 frames in the unfinished output, as blue as no run would make them."""

    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "in" / "x.mp4"

    @property
    def out(self) -> Path:
        return self.folder / "out" / "x.mp4"

    def names(self) -> list[str]:
        return sorted(path.name for path in self.out.parent.iterdir())

    def corners(self) -> list[str]:
        """The colour of each frame's corner, without those that follow of the same."""
        names = {0: "red", 1: "green", 2: "blue"}
        return [key for key, _ in groupby(names[int(frame.pixels[4, 4].argmax())] for frame in frames_of(self.out))]

    def background(self) -> Path:
        """A picture that can change."""
        path = self.folder / "wall.png"
        Image.new("RGB", (8, 8), "green").save(path)
        return path


@pytest.fixture
def interrupted(tmp_path: Path) -> Interrupted:
    made = Interrupted(tmp_path)
    for path in (made.source, made.out):
        path.parent.mkdir()
    write_clip(made.source, 200, 96, 64)
    leave(made, GREEN)
    return made


def leave(made: Interrupted, settings: Settings) -> None:
    """What an interrupted run with these settings leaves."""
    blue = np.full((64, 96, 3), (0, 0, 255), np.uint8)
    with open_source(str(made.source)) as opened:
        frames = [replace(frame, image=RgbImage(blue)) for frame in islice(opened, 150)]
        given = made_from(str(made.source), settings)
        with suppress(InterruptedError), open_sink(str(made.out), opened.info, made_from=given) as sink:
            for frame in frames:
                sink.write(frame)
            raise InterruptedError
    assert made.names() == ["x.mp4.part", "x.mp4.part.json"]


CHANGES = {
    "the background's colour": ("--bg red", "bg green, not red"),
    "the look": ("--bg green --feather 3", "feather 0, not 3"),
    "the network's input": ("--bg green --input-size 96", "input-size 64, not 96"),
    "the part of the source": ("--bg green --start 1", "start 0, not 1"),
    "nothing": ("--bg green", ""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_resume_refuses_what_is_made_from_something_else(
    change: str, interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_, **__: DiscEngine())
    flags, difference = CHANGES[change]
    before = part_of(interrupted.out).read_bytes()
    command = ("video", interrupted.source, "-o", interrupted.out, *QUICK, *flags.split())
    result = streamseg(*command, "--resume")
    if not difference:
        assert result.exit_code == 0, result.output
        assert interrupted.names() == ["x.mp4"]
        assert interrupted.corners() == ["blue", "green"]
        return
    expect_one_line_error(
        result, f"x.mp4.part: it was made with {difference}; give the same, or leave out --resume, to start over"
    )
    assert interrupted.names() == ["x.mp4.part", "x.mp4.part.json"]
    assert part_of(interrupted.out).read_bytes() == before
    assert streamseg(*command).exit_code == 0
    assert interrupted.names() == ["x.mp4"]


def test_resume_refuses_files_that_have_changed(interrupted: Interrupted) -> None:
    wall = interrupted.background()
    settings = load_settings(overrides={"bg": str(wall), "engine": "disc"})

    def resumed(background: Any) -> None:
        convert(interrupted.source, interrupted.out, background, engine=DiscEngine(), resume=True)

    leave(interrupted, settings)
    os.utime(interrupted.source, ns=(0, 0))
    with pytest.raises(OutputError, match=r"made with source modified \d+, not 0"):
        resumed(wall)
    leave(interrupted, settings)
    os.utime(wall, ns=(0, 0))
    with pytest.raises(OutputError, match=r"made with background modified \d+, not 0"):
        resumed(wall)
    for own, name in ((np.zeros((8, 8, 3), np.uint8), "image"), (lambda rgb: rgb, "function")):
        with pytest.raises(OutputError, match=rf"made with bg .*wall\.png, not {name}"):
            resumed(own)


def test_a_background_of_ones_own_is_known_again(interrupted: Interrupted) -> None:
    green, red = (np.full((64, 96, 3), colour, np.uint8) for colour in ((0, 255, 0), (255, 0, 0)))

    class Stops(DiscEngine):
        def alpha(self, frames: Tensor) -> Tensor:
            if self.calls == 160:
                raise InterruptedError
            return super().alpha(frames)

    with pytest.raises(InterruptedError):
        convert(interrupted.source, interrupted.out, green, engine=Stops())
    with pytest.raises(OutputError, match="made with bg image"):
        convert(interrupted.source, interrupted.out, red, engine=DiscEngine(), resume=True)
    engine = DiscEngine()
    convert(interrupted.source, interrupted.out, green.copy(), engine=engine, resume=True)
    assert engine.calls < 200
    assert interrupted.corners() == ["green"]


@pytest.mark.parametrize("left", [".part", ".part.old"])
def test_resume_refuses_what_has_no_record(left: str, interrupted: Interrupted) -> None:
    """As older versions left it: who knows what it is made with?"""
    part_of(interrupted.out).rename(interrupted.out.with_name(f"x.mp4{left}"))
    record_of(part_of(interrupted.out)).unlink()
    with pytest.raises(OutputError, match=r"x\.mp4\.part: there is no record of the settings"):
        convert(interrupted.source, interrupted.out, "green", engine=DiscEngine(), resume=True)
    assert interrupted.names() == [f"x.mp4{left}"]


@pytest.mark.parametrize("flags", ["--bg green", "--bg red", "--bg red --feather 3"])
def test_a_batch_starts_over_what_is_made_from_something_else(flags: str, interrupted: Interrupted) -> None:
    folders = interrupted.source.parent, "-o", interrupted.out.parent
    result = streamseg("batch", *folders, *QUICK, *flags.split())
    assert result.exit_code == 0, result.output
    assert interrupted.names() == ["report.json", "x.mp4"]
    assert len(frames_of(interrupted.out)) == 200
    assert interrupted.corners() == (["blue", "green"] if flags == "--bg green" else ["red"])


def test_a_file_on_a_cluster_starts_over_too(interrupted: Interrupted) -> None:
    with open_source(str(interrupted.source)) as source:
        for settings, goes_on in ((GREEN, True), (load_settings(overrides={"bg": "red"}), False)):
            sink = open_to_go_on(str(interrupted.source), interrupted.out, source.info, settings)
            assert (sink.resume_at > 0) == goes_on
            sink.__exit__(InterruptedError, None, None)


@pytest.mark.parametrize("left", ["x.mp4", "x.alpha.mp4"])
def test_both_files_are_made_from_the_same(left: str, tmp_path: Path) -> None:
    output = OutputSettings(alpha="sidecar")
    for name in ("x.mp4", "x.alpha.mp4"):
        part_of(tmp_path / name).write_bytes(b"left")
        record_of(part_of(tmp_path / name)).write_text(json.dumps({"bg": "red" if name == left else "green"}))
    with pytest.raises(MadeOtherwise, match=rf"{left}\.part: it was made with bg red, not green"):
        open_sink(str(tmp_path / "x.mp4"), INFO, "foreground", output, True, made_from={"bg": "green"})


def test_a_new_file_takes_the_place_of_all_that_was_left(interrupted: Interrupted) -> None:
    """Or else a later run would go on with the older one."""
    part, aside = unfinished(interrupted.out)
    part.rename(aside)
    leave(interrupted, GREEN)
    assert not aside.exists()
    with suppress(InterruptedError), open_sink(str(interrupted.out), INFO) as sink:
        for index in range(150):
            sink.write(writer.frame(index, "composite"))
        raise InterruptedError
    assert interrupted.names() == ["x.mp4.part"]


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
