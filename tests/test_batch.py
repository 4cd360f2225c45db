"""Folders of videos: what is done, what is left alone, and that one bad file costs only itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path

import av
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from streamseg.batch import jobs
from streamseg.batch.jobs import VIDEO_SUFFIXES, Job, Outcome, Task, arrivals, plan, run_batch
from streamseg.batch.report import BatchProgress
from streamseg.cli.app import app
from streamseg.decode import open_source
from streamseg.errors import InputError, OutputError
from streamseg.settings import CompositeSettings, InferSettings, OutputSettings, Settings
from tests.synthetic import RATE, write_clip

SMALL = Settings(infer=InferSettings(input_size=64))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, a file that is none, and one that is no video by name."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_clip(folder / "a.mp4", 8)
    shutil.copy(folder / "a.mp4", folder / "b.MP4")
    (folder / "bad.mov").write_bytes(b"nothing")
    (folder / "notes.txt").touch()
    return folder


def lost_on_bad(task: Task) -> Outcome:
    """In place of matting, in a worker process: it crashes on one file, and is killed on another."""
    job, _ = task
    if job.source.stem == "bad":
        os._exit(3)
    if job.source.stem == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return job.outcome("done", 1, 1.0)


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_matte", lost_on_bad)


def test_the_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["batch", str(folder), "-o", str(out), "--bg", "green", "--input-size", "64", "--jobs", "2"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 1, first.output
    assert "cannot read" in first.output
    report = {Path(row["source"]).name: row for row in json.loads((out / "report.json").read_text())}
    assert {name: row["status"] for name, row in report.items()} == {
        "a.mp4": "done",
        "b.MP4": "done",
        "bad.mov": "failed",
    }
    assert report["a.mp4"]["frames"] == 8
    assert report["a.mp4"]["fps"] > 0
    assert sorted(path.name for path in out.iterdir()) == ["a.mp4", "b.mp4", "report.json"]
    (folder / "bad.mov").unlink()
    before = (out / "a.mp4").stat().st_mtime_ns
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert "was there before" in again.output
    assert (out / "a.mp4").stat().st_mtime_ns == before


@pytest.mark.parametrize(("to", "flags"), [("gif", ""), (".webp", "--bg green"), ("apng", ""), ("GIF", "--bg green")])
def test_animations(to: str, flags: str, folder: Path, tmp_path: Path) -> None:
    """Each video becomes one file, whatever is in its name; what a killed run left is begun again."""
    suffix = f".{to.removeprefix('.')}"
    out = tmp_path / "out"
    out.mkdir()
    (folder / "b.MP4").rename(folder / "100%done_%03d.mp4")
    names = [f"100%done_%03d{suffix}", f"a{suffix}"]
    (out / f"{names[1]}.part").write_bytes(b"left over")
    command = ["batch", str(folder), "-o", str(out), "--to", to, "--input-size", "64", "--jobs", "1", *flags.split()]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1, done.output
    assert sorted(path.name for path in out.iterdir()) == [*names, "report.json"]
    rows = {Path(row["source"]).name: row for row in json.loads((out / "report.json").read_text())}
    assert {name: row["status"] for name, row in rows.items()} == {
        "100%done_%03d.mp4": "done",
        "a.mp4": "done",
        "bad.mov": "failed",
    }
    for name in names:
        with open_source(str(out / name)) as source:
            found = list(source)
        assert len(found) == 8
        assert all(np.all(frame.pixels[..., 3:] == 255) == bool(flags) for frame in found)
        assert found[-1].pts + (found[-1].duration or 0) == pytest.approx(8 / RATE, abs=0.01)
    (folder / "bad.mov").unlink()
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0, again.output
    assert again.output.count("was there before") == 2


def test_an_animation_of_a_damaged_video(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    whole = write_clip(tmp_path / "whole.mkv", 60, sound=False).path.read_bytes()
    (folder / "cut.mkv").write_bytes(whole[: len(whole) // 3])
    done = CliRunner().invoke(app, ["batch", str(folder), "-o", str(out), "--to", "gif", "--input-size", "64"])
    assert done.exit_code == 3, done.output
    (row,) = json.loads((out / "report.json").read_text())
    assert row["status"] == "damaged"
    with open_source(str(out / "cut.gif")) as source:
        assert len(list(source)) == row["frames"] > 0


@pytest.mark.usefixtures("losing")
@pytest.mark.skipif(os.name == "nt", reason="there are no signals there")
def test_a_lost_process_costs_one_file(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a.mp4", folder / "killed.mp4")
    shutil.copy(folder / "a.mp4", folder / "z.mp4")
    outcomes = {Path(one.source).name: one for one in run_batch(plan(folder, tmp_path / "out", ".mp4"), SMALL, 1)}
    assert {name: one.message for name, one in outcomes.items() if one.status == "failed"} == {
        "bad.mov": "its process ended with exit code 3",
        "killed.mp4": "its process was ended by SIGKILL, perhaps for want of memory",
    }
    assert {name for name, one in outcomes.items() if one.status == "done"} == {"a.mp4", "b.MP4", "z.mp4"}


def test_an_error_that_nobody_foresaw_costs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unforeseen(*_: object) -> None:
        raise ZeroDivisionError("of two\nlines")

    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda _: None)
    monkeypatch.setattr("streamseg.decode.open_source", unforeseen)
    jobs._engine.cache_clear()
    outcome = jobs._matte((Job(tmp_path / "a.mp4", tmp_path / "b.mp4"), SMALL))
    jobs._engine.cache_clear()
    assert outcome.status == "failed"
    assert outcome.message.startswith("ZeroDivisionError: of two lines (test_batch.py, line ")
    assert outcome.message.endswith("this is a bug")


def test_no_engine_ends_it_with_one_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["batch", str(folder), "-o", str(out), "--model", "missing.safetensors"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert "missing.safetensors" in done.stderr
    assert json.loads((out / "report.json").read_text()) == []


@pytest.mark.usefixtures("losing")
def test_outcomes_come_while_it_waits_for_more(folder: Path, tmp_path: Path) -> None:
    jobs = plan(folder, tmp_path / "out", ".mp4")[:1]

    def waiting() -> Iterator[Job | None]:
        yield from jobs
        while True:
            yield None

    outcomes = run_batch(waiting(), SMALL, 2)
    assert next(outcomes).status == "done"
    outcomes.close()


class TestPlan:
    def test_videos_in_order(self, folder: Path, tmp_path: Path) -> None:
        jobs = plan(folder, tmp_path / "out", ".webm")
        assert [job.source.name for job in jobs] == ["a.mp4", "b.MP4", "bad.mov"]
        assert [job.out for job in jobs] == [tmp_path / "out" / f"{stem}.webm" for stem in ("a", "b", "bad")]

    def test_what_macos_adds_and_folders_are_passed_over(self, folder: Path, tmp_path: Path) -> None:
        (folder / "._a.mp4").write_bytes(b"\0\5\x16\7")
        (folder / "frames.mov").mkdir()
        assert [job.source.name for job in plan(folder, tmp_path / "out", ".mov")] == ["a.mp4", "b.MP4", "bad.mov"]

    def test_every_suffix_that_ffmpeg_gives_to_videos(self) -> None:
        """Those that it writes with pictures by default, but for formats of stills and of sound."""
        muxers = (
            "3g2 3gp amv apng apv asf avi avs2 avs3 cavsvideo dirac dnxhd dv dvd evc f4v film_cpk flv gif gxf h261 "
            "h263 h264 hevc ismv ivf m4v matroska mjpeg mov mp4 mpeg mpeg1video mpeg2video mpegts mxf nut obu ogv psp "
            "rm roq svcd swf vc1 vc1test vvc webm wtv yuv4mpegpipe"
        )
        stills_sound_and_lists = "avif heic heif mpo m4a m4b isma mka mks wma ra ism"
        written = {suffix for name in muxers.split() for suffix in av.ContainerFormat(name, "w").extensions}
        assert {f".{suffix}" for suffix in written - set(stills_sound_and_lists.split())} <= VIDEO_SUFFIXES

    def test_nothing_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        done = CliRunner().invoke(app, ["batch", str(tmp_path), "-o", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert "holds no videos" in done.stderr

    def test_two_that_would_be_one(self, folder: Path, tmp_path: Path) -> None:
        (folder / "a.mkv").touch()
        with pytest.raises(OutputError, match=r"a\.mp4 and .*a\.mkv would both be written to"):
            plan(folder, tmp_path, ".mov")

    def test_a_video_and_the_matte_of_another(self, folder: Path, tmp_path: Path) -> None:
        """`a.alpha.mp4` is the second file that `a.mp4` is written with."""
        shutil.copy(folder / "a.mp4", folder / "a.alpha.mp4")
        assert len(plan(folder, tmp_path, ".mp4")) == 4
        sidecar = Settings(output=OutputSettings(alpha="sidecar"))
        with pytest.raises(OutputError, match=r"a\.mp4 and .*a\.alpha\.mp4 would both be written to .*a\.alpha\.mp4"):
            plan(folder, tmp_path, ".mp4", sidecar)
        green = sidecar.model_copy(update={"composite": CompositeSettings(bg="green")})
        assert len(plan(folder, tmp_path, ".mp4", green)) == 4

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot read the folder"):
            plan(tmp_path / "none", tmp_path, ".mp4")

    def test_onto_itself(self, folder: Path) -> None:
        with pytest.raises(InputError, match="is the folder that is read"):
            plan(folder, folder, ".mp4")

    @pytest.mark.parametrize(("flags", "name"), [("", "a.mov"), ("--bg green", "a.mp4"), ("--to webm", "a.webm")])
    def test_the_container(
        self, flags: str, name: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        planned: list[Job] = []
        monkeypatch.setattr(
            "streamseg.batch.jobs.run_batch", lambda jobs, settings, workers: planned.extend(jobs) or []
        )
        command = ["batch", str(folder), "-o", str(tmp_path / "out"), *flags.split()]
        assert CliRunner().invoke(app, command).exit_code == 0
        assert planned[0].out == tmp_path / "out" / name

    def test_no_such_container(self, folder: Path, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["batch", str(folder), "-o", str(tmp_path / "out"), "--to", "avi"])
        assert done.exit_code == 2
        assert "give a name that ends in" in done.output

    def test_alpha_beside_an_animation(self, folder: Path, tmp_path: Path) -> None:
        """Refused once, not once a file."""
        command = ["batch", str(folder), "-o", str(tmp_path / "out"), "--to", "webp", "--alpha", "sidecar"]
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 2
        assert done.stderr == "error: x.webp holds alpha itself: leave out --alpha sidecar, or name a video file\n"
        assert not (tmp_path / "out").exists()


def test_files_that_come_later(tmp_path: Path) -> None:
    """Each once, when its size has stayed the same between two looks."""
    pauses = 0

    def pause(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses < 3:
            with (tmp_path / "late.mp4").open("ab") as file:
                file.write(b"more")

    (tmp_path / "early.mp4").touch()
    coming = arrivals(tmp_path, tmp_path / "out", ".mov", pause)
    looks: list[str | None] = []
    while looks.count(None) < 5:
        job = next(coming)
        looks.append(job.source.name if job else None)
    assert looks == [None, "early.mp4", None, None, "late.mp4", None, None]


def test_two_that_would_be_one_while_it_watches(folder: Path, tmp_path: Path) -> None:
    """The second fails, whichever is first by name, and those after it are done."""

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            (folder / "a.avi").touch()
            (folder / "z.mkv").touch()

    pauses: list[float] = []
    coming = arrivals(folder, tmp_path / "out", ".mov", pause)
    looks = [next(coming) for _ in range(20)]
    jobs = [job for job in looks if job]
    assert [job.source.name for job in jobs] == ["a.mp4", "b.MP4", "bad.mov", "a.avi", "z.mkv"]
    assert [job.problem for job in jobs if job.problem] == [
        f"{folder}/a.avi and {folder}/a.mp4 would both be written to {tmp_path}/out/a.mov; rename one of them"
    ]


def test_two_that_would_be_one_before_it_watches(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused at the start only where nobody watches."""
    (folder / "a.avi").touch()
    monkeypatch.setattr("streamseg.batch.jobs.run_batch", lambda *_: iter(()))
    command = ["batch", str(folder), "-o", str(tmp_path / "out")]
    assert CliRunner().invoke(app, command).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--watch"]).exit_code == 0


