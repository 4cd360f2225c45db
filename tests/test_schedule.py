"""The schedule: lost workers, failures, interruptions, what is taken up again, and processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path

import psutil
import pytest

from streamseg.batch.local import LocalCrew
from streamseg.batch.schedule import MAX_LOSSES, Progress, work_off
from streamseg.batch.tasks import Failure, JoinTask, PlanTask, Result, SegmentTask, Task, WholeTask
from streamseg.batch.work import run_task
from streamseg.batch.worker import Lost
from streamseg.errors import EngineError, InputError, OutputError
from streamseg.sink.lock import Claim
from tests.crews import OneByOne, blobs, done, frames_of, register_engines, settings_of, work_on, write_levels
from tests.test_cli import expect_one_line_error, streamseg, video_facts

COUNT, SECONDS = 60, 0.5
SETTINGS = {"matte_only": True, "smooth": "none", "gate": False}

needs_signals = pytest.mark.skipif(os.name == "nt", reason="there are no signals there")


@pytest.fixture(scope="module", autouse=True)
def engines() -> None:
    register_engines()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, four segments."""
    pictures = [blobs((index, 10, 20, 0.9)) for index in range(COUNT)]
    return write_levels(tmp_path_factory.mktemp("schedule") / "in.mkv", pictures, gop=5)


def on_segment(
    number: int, found: Callable[[], Result | Lost], times: int = 1
) -> Callable[[Task], Result | Lost | None]:
    """What comes of a segment in place of its mattes, so many times."""
    left = times

    def before(task: Task) -> Result | Lost | None:
        nonlocal left
        if isinstance(task, SegmentTask) and task.segment.number == number and left:
            left -= 1
            return found()
        return None

    return before


class TestLost:
    @pytest.mark.parametrize("times", [1, MAX_LOSSES])
    def test_another_worker_does_it_again(self, times: int, clip: Path, tmp_path: Path) -> None:
        crew = OneByOne(on_segment(2, lambda: Lost("it ended"), times))
        done(work_on(clip, tmp_path / "x.mkv", settings_of("level", **SETTINGS), SECONDS), crew)
        assert crew.segments.count(2) == times + 1
        attempts = [task.attempt for task in crew.done if isinstance(task, SegmentTask)]
        assert len(set(attempts)) == len(attempts)
        assert len(frames_of(tmp_path / "x.mkv")) == COUNT

    def test_a_file_is_given_up_after_some_times(self, clip: Path, tmp_path: Path) -> None:
        crew = OneByOne(on_segment(1, lambda: Lost("its process was ended by SIGKILL"), 99))
        works = [
            work_on(clip, tmp_path / name, settings_of("level", **SETTINGS), SECONDS) for name in ("a.mkv", "b.mkv")
        ]
        crew = OneByOne(
            lambda task: (
                Lost("its process was ended by SIGKILL")
                if isinstance(task, SegmentTask) and task.segment.number == 1 and task.work.out.name == "a.mkv"
                else None
            )
        )
        lost, fine = work_off(works, crew)
        assert lost.has_failed and not fine.has_failed
        assert lost.message == (f"{clip}, 0.5 to 1 s: its worker was lost 4 times: its process was ended by SIGKILL")
        assert (tmp_path / "a.mkv.segments" / "0000.json").exists()  # For the next run.

    def test_plan_and_join_too(self, clip: Path, tmp_path: Path) -> None:
        lost: set[type] = set()

        def once(task: Task) -> Lost | None:
            if isinstance(task, PlanTask | JoinTask) and type(task) not in lost:
                lost.add(type(task))
                return Lost("it ended")
            return None

        done(work_on(clip, tmp_path / "x.mkv", settings_of("level", **SETTINGS), SECONDS), OneByOne(once))
        assert lost == {PlanTask, JoinTask}


