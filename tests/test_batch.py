"""Folders of videos: what is done, what is left alone, and that one bad file costs only itself."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from streamseg import batch
from streamseg.batch import CRASHED, Job, Outcome, Worker, arrivals, plan, run_batch
from streamseg.batch_report import BatchProgress
from streamseg.cli import app
from streamseg.config import InferSettings, Settings
from streamseg.errors import InputError, OutputError
from tests.synthetic import write_clip

SMALL = Settings(infer=InferSettings(input_size=64))
STATUSES = {"a.mp4": "done", "b.MP4": "done", "bad.mov": "failed"}


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


def nothing_to_begin(cores: set[int], settings: Settings) -> None:
    """In place of opening an engine, in a worker process."""


def crash_on_bad(job: Job, settings: Settings) -> Outcome:
    """In place of matting, in a worker process."""
    if job.source.stem == "bad":
        os._exit(3)
    return Outcome(str(job.source), str(job.out), "done", 1, 1.0)


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_begin", nothing_to_begin)
    monkeypatch.setattr(batch, "_matte", crash_on_bad)


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


@pytest.mark.usefixtures("crashing")
def test_a_crash_costs_one_file(folder: Path, tmp_path: Path) -> None:
    outcomes = {Path(one.source).name: one for one in run_batch(plan(folder, tmp_path / "out", ".mp4"), SMALL, 1)}
    assert {name: one.status for name, one in outcomes.items()} == {
        "a.mp4": "done",
        "b.MP4": "done",
        "bad.mov": "failed",
    }
    assert outcomes["bad.mov"].message == CRASHED


@pytest.mark.usefixtures("crashing")
def test_outcomes_come_while_it_waits_for_more(folder: Path, tmp_path: Path) -> None:
    jobs = plan(folder, tmp_path / "out", ".mp4")[:1]

    def waiting() -> Iterator[Job | None]:
        yield from jobs
        while True:
            yield None

    outcomes = run_batch(waiting(), SMALL, 2)
    assert next(outcomes).status == "done"
    outcomes.close()


@pytest.mark.usefixtures("crashing")
def test_a_worker_that_was_ended_begins_nothing(folder: Path, tmp_path: Path) -> None:
    worker = Worker(SMALL, set())
    job = plan(folder, tmp_path / "out", ".mp4")[0]
    assert worker.matte(job).status == "done"
    worker.end()
    assert worker.matte(job).message == "stopped before it began"


class TestPlan:
    def test_videos_in_order(self, folder: Path, tmp_path: Path) -> None:
        jobs = plan(folder, tmp_path / "out", ".webm")
        assert [job.source.name for job in jobs] == ["a.mp4", "b.MP4", "bad.mov"]
        assert [job.out for job in jobs] == [tmp_path / "out" / f"{stem}.webm" for stem in ("a", "b", "bad")]

    def test_two_that_would_be_one(self, folder: Path, tmp_path: Path) -> None:
        (folder / "a.mkv").touch()
        with pytest.raises(OutputError, match=r"a\.mp4 and .*a\.mkv would both be written to"):
            plan(folder, tmp_path, ".mov")

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
        monkeypatch.setattr(batch, "run_batch", lambda jobs, settings, workers: planned.extend(jobs) or [])
        command = ["batch", str(folder), "-o", str(tmp_path / "out"), *flags.split()]
        assert CliRunner().invoke(app, command).exit_code == 0
        assert planned[0].out == tmp_path / "out" / name

    def test_no_such_container(self, folder: Path, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["batch", str(folder), "-o", str(tmp_path / "out"), "--to", "avi"])
        assert done.exit_code == 2
        assert "give a name that ends in" in done.output


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
    assert "1/3  done    a.mp4: out/a.mp4: 240 frames" in screen.getvalue()
    assert "24.0" in screen.getvalue()
    assert [row["status"] for row in json.loads((tmp_path / "report.json").read_text())] == ["done", "failed"]
