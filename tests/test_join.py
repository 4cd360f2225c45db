"""Joined segments: every format has the frames, times and other tracks of one run, and nothing is encoded twice."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import pytest
from av.container import InputContainer

from streamseg.batch.schedule import work_off
from streamseg.batch.tasks import JoinTask, SegmentTask, Task
from streamseg.decode import TimeRange, open_source
from streamseg.frames import Frame
from tests.crews import (
    OneByOne,
    done,
    frames_of,
    largest_difference,
    register_engines,
    settings_of,
    single_run,
    work_on,
)
from tests.synthetic import picture
from tests.test_composite import write_levels
from tests.test_fidelity import packets, record, yuv

COUNT = 84
SECONDS = 0.9
"""Length of a segment, in 2.8 s of video."""


@pytest.fixture(scope="module", autouse=True)
def engines() -> None:
    register_engines()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc with sound, at 29.97 and 30 frames a second in turns."""
    pictures = [yuv(picture(n // 2, 96, 64)) for n in range(COUNT)]
    ticks = [n * 3000 + 3 * (n // 2) for n in range(COUNT)]
    path = tmp_path_factory.mktemp("join") / "in.mp4"
    return record(path, pictures, ticks, sound_seconds=2.7, offset=0.1, gop_size=15)


@dataclass(frozen=True)
class Format:
    """What is written, and how far its frames may be from those of one run: at most, or on average, in levels of 255.

    Encoders that look ahead begin anew with each segment, which changes what they lose, not how much.
    """

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    is_lossless: bool = False

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.settings.items())])


FORMATS = [
    Format("x.mp4", {"bg": "blue"}),
    Format("x.mkv", {"bg": "blue"}),
    Format("x.webm", {"matte_only": True}),
    Format("x.mp4"),
    Format("x.mov", is_lossless=True),
    Format("x.mov", {"quality": "high"}, is_lossless=True),
    Format("x.webm"),
    Format("x.mkv", is_lossless=True),
    Format("x.mp4", {"alpha": "stacked"}),
]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_every_format(form: Format, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "single").mkdir()
    settings = settings_of(**form.settings)
    single = single_run(clip, tmp_path / "single" / form.name, settings)
    result = done(work_on(clip, tmp_path / form.name, settings, SECONDS), OneByOne())
    assert [one.frames for one in result.segments] == [27, 27, 30]
    assert result.message.startswith(f"{tmp_path / form.name}: {COUNT} frames, ")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [form.name]
    assert not (tmp_path / f"{form.name}.segments").exists()
    check_same(single, tmp_path / form.name, form.is_lossless)


def check_same(single: Path, joined: Path, is_lossless: bool) -> None:
    """Frames with their times and durations, headers, and packets of the sound."""
    one, other = frames_of(single), frames_of(joined)
    assert len(one) == len(other) == COUNT
    assert [frame.duration for frame in one] == [frame.duration for frame in other]
    assert largest_difference(one, other) <= (1 if is_lossless else 80)
    # Lossy encoders begin a group of pictures at each segment, and colours under alpha 0 are anything.
    assert mean_difference(one, other) <= (0.01 if is_lossless else 2)
    assert packets(single) == packets(joined) != []
    with av.open(str(single)) as first, av.open(str(joined)) as second:
        assert facts(first) == facts(second)


def mean_difference(one: list[Frame], other: list[Frame]) -> float:
    """Of the frame where it is largest, in levels of 255."""
    return max(float(np.abs(a.pixels.astype(int) - b.pixels).mean()) for a, b in zip(one, other, strict=True))


def facts(file: InputContainer) -> dict[str, Any]:
    video = file.streams.video[0]
    context = video.codec_context
    return {
        "duration": (file.duration, video.duration, file.start_time, video.start_time),
        "rate": (video.average_rate, video.time_base),
        "shape": (context.width, context.height, video.sample_aspect_ratio, context.pix_fmt),
        "colour": (context.color_primaries, context.color_trc, context.colorspace, context.color_range),
        "codec": (context.name, context.profile, context.extradata, context.codec_tag),
        "metadata": (dict(file.metadata), [dict(stream.metadata) for stream in file.streams]),
        "tracks": [(stream.type, stream.codec_context.name, stream.disposition) for stream in file.streams],
        "chapters": file.chapters(),
    }


def test_packets_are_those_of_the_segments(clip: Path, tmp_path: Path) -> None:
    """Nothing is encoded a second time; where frames are encoded one by one, most packets are those of one run."""
    kept: list[bytes] = []

    def keep(task: Task) -> None:
        if isinstance(task, JoinTask):
            for one in task.finished:
                kept.extend(video_packets(task.work.folder.part(one, 0).path))

    for name in ("x.mkv", "x.mov", "y.mp4"):
        kept.clear()
        settings = settings_of(**({"bg": "blue"} if name == "y.mp4" else {}))
        done(work_on(clip, tmp_path / name, settings, SECONDS), OneByOne(keep))
        joined = video_packets(tmp_path / name)
        if name != "y.mp4":
            (tmp_path / "single").mkdir(exist_ok=True)
            single = video_packets(single_run(clip, tmp_path / "single" / name, settings))
            assert joined == kept
            assert sum(one == other for one, other in zip(joined, single, strict=True)) > 0.9 * COUNT
        # Parameter sets go before each keyframe of H.264, as in what `--resume` goes on with.
        assert len(joined) == len(kept)
        assert all(data.endswith(own[-20:]) for data, own in zip(joined, kept, strict=True))


@pytest.mark.parametrize(
    ("name", "settings", "decoder"),
    [
        ("x.mp4", {"bg": "blue"}, []),
        ("x.webm", {}, ["-c:v", "libvpx-vp9"]),  # FFmpeg's own decoder leaves alpha out.
        ("x.mov", {}, []),
    ],
    ids=["H.264", "VP9", "ProRes"],
)
def test_a_separate_ffmpeg_reads_them(
    name: str, settings: dict[str, Any], decoder: list[str], clip: Path, tmp_path: Path
) -> None:
    """Without a word of complaint, the same pixels at the same times as here, and all of the sound."""
    path = tmp_path / name
    done(work_on(clip, path, settings_of(**settings), SECONDS), OneByOne())
    frames = frames_of(path)
    every = [*decoder, "-i", path, "-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "demux"]
    raw = by_ffmpeg([*every, "-sws_flags", "accurate_rnd+full_chroma_int", "-pix_fmt", "rgba"])
    found = np.frombuffer(raw, np.uint8).reshape(COUNT, *frames[0].pixels.shape[:2], 4).astype(int)
    for one, frame in zip(found, frames, strict=True):
        channels = frame.pixels.shape[2]
        assert np.abs(one[..., :3] - frame.pixels[..., :3]).mean() < 2  # Chroma is enlarged in another way.
        assert channels == 3 or np.abs(one[..., 3] - frame.pixels[..., 3]).max() <= 1
    lines = by_ffmpeg(every, "framecrc").decode().splitlines()
    (tick,) = [Fraction(line.partition("#tb 0: ")[2]) for line in lines if line.startswith("#tb")]
    assert [tick * int(line.split(",")[2]) for line in lines if not line.startswith("#")] == [
        frame.pts - frames[0].pts for frame in frames
    ]
    heard_bytes = len(by_ffmpeg(["-i", path, "-map", "0:a", "-ac", "1", "-ar", "8000"], "u8"))
    assert heard_bytes / 8000 == pytest.approx(2.7, abs=0.1)


def by_ffmpeg(arguments: list[str | Path], form: str = "rawvideo") -> bytes:
    """What another FFmpeg than PyAV's makes of a file; it says nothing."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "warning", *map(str, arguments), "-f", form, "-"]
    finished = subprocess.run(command, check=True, capture_output=True)
    assert finished.stderr == b""
    return finished.stdout


def video_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


def test_a_sidecar(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "single").mkdir()
    settings = settings_of(alpha="sidecar")
    single_run(clip, tmp_path / "single" / "x.mp4", settings)
    result = done(work_on(clip, tmp_path / "x.mp4", settings, SECONDS), OneByOne())
    assert "luma matte in" in result.message
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["x.alpha.mp4", "x.mp4"]
    for name in ("x.mp4", "x.alpha.mp4"):
        assert mean_difference(frames_of(tmp_path / "single" / name), frames_of(tmp_path / name)) <= 1
    assert packets(tmp_path / "x.mp4") == packets(clip)


@pytest.mark.parametrize("pattern", ["x_%04d.png", "folder/", "50%%_%d.exr", "x_%03d.webp"])
def test_image_sequences(pattern: str, clip: Path, tmp_path: Path) -> None:
    settings = settings_of(straight=True)
    (tmp_path / "single").mkdir()
    (tmp_path / "parted").mkdir()
    single_run(clip, f"{tmp_path}/single/{pattern}", settings)
    result = done(work_on(clip, f"{tmp_path}/parted/{pattern}", settings, SECONDS), OneByOne())
    assert f"{COUNT} images" in result.message
    single, parted = (
        {file.name: file.read_bytes() for file in (tmp_path / folder).rglob("*") if file.is_file()}
        for folder in ("single", "parted")
    )
    assert sorted(single) == sorted(parted)
    assert len(single) == COUNT
    assert sum(single[name] == parted[name] for name in single) > 0.9 * COUNT


def test_images_that_were_moved_before_stay(clip: Path, tmp_path: Path) -> None:
    """The driver is killed while it moves them, and all is run again."""
    settings, work = settings_of(), work_on(clip, f"{tmp_path}/x_%03d.png", settings_of(), SECONDS)

    def killed(task: Task) -> None:
        if isinstance(task, JoinTask):
            folder = task.work.folder
            for image in sorted(folder.part(task.finished[1], 27).path.iterdir())[:5]:
                image.rename(tmp_path / f"x_{27 + int(image.stem):03}.png")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(work_off([work], OneByOne(killed)))
    crew = OneByOne()
    done(work_on(clip, f"{tmp_path}/x_%03d.png", settings, SECONDS), crew)
    assert crew.segments == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"x_{number:03}.png" for number in range(COUNT)]


@pytest.mark.parametrize("time_range", [TimeRange.of("0.7", "2.4"), TimeRange.of("1.2", None)], ids=str)
def test_a_time_range(time_range: TimeRange, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "single").mkdir()
    single = single_run(clip, tmp_path / "single" / "x.mkv", settings_of(), time_range)
    done(work_on(clip, tmp_path / "x.mkv", settings_of(), 0.7, time_range), OneByOne())
    assert largest_difference(frames_of(single), frames_of(tmp_path / "x.mkv")) <= 1
    assert packets(single) == packets(tmp_path / "x.mkv")


@pytest.mark.parametrize(("levels", "rate"), [(5, 25), (90, 20)], ids=["loops", "is longer"])
def test_a_background_video_goes_on(levels: int, rate: int, clip: Path, tmp_path: Path) -> None:
    """It begins with the video, not with each segment, and loops at the same time."""
    bg = write_levels(tmp_path / "bg.mkv", [40 + (17 * n) % 150 for n in range(levels)], rate, first_pts=3)
    settings = settings_of(bg=str(bg))
    for name, seconds in (("single", 60), ("parted", SECONDS)):
        done(work_on(clip, f"{tmp_path}/{name}/", settings, seconds), OneByOne())
    # A level of Y, Cb or Cr is up to two of red, green or blue.
    assert largest_difference(frames_of(tmp_path / "single"), frames_of(tmp_path / "parted")) <= 2


def test_a_background_video_goes_on_after_an_interruption(clip: Path, tmp_path: Path) -> None:
    """From where the next segment begins; another video in its place is refused."""
    bg = write_levels(tmp_path / "bg.mkv", [40 + (17 * n) % 150 for n in range(90)], 20, first_pts=3)
    settings = settings_of(bg=str(bg))
    done(work_on(clip, f"{tmp_path}/single/", settings, 60), OneByOne())
    work = work_on(clip, f"{tmp_path}/parted/", settings, SECONDS)

    def interrupt(task: Task) -> None:
        if isinstance(task, SegmentTask) and task.segment.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(work_off([work], OneByOne(interrupt)))
    content, date = bg.read_bytes(), bg.stat().st_mtime_ns
    write_levels(bg, [90] * 30, 20)
    (refused,) = work_off([work], OneByOne())
    assert refused.has_failed
    assert "it was made with background " in refused.message
    bg.write_bytes(content)
    os.utime(bg, ns=(date, date))
    rest = OneByOne()
    done(work, rest)
    assert rest.segments == [1, 2]
    assert largest_difference(frames_of(tmp_path / "single"), frames_of(tmp_path / "parted")) <= 1


def test_chapters_and_titles(clip: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(clip)) as read, av.open(str(source), "w") as written:
        streams = {stream.index: written.add_stream_from_template(stream) for stream in read.streams}
        written.metadata["title"] = "A disc"
        written.set_chapters([{"id": 1, "start": 0, "end": 2, "time_base": Fraction(1), "metadata": {"title": "One"}}])
        for packet in read.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                written.mux(packet)
    (tmp_path / "single").mkdir()
    single = single_run(source, tmp_path / "single" / "x.mkv", settings_of())
    done(work_on(source, tmp_path / "x.mkv", settings_of(), SECONDS), OneByOne())
    check_same(single, tmp_path / "x.mkv", is_lossless=True)


def test_a_damaged_source(clip: Path, tmp_path: Path) -> None:
    """Cut short, though its header tells of more: one line tells what one run tells."""
    whole = tmp_path / "whole.mkv"
    with av.open(str(clip)) as read, av.open(str(whole), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = stream
                written.mux(packet)
    data = whole.read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) * 4 // 10])
    result = done(work_on(cut, tmp_path / "x.mkv", settings_of(), 0.3), OneByOne())
    (tmp_path / "single").mkdir()
    single = single_run(cut, tmp_path / "single" / "x.mkv", settings_of())
    assert largest_difference(frames_of(single), frames_of(tmp_path / "x.mkv")) <= 1
    assert len(result.segments) > 1
    with open_source(str(cut)) as source:
        assert len(list(source)) == result.frames
        assert source.decode_error and "is cut short" in source.decode_error
        assert result.damage == source.decode_error


def test_a_part_that_is_not_whole(clip: Path, tmp_path: Path) -> None:
    """The join tells of it, and leaves the segments."""

    def shorten(task: Task) -> None:
        if isinstance(task, JoinTask):
            path = task.work.folder.part(task.finished[1], 0).path
            path.write_bytes(path.read_bytes()[:-4000])

    (result,) = work_off([work_on(clip, tmp_path / "x.mkv", settings_of(), SECONDS)], OneByOne(shorten))
    assert result.has_failed
    assert "x.mkv.segments/0001.mkv holds" in result.message and "not 27" in result.message
    assert (tmp_path / "x.mkv.segments" / "0002.mkv").exists()
    assert not (tmp_path / "x.mkv").exists()