class TestFailures:
    def test_a_segments_own_failure_fails_its_file_and_no_other(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "bad.mp4").write_bytes(b"nothing")
        settings = settings_of("level", **SETTINGS)
        works = [
            work_on(clip, tmp_path / "a.mkv", settings, SECONDS),
            work_on(tmp_path / "bad.mp4", tmp_path / "b.mkv", settings, SECONDS),
            work_on(clip, tmp_path / "c.mkv", settings, SECONDS),
        ]
        crew = OneByOne(on_segment(1, lambda: Failure("in.mkv is no good"), 1))
        results = {result.work.out.name: result for result in work_off(works, crew)}
        assert results["a.mkv"].message == "in.mkv is no good"
        assert "bad.mp4 as video" in results["b.mkv"].message
        assert [name for name, result in results.items() if not result.has_failed] == ["c.mkv"]
        assert crew.segments == [0, 1, 0, 1, 2, 3]

    def test_a_full_disk_of_one_machine_is_tried_elsewhere(self, clip: Path, tmp_path: Path) -> None:
        crew = OneByOne(on_segment(0, lambda: Failure("cannot write: no space", is_machines=True)))
        done(work_on(clip, tmp_path / "x.mkv", settings_of("level", **SETTINGS), SECONDS), crew)
        assert crew.segments == [0, 0, 1, 2, 3]

    @pytest.mark.parametrize("is_machines", [True, False])
    def test_what_is_a_machines_fault(self, is_machines: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(work: object) -> None:
            try:
                raise OSError(ENOSPC, "No space left") if is_machines else InputError("broken")
            except (OSError, InputError) as error:
                raise OutputError("cannot write x.mkv: no") from error

        monkeypatch.setattr("streamseg.batch.work.plan_segments", failing)
        task = PlanTask(work_on(Path("in.mkv"), Path("x.mkv"), settings_of(), SECONDS))
        assert run_task(task, lambda frames: None) == Failure("cannot write x.mkv: no", is_machines)

    def test_no_engine_ends_all(self, clip: Path, tmp_path: Path) -> None:
        work = work_on(clip, tmp_path / "x.mkv", settings_of("none such"), SECONDS)
        with pytest.raises(EngineError, match="none such"):
            list(work_off([work], OneByOne()))

    def test_a_bug_is_told_as_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(work: object) -> None:
            raise ZeroDivisionError("of two\nlines")

        monkeypatch.setattr("streamseg.batch.work.plan_segments", broken)
        task = PlanTask(work_on(Path("in.mkv"), Path("x.mkv"), settings_of(), SECONDS))
        failure = run_task(task, lambda frames: None)
        assert isinstance(failure, Failure) and not failure.is_machines
        assert failure.message.startswith("ZeroDivisionError: of two lines (test_schedule.py, line ")


class TestTakenUp:
    def interrupted(self, work, after: int) -> None:  # type: ignore[no-untyped-def]
        def stop(task: Task) -> None:
            if isinstance(task, SegmentTask) and task.segment.number == after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(work_off([work], OneByOne(stop)))

    def test_finished_segments_are_not_matted_again(self, clip: Path, tmp_path: Path) -> None:
        """With another number of processes, by which segments would be of other lengths, too."""
        settings = settings_of("level", **SETTINGS)
        self.interrupted(work_on(clip, tmp_path / "x.mkv", settings, SECONDS), 2)
        (tmp_path / "x.mkv.segments" / "0003-12345678.mkv.part").write_bytes(b"left over")
        crew, told = OneByOne(), list[Progress]()
        (result,) = work_off([work_on(clip, tmp_path / "x.mkv", settings, 0.2)], crew, told.append)
        assert crew.segments == [2, 3]
        assert (result.frames, result.has_failed) == (COUNT, False)
        assert (told[-1].frames, told[-1].new_frames, told[-1].files) == (COUNT, COUNT // 2, 1)
        assert [path.name for path in tmp_path.iterdir()] == ["x.mkv"]

    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"input_size": 64}, "input-size 96, not 64"),
            ({"bg": "green"}, "bg None, not green"),
            ({"model": "lite"}, "weights "),
        ],
        ids=str,
    )
    def test_segments_of_other_settings_are_refused(
        self, changed: dict[str, object], told: str, clip: Path, tmp_path: Path
    ) -> None:
        settings = {**SETTINGS, "matte_only": "bg" not in changed}
        self.interrupted(work_on(clip, tmp_path / "x.mkv", settings_of("level", **SETTINGS), SECONDS), 1)
        other = settings_of("level", **{**settings, **changed})
        (result,) = work_off([work_on(clip, tmp_path / "x.mkv", other, SECONDS)], OneByOne())
        assert result.has_failed
        assert f"cannot go on with {tmp_path / 'x.mkv.segments'}: it was made with " in result.message
        assert told in result.message
        assert (tmp_path / "x.mkv.segments" / "0000.mkv").exists()

    def test_segments_of_another_source_are_refused(self, clip: Path, tmp_path: Path) -> None:
        source = tmp_path / "in.mkv"
        source.write_bytes(clip.read_bytes())
        settings = settings_of("level", **SETTINGS)
        self.interrupted(work_on(source, tmp_path / "x.mkv", settings, SECONDS), 1)
        source.write_bytes(source.read_bytes() + b"\0")
        (result,) = work_off([work_on(source, tmp_path / "x.mkv", settings, SECONDS)], OneByOne())
        assert result.has_failed and "source bytes" in result.message

    def test_a_manifest_that_cannot_be_read(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "x.mkv.segments").mkdir()
        (tmp_path / "x.mkv.segments" / "manifest.json").write_text("nothing")
        (result,) = work_off([work_on(clip, tmp_path / "x.mkv", settings_of(), SECONDS)], OneByOne())
        assert result.has_failed and "manifest.json cannot be read; remove it" in result.message