@pytest.mark.usefixtures("losing")
def test_a_job_with_a_problem_fails_alone(folder: Path, tmp_path: Path) -> None:
    (folder / "a.avi").touch()
    coming = arrivals(folder, tmp_path, ".mp4", lambda _: None)
    outcomes = run_batch((next(coming) for _ in range(8)), SMALL, 1)
    assert {Path(one.source).name: one.status for one in outcomes} == {
        "a.avi": "done",
        "a.mp4": "failed",
        "b.MP4": "done",
        "bad.mov": "failed",
    }


def test_a_link_to_what_would_be_written(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    before = write_clip(out / "a.alpha.mp4", 8).path.read_bytes()
    (folder / "a.mp4").symlink_to(out / "a.alpha.mp4")
    settings = SMALL.model_copy(update={"output": OutputSettings(alpha="sidecar")})
    (outcome,) = run_batch(plan(folder, out, ".mp4", settings), settings, 1)
    assert outcome.status == "failed"
    assert outcome.message == f"the output {out}/a.alpha.mp4 is an input too; give another name"
    assert (out / "a.alpha.mp4").read_bytes() == before


def test_names_that_look_like_markup(tmp_path: Path) -> None:
    """The terminal's library would take them for colours and pictures, or fail on them."""
    screen = StringIO()
    with BatchProgress(tmp_path / "[bold].json", 1, Console(file=screen, width=100)) as progress:
        progress.add(Outcome("in/[red]a[bold]:smile:.mp4", "out/a.mp4", "done", 1, 1.0, "[/i]"))
    assert screen.getvalue().count("[red]a[bold]:smile:.mp4") == 2
    assert "[bold].json" in screen.getvalue()


def test_the_table_and_the_report_are_there_whatever_ended_it(tmp_path: Path) -> None:
    screen = StringIO()
    progress = BatchProgress(tmp_path / "report.json", 3, Console(file=screen, width=100))
    outcomes = [
        Outcome("in/a.mp4", "out/a.mp4", "done", 240, 10.0, "out/a.mp4: 240 frames"),
        Outcome("in/b.mp4", "out/b.mp4", "failed", message="in/b.mp4 is damaged"),
    ]
    with suppress(KeyboardInterrupt), progress:
        for outcome in outcomes:
            progress.add(outcome)
        raise KeyboardInterrupt
    assert progress.failed == 1
    assert "1/3  done     a.mp4: out/a.mp4: 240 frames" in screen.getvalue()
    assert "24.0" in screen.getvalue()
    assert [row["status"] for row in json.loads((tmp_path / "report.json").read_text())] == ["done", "failed"]
