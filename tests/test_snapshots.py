"""Snapshots and recordings of a live run: right pixels and times, new names, and no failure that ends the run."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.controls import Controls
from streamseg.decode import open_source
from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.settings import Settings
from streamseg.sink import snapshots
from streamseg.sink.base import BaseSink
from streamseg.sink.resume import part_of
from streamseg.sink.snapshots import QUEUE_FRAMES, RecordingSink, SnapshotSink
from streamseg.yuv import YuvImage
from tests.synthetic import picture
from tests.waiting import wait_for

INFO = VideoInfo(64, 48, Fraction(25), live=True)
NOON = datetime(2026, 3, 1, 12, 0, 0)


def noon() -> datetime:
    return NOON


def frame(index: int, image: Pixels | YuvImage | None = None) -> Frame:
    return Frame(index, 100 + Fraction(index, 25), picture(index, 64, 48) if image is None else image)


@pytest.fixture
def controls() -> Controls:
    return Controls(Settings())


class TestSnapshots:
    @pytest.mark.parametrize("kind", ["rgb", "rgba", "grey", "yuv"])
    def test_what_is_written_is_the_next_frame(self, kind: str, controls: Controls, tmp_path: Path) -> None:
        rgb = picture(1, 64, 48)
        image: Pixels | YuvImage = {
            "rgb": rgb,
            "rgba": np.dstack((rgb, rgb[..., 1])),
            "grey": np.ascontiguousarray(rgb[..., 1]),
            "yuv": YuvImage.of(rgb),
        }[kind]
        with SnapshotSink(controls, tmp_path, noon) as sink:
            sink.write(frame(0))
            controls.ask_snapshot()
            sink.write(frame(1, image))
            sink.write(frame(2))
        path = tmp_path / "streamseg-2026-03-01-120000.png"
        assert list(tmp_path.iterdir()) == [path]
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if kind != "grey":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if kind == "rgba" else cv2.COLOR_BGR2RGB)
        assert np.array_equal(pixels, frame(1, image).pixels)
        assert controls.notice == f"saved {path}"
        assert sink.summary == f"snapshots: 1, the last one {path}"

    def test_pixels_become_square(self, controls: Controls, tmp_path: Path) -> None:
        with SnapshotSink(controls, tmp_path, noon) as sink:
            controls.ask_snapshot()
            sink.write(replace(frame(1), pixel_aspect=Fraction(4, 3)))
        assert cv2.imread(str(tmp_path / "streamseg-2026-03-01-120000.png")).shape == (48, 85, 3)

    def test_nothing_is_overwritten(self, controls: Controls, tmp_path: Path) -> None:
        with SnapshotSink(controls, tmp_path / "new" / "folder", noon) as sink:
            for index in range(3):
                controls.notice = ""
                controls.ask_snapshot()
                # The request stands while the thread ends its work on the last one.
                wait_for(lambda index=index: sink.write(frame(index)) or controls.notice)  # type: ignore[misc]
        names = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
        assert names == [f"streamseg-2026-03-01-120000{number}.png" for number in ("-2", "-3", "")]

    def test_the_run_does_not_wait(self, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While one is being written, frames go on and the next request stands."""
        may_go_on: list[bool] = []
        write_image = snapshots.write_image

        def slow(path: Path, pixels: Pixels, pixel_aspect: Fraction) -> None:
            wait_for(lambda: may_go_on)
            write_image(path, pixels, pixel_aspect=pixel_aspect)

        monkeypatch.setattr(snapshots, "write_image", slow)
        with SnapshotSink(controls, tmp_path, noon) as sink:
            for index in range(10):
                controls.ask_snapshot()
                sink.write(frame(index))
            may_go_on.append(True)
            wait_for(lambda: controls.notice)
            wait_for(lambda: sink.write(frame(10)) or len(list(tmp_path.iterdir())) == 2)
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("error", [OutputError("cannot write x.png: No space left on device"), ValueError("bug")])
    def test_a_failure_is_a_notice(
        self, error: Exception, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(path: Path, pixels: Pixels, pixel_aspect: Fraction) -> None:
            raise error

        monkeypatch.setattr(snapshots, "write_image", fail)
        with SnapshotSink(controls, tmp_path, noon) as sink:
            controls.ask_snapshot()
            sink.write(frame(0))
        assert controls.notice == f"no snapshot: {error}"
        assert list(tmp_path.iterdir()) == []
        assert sink.summary == ""

    def test_a_folder_that_cannot_be_made(self, controls: Controls, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with SnapshotSink(controls, tmp_path / "file", noon) as sink:
            controls.ask_snapshot()
            sink.write(frame(0))
        assert controls.notice.startswith("no snapshot: cannot make the folder")


class TestRecording:
    def test_it_begins_at_zero_and_ends_when_it_is_switched_off(self, controls: Controls, tmp_path: Path) -> None:
        with RecordingSink(INFO, controls, tmp_path, noon) as sink:
            for index in range(12):
                controls.change(recording=4 <= index < 10)
                sink.write(frame(index))
            wait_for(lambda: controls.notice)
            path = tmp_path / "streamseg-2026-03-01-120000.mp4"
            assert list(tmp_path.iterdir()) == [path], "it is complete while the run goes on"
        assert controls.notice == f"saved {path}"
        assert [pts for pts, _ in read(path)] == [Fraction(index, 25) for index in range(6)]
        for index, (_, pixels) in enumerate(read(path)):
            assert np.abs(pixels.astype(int) - picture(4 + index, 64, 48)).mean() < 3

    def test_each_time_a_new_file(self, controls: Controls, tmp_path: Path) -> None:
        with RecordingSink(INFO, controls, tmp_path, noon) as sink:
            for index in range(9):
                controls.change(recording=index % 3 != 2)
                sink.write(frame(index))
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == [f"streamseg-2026-03-01-120000{number}.mp4" for number in ("-2", "-3", "")]
        assert all(len(read(tmp_path / name)) == 2 for name in names)
        assert sink.summary.startswith("recordings: 3, the last one ")

    @pytest.mark.parametrize("error", [None, KeyboardInterrupt(), ValueError()], ids=["end", "ctrl-c", "error"])
    def test_the_end_of_the_run_completes_it(
        self, error: BaseException | None, controls: Controls, tmp_path: Path
    ) -> None:
        controls.change(recording=True)
        with suppress(KeyboardInterrupt, ValueError), RecordingSink(INFO, controls, tmp_path, noon) as sink:
            for index in range(5):
                sink.write(frame(index))
            if error:
                raise error
        (path,) = tmp_path.iterdir()
        assert len(read(path)) == 5

    def test_what_was_recorded_before_a_failure_stays(
        self, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An error of the disk leaves a part that plays, and the notice names it."""

        class Full(BaseSink):
            summary = ""

            def __init__(self, path: Path, *_: object) -> None:
                part_of(path).write_bytes(b"x")

            def write(self, frame: Frame) -> None:
                raise OutputError("the disk is full")

        monkeypatch.setattr(snapshots, "open_file", Full)
        controls.change(recording=True)
        with RecordingSink(INFO, controls, tmp_path, noon) as sink:
            sink.write(frame(0))
        (part,) = tmp_path.iterdir()
        assert controls.notice == f"recording stopped: the disk is full; what was recorded is in {part}"

    def test_every_kind_of_frame_becomes_opaque(self, controls: Controls, tmp_path: Path) -> None:
        rgb = picture(0, 64, 48)
        grey = np.ascontiguousarray(rgb[..., 1])
        images: list[Pixels | YuvImage] = [rgb, np.dstack((rgb, np.full_like(grey, 255))), grey, YuvImage.of(rgb)]
        controls.change(recording=True)
        with RecordingSink(INFO, controls, tmp_path, noon) as sink:
            for index, image in enumerate(images):
                sink.write(frame(index, image))
        (path,) = tmp_path.iterdir()
        written = [pixels.astype(int) for _, pixels in read(path)]
        for pixels, expected in zip(written, (rgb, rgb, np.dstack([grey] * 3), rgb), strict=True):
            assert np.abs(pixels - expected).mean() < 4

    def test_a_slow_encoder_drops_frames(
        self, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may_go_on: list[bool] = []
        open_file = snapshots.open_file

        def slow(*arguments):  # type: ignore[no-untyped-def]
            wait_for(lambda: may_go_on)
            return open_file(*arguments)

        monkeypatch.setattr(snapshots, "open_file", slow)
        controls.change(recording=True)
        with RecordingSink(INFO, controls, tmp_path, noon) as sink:
            for index in range(QUEUE_FRAMES + 7):
                sink.write(frame(index))
            assert sink.dropped == 7
            may_go_on.append(True)
        (path,) = tmp_path.iterdir()
        assert len(read(path)) == QUEUE_FRAMES
        assert controls.notice == f"saved {path}, 7 frames dropped: the encoder did not keep up"

    def test_a_failure_switches_it_off_and_the_run_goes_on(
        self, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*arguments: object) -> None:
            raise OutputError(f"cannot write x.mp4: {os.strerror(errno.ENOSPC)}")

        with monkeypatch.context() as patch:
            patch.setattr(snapshots, "open_file", full)
            with RecordingSink(INFO, controls, tmp_path, noon) as sink:
                controls.change(recording=True)
                wait_for(lambda: sink.write(frame(0)) or not controls.current.live.recording)
                wait_for(lambda: controls.notice)
                assert controls.notice == "recording stopped: cannot write x.mp4: No space left on device"
                patch.undo()
                controls.change(recording=True)
                for index in range(3):
                    sink.write(frame(index))
        (path,) = tmp_path.iterdir()
        assert len(read(path)) == 3
        assert controls.current.live.recording

    def test_names_follow_the_clock(self, controls: Controls, tmp_path: Path) -> None:
        times = iter([NOON, NOON + timedelta(hours=1)])
        with RecordingSink(INFO, controls, tmp_path, lambda: next(times)) as sink:
            for index in range(4):
                controls.change(recording=index % 2 == 0)
                sink.write(frame(index))
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["streamseg-2026-03-01-120000.mp4", "streamseg-2026-03-01-130000.mp4"]

    def test_nothing_asked_nothing_written(self, controls: Controls, tmp_path: Path) -> None:
        with RecordingSink(INFO, controls, tmp_path) as sink:
            sink.write(frame(0))
        assert list(tmp_path.iterdir()) == []
        assert sink.summary == ""


def read(path: Path) -> list[tuple[Fraction, Pixels]]:
    with open_source(str(path)) as source:
        return [(frame.pts, frame.pixels) for frame in source]