def test_two_drivers_of_one_output(clip: Path, tmp_path: Path) -> None:
    held = Claim(tmp_path / "x.mkv")
    crew = OneByOne()
    (result,) = work_off([work_on(clip, tmp_path / "x.mkv", settings_of(), SECONDS)], crew)
    assert result.has_failed and "another run is writing" in result.message
    assert crew.done == []
    held.release()
    done(work_on(clip, tmp_path / "x.mkv", settings_of("level", **SETTINGS), SECONDS), OneByOne())
    assert [path.name for path in tmp_path.iterdir()] == ["x.mkv"]


@pytest.mark.parametrize("name", ["x.gif", "x.mkv", "x_%03d.png"])
def test_a_short_file_is_one_task(name: str, clip: Path, tmp_path: Path) -> None:
    crew, told = OneByOne(), list[Progress]()
    work = work_on(clip, tmp_path / name, settings_of("level", **SETTINGS), 60)
    (result,) = work_off([work], crew, told.append)
    assert [type(task) for task in crew.done] == [PlanTask, WholeTask]
    assert (result.frames, result.segments[0].frames) == (COUNT, COUNT)
    assert told[-1].frames == COUNT


@needs_signals
class TestProcesses:
    def test_one_is_killed_amid_its_segment(self, clip: Path, tmp_path: Path) -> None:
        killed: list[psutil.Process] = []

        def kill_one(progress: Progress) -> None:
            workers = [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]
            if progress.frames and not killed:
                killed.append(workers[0])
                killed[0].kill()

        settings = settings_of("level", **SETTINGS)
        work = work_on(clip, tmp_path / "x.mkv", settings, SECONDS)
        (result,) = work_off([work], LocalCrew(2, register_engines), kill_one)
        assert killed and not result.has_failed, result.message
        assert len(frames_of(tmp_path / "x.mkv")) == COUNT
        assert [path.name for path in tmp_path.iterdir()] == ["x.mkv"]


class TestCommand:
    """Of `streamseg video --jobs`, with a real network in processes of its own."""

    @pytest.fixture
    def config(self, tmp_path: Path) -> Path:
        path = tmp_path / "c.toml"
        path.write_text('[infer]\nmodel = "nano"\ninput_size = 64\n[batch]\nsegment_seconds = 0.5\n')
        return path

    def test_it_writes_and_tells(self, clip: Path, config: Path, tmp_path: Path) -> None:
        out = tmp_path / "x.mov"
        result = streamseg("video", clip, "-o", out, "--jobs", 2, "--config", config)
        assert result.exit_code == 0, result.output
        assert f"{out}: 60 frames, ProRes 4444 with alpha" in result.stdout
        assert "fps, 4 segments by 2 processes" in result.stdout
        assert video_facts(out)[0] == COUNT
        assert not (tmp_path / "x.mov.segments").exists()

    @needs_signals
    def test_a_killed_driver_and_ctrl_c(self, clip: Path, config: Path, tmp_path: Path) -> None:
        """What is finished is taken up by the same command, and by `--resume` without `--jobs`."""
        out = tmp_path / "x.mkv"
        command = [sys.executable, "-m", "streamseg", "video", str(clip), "-o", str(out), "--config", str(config)]
        for how in (signal.SIGKILL, signal.SIGINT):
            with subprocess.Popen([*command, "--jobs", "2"], stderr=subprocess.PIPE, text=True) as driver:
                folder = tmp_path / "x.mkv.segments"
                count = len(list(folder.glob("*.json")))
                while driver.poll() is None and len(list(folder.glob("*.json"))) <= count:
                    time.sleep(0.01)
                driver.send_signal(how)
                said = driver.communicate()[1]
            if how == signal.SIGINT and driver.returncode == 130:
                assert "segments are kept in" in said
        if folder.exists():
            made_from = json.loads((folder / "manifest.json").read_text())["made_from"]
            assert made_from["infer"]["model"].startswith("nano")
        result = streamseg(*command[3:], "--resume")
        assert result.exit_code == 0, result.output
        assert len(frames_of(out)) == COUNT

    def test_what_cannot_be_parted_is_one_run(self, clip: Path, config: Path, tmp_path: Path) -> None:
        result = streamseg("video", clip, "-o", tmp_path / "x.gif", "--jobs", 2, "--config", config)
        assert result.exit_code == 0, result.output
        assert "segments" not in result.stdout

    @pytest.mark.parametrize("flags", [("--model", "none.safetensors"), ("--engine", "none")])
    def test_a_network_that_is_not_there(self, flags: tuple[str, ...], clip: Path, tmp_path: Path) -> None:
        (tmp_path / "c.toml").write_text("[batch]\nsegment_seconds = 0.5\n")
        result = streamseg(
            "video", clip, "-o", tmp_path / "x.mkv", "--jobs", 2, "--config", tmp_path / "c.toml", *flags
        )
        expect_one_line_error(result, "none")

    def test_a_format_that_does_not_hold_it(self, clip: Path, tmp_path: Path) -> None:
        expect_one_line_error(streamseg("video", clip, "-o", tmp_path / "x.avi", "--jobs", 2), "give a name that ends")
