"""Segments that are matted apart: their mattes are those of one run, wherever the cuts fall."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import pytest

from streamseg.batch.cuts import WHOLE, segments_of
from streamseg.batch.folder import Finished
from streamseg.batch.tasks import Plan, PlanTask, SegmentTask, Task, WholeTask
from streamseg.batch.work import run_task
from streamseg.decode import TimeRange, open_source
from streamseg.image import Pixels
from streamseg.settings import SmoothSettings
from streamseg.sink.images import write_image
from streamseg.smooth.filters import settling_seconds
from tests.crews import (
    RATE,
    OneByOne,
    blobs,
    done,
    frames_of,
    largest_difference,
    register_engines,
    settings_of,
    single_run,
    work_on,
    write_levels,
)
from tests.synthetic import picture
from tests.test_fidelity import record, yuv

COUNT = 150


@pytest.fixture(scope="module", autouse=True)
def engines() -> None:
    register_engines()


def wandering(count: int = COUNT) -> list[Pixels]:
    """A body whose alpha flickers, and which jumps to another place and size in a scene of another brightness."""
    chance = random.Random(1)
    pictures = []
    for index in range(count):
        scene = index // 55
        made = blobs((10 + index // 4 + 20 * (scene % 2), 12 + 5 * scene, 30, chance.uniform(0.5, 1)))
        made[..., 1] = 200 * (scene % 2)
        pictures.append(made)
    return pictures


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_levels(tmp_path_factory.mktemp("segments") / "in.mkv", wandering())


SMOOTHING = {
    "motion": {},
    "one-euro": {"smooth": "one-euro"},
    "slow": {"smooth": "ema", "ema_seconds": 0.3},
    "none": {"smooth": "none", "gate": False},
    "keyframes": {"stride": 7},
    "keyframes-one-euro": {"stride": 4, "smooth": "one-euro", "batch_size": 3},
}


@pytest.mark.parametrize("name", SMOOTHING)
def test_mattes_are_those_of_one_run(name: str, clip: Path, tmp_path: Path) -> None:
    settings = settings_of("level", matte_only=True, **SMOOTHING[name])
    single = single_run(clip, f"{tmp_path}/single/", settings)
    crew = OneByOne()
    result = done(work_on(clip, f"{tmp_path}/parted/", settings, 0.9), crew)
    assert crew.segments == [0, 1, 2, 3, 4, 5]  # None had to be matted twice.
    assert result.frames == COUNT
    assert sum(one.frames for one in result.segments) == COUNT
    assert largest_difference(frames_of(single), frames_of(tmp_path / "parted")) <= 1
    assert sorted(path.name for path in (tmp_path / "parted").iterdir()) == sorted(
        path.name for path in (tmp_path / "single").iterdir()
    )


@pytest.mark.parametrize("stride", [1, 5])
def test_at_uneven_times(stride: int, tmp_path: Path) -> None:
    """Bursts of frames, and long pauses, in which cuts fall."""
    chance = random.Random(2)
    steps = [chance.choice([1, 1, 1, 2, 5, 9]) for _ in range(COUNT)]
    steps[60] = 60
    times = [Fraction(ticks, 90) for ticks in accumulate(steps)]
    clip = write_levels(tmp_path / "in.mkv", wandering(), times)
    settings = settings_of("level", matte_only=True, stride=stride)
    single = single_run(clip, tmp_path / "single.mkv", settings)
    result = done(work_on(clip, tmp_path / "parted.mkv", settings, 0.45), OneByOne())
    assert len(result.segments) > 8
    one, other = frames_of(single), frames_of(tmp_path / "parted.mkv")
    assert [frame.pts for frame in one] == [frame.pts for frame in other]
    assert [frame.duration for frame in one] == [frame.duration for frame in other]
    mattes = [single_run(clip, f"{tmp_path}/single/", settings), tmp_path / "parted"]
    done(work_on(clip, f"{mattes[1]}/", settings, 0.45), OneByOne())
    assert largest_difference(*map(frames_of, mattes)) <= 1


def test_a_part_that_was_opened_long_ago_stays_open(tmp_path: Path) -> None:
    """The gate remembers it as long as the scene lasts; a segment that begins later has to be told."""
    pictures = [blobs((20, 20, 24, 0.95 if index < 5 else 0.7)) for index in range(COUNT)]
    clip = write_levels(tmp_path / "in.mkv", pictures)
    settings = settings_of("level", matte_only=True)
    single = single_run(clip, f"{tmp_path}/single/", settings)
    crew = OneByOne()
    done(work_on(clip, f"{tmp_path}/parted/", settings, 1.6), crew)
    assert crew.segments == [0, 1, 1, 2, 2]
    parted = frames_of(tmp_path / "parted")
    assert largest_difference(frames_of(single), parted) <= 1
    assert parted[-1].pixels.max() > 150


def test_the_subject_of_the_beginning_is_kept(tmp_path: Path) -> None:
    """It is chosen as the largest, and is the smaller one later on."""
    pictures = [
        blobs((5, 10, 34 if index < 20 else 16, 1.0), (60, 10, 16 if index < 20 else 34, 1.0)) for index in range(COUNT)
    ]
    clip = write_levels(tmp_path / "in.mkv", pictures)
    settings = settings_of("level", matte_only=True, subject="largest", smooth="none")
    single = single_run(clip, f"{tmp_path}/single/", settings)
    crew = OneByOne()
    done(work_on(clip, f"{tmp_path}/parted/", settings, 1.6), crew)
    assert len(crew.segments) > 3
    kept = frames_of(tmp_path / "parted")
    assert largest_difference(frames_of(single), kept) <= 1
    assert kept[-1].pixels[12:24, 7:19].min() > 220
    assert kept[-1].pixels[:, 60:].max() == 0


def test_a_filter_that_forgets_slowly_begins_earlier() -> None:
    assert settling_seconds(SmoothSettings()) < 2
    assert settling_seconds(SmoothSettings(motion_seconds=1)) == pytest.approx(9)
    assert settling_seconds(SmoothSettings(smooth="ema", ema_seconds=2)) == pytest.approx(18)
    assert settling_seconds(SmoothSettings(smooth="one-euro", min_cutoff_hz=0.1)) > 14
    assert settling_seconds(SmoothSettings(smooth="none")) < 2


class TestCuts:
    def segments(self, path: Path, seconds: float = 1.0, time_range: TimeRange | None = None) -> int:
        with open_source(str(path), time_range or TimeRange()) as source:
            segments = segments_of(source, seconds)
        assert segments[0].begin is None and segments[-1].end is None
        return len(segments)

    def test_they_share_out_the_time(self, clip: Path) -> None:
        assert self.segments(clip, 1.0) == 5
        assert self.segments(clip, 1.6) == 3
        assert self.segments(clip, 60) == 1
        assert self.segments(clip, 1.0, TimeRange.of("1.5", "3.6")) == 2

    def test_without_keyframes_there_are_none(self, tmp_path: Path) -> None:
        """Each segment would be decoded from the beginning."""
        clip = write_levels(tmp_path / "in.mkv", wandering(), gop=1000)
        assert self.segments(clip) == 1
        assert self.segments(write_levels(tmp_path / "few.mkv", wandering(), gop=75)) == 2

    @pytest.mark.parametrize("suffix", ["mp4", "ts", "avi", "flv"])
    def test_other_containers(self, suffix: str, tmp_path: Path) -> None:
        pictures = [yuv(picture(n, 96, 64)) for n in range(90)]
        source = record(tmp_path / f"in.{suffix}", pictures, [n * 3000 for n in range(90)], gop_size=15)
        assert self.segments(source) == 3

    def test_a_stream_without_times_is_one(self, tmp_path: Path) -> None:
        pictures = [yuv(picture(n, 96, 64)) for n in range(90)]
        assert self.segments(record(tmp_path / "in.h264", pictures, [n * 3000 for n in range(90)], gop_size=15)) == 1

    def test_a_folder_of_images(self, tmp_path: Path) -> None:
        for index in range(50):
            write_image(tmp_path / f"{index}.png", picture(0, 32, 32))
        assert self.segments(tmp_path, 0.5) == 4

    def test_a_test_pattern_has_no_end(self) -> None:
        with open_source("testsrc=64x48") as source:
            assert segments_of(source, 1) == WHOLE


def test_times_that_depend_on_where_decoding_begins(clip: Path, tmp_path: Path) -> None:
    """Segments that do not fit together are given up, and the file is matted in one piece."""
    settings = settings_of("level", matte_only=True)
    moved = False

    def move(task: Task) -> Finished | None:
        nonlocal moved
        if isinstance(task, SegmentTask) and task.segment.number == 2:
            moved = True
            found = run_task(task, lambda frames: None)
            assert isinstance(found, Finished)
            return found.model_copy(update={"first_pts": (found.first_pts or 0) + Fraction(1, 90_000)})
        return None

    crew = OneByOne(move)
    result = done(work_on(clip, tmp_path / "parted.mkv", settings, 0.9), crew)
    assert moved and isinstance(crew.done[-1], WholeTask)
    assert result.frames == COUNT == len(frames_of(tmp_path / "parted.mkv"))
    assert [path.name for path in tmp_path.iterdir()] == ["parted.mkv"]


def test_a_folder_of_images_keeps_its_numbers(tmp_path: Path) -> None:
    """One of them cannot be read: its number is left out, in one run as in segments, and one line tells of it."""
    (tmp_path / "in").mkdir()
    for index in range(40):
        write_image(tmp_path / "in" / f"{index:03}.png", picture(index, 48, 32))
    (tmp_path / "in" / "025.png").write_bytes(b"nothing")
    settings = settings_of(matte_only=True)
    single_run(tmp_path / "in", f"{tmp_path}/single/", settings)
    crew = OneByOne()
    result = done(work_on(tmp_path / "in", f"{tmp_path}/parted/", settings, 0.4), crew)
    assert crew.segments == [0, 1, 2, 3]
    assert (result.frames, RATE) == (39, 30)
    assert result.damage and "1 of 40 images are missing" in result.damage
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("single", "parted")]
    assert names[0] == names[1]
    assert "00025.png" not in names[0]
    assert largest_difference(frames_of(tmp_path / "single"), frames_of(tmp_path / "parted")) <= 1


def test_the_plan_is_a_task(clip: Path, tmp_path: Path) -> None:
    """It says the same on every machine: weights and engine are named in it."""
    work = work_on(clip, tmp_path / "x.mkv", settings_of("auto", model="auto"), 0.9)
    plan = run_task(PlanTask(work), lambda frames: None)
    assert isinstance(plan, Plan)
    assert plan.frame_count is None
    assert len(plan.segments) == 6
    assert plan.work.settings.infer.engine == "openvino"
    assert plan.work.settings.infer.model in {"lite", "lite-int8"}
