from __future__ import annotations

import io
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from train.charts import CURVES, EVALUATIONS, STEPS, read_records
from train.journal import LOG, Journal, Silence, evaluation_line

RECORD = {"step": 20, "epoch": 1.5, "loss": 1.1108, "lr": 0.00098, "images_seen": 160, "mae": 0.1112, "max_f": 0.7293}
RECORD |= {"iou": 0.5, "haze": 0.0312}


def journal(run: Path, terminal: bool = False) -> tuple[Journal, io.StringIO]:
    run.mkdir(exist_ok=True)
    shown = io.StringIO()
    return Journal(run, 40, Console(file=shown, force_terminal=terminal, width=120)), shown


def filled(run: Path) -> None:
    """A run that was killed after step 30."""
    with journal(run)[0] as kept:
        kept.resume_at(0)
        for step in (10, 20):
            kept.step(step, 2.0, 1e-3, images_per_second=9.0, waiting=0.01)
        kept.evaluation(RECORD)
        kept.step(30, 1.5, 1e-3, 9.0, 0.01)
        kept.evaluation(RECORD | {"step": 30})


def test_the_bar_takes_the_steps_that_are_expected(tmp_path: Path) -> None:
    kept = Journal(tmp_path, None, Console(file=io.StringIO()))
    assert kept.bar.tasks[0].total is None
    kept.expect(70)
    assert kept.bar.tasks[0].total == 70


def test_everything_is_told_and_kept(tmp_path: Path) -> None:
    kept, shown = journal(tmp_path)
    with kept:
        kept.resume_at(0)
        kept.line("a [line] of text")
        kept.step(10, 2.0, 1e-3, images_per_second=9.0, waiting=0.01)
        kept.evaluation(RECORD)
    assert shown.getvalue() == "a [line] of text\n"
    assert (tmp_path / LOG).read_text() == "a [line] of text\n"
    step = {"step": 10, "loss": 2.0, "lr": 1e-3, "images_per_second": 9.0, "waiting": 0.01}
    assert read_records(tmp_path / STEPS) == [step]
    assert read_records(tmp_path / EVALUATIONS) == [RECORD]
    assert cv2.imread(str(tmp_path / CURVES)) is not None
    assert any((tmp_path / "tensorboard").iterdir())


def test_tensorboard_reads_the_same_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    filled(tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(10, 2.0), (20, 2.0), (30, 1.5)]
    assert events.Scalars("evaluation/max_f")[0].value == pytest.approx(0.7293)


def test_a_bar_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    kept, shown = journal(tmp_path, terminal=True)
    with kept:
        kept.resume_at(0)
        kept.step(10, 2.0, 1e-3, images_per_second=9.0, waiting=0.01)
        kept.bar.refresh()
    assert "10/40" in shown.getvalue()
    assert "9.0 images/s" in shown.getvalue()


def test_resuming_forgets_what_is_done_again(tmp_path: Path) -> None:
    filled(tmp_path)
    with (tmp_path / STEPS).open("a") as file:
        file.write('{"step": 4')  # cut off by a power failure
    with journal(tmp_path)[0] as kept:
        kept.resume_at(20)
    assert [record["step"] for record in read_records(tmp_path / STEPS)] == [10, 20]
    assert [record["step"] for record in read_records(tmp_path / EVALUATIONS)] == [20]


def test_what_cannot_be_written_is_said_once_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, _ = journal(tmp_path)
    (tmp_path / LOG).mkdir()
    (tmp_path / STEPS).mkdir()
    with kept:
        kept.line("one")
        kept.step(10, 2.0, 1e-3, 9.0, 0.01)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 1
    assert warnings[0].endswith("training goes on without it")


def test_other_processes_keep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Silence() as silent:
        silent.resume_at(3)
        silent.line("text")
        silent.step(10, 2.0, 1e-3, 9.0, 0.01)
        silent.evaluation(RECORD)
    assert not any(tmp_path.iterdir())


def test_an_evaluation_is_one_line_as_in_the_published_log() -> None:
    assert evaluation_line(RECORD) == (
        "epoch   1.50  step     20  loss 1.1108  lr 0.000980  MAE 0.1112  maxF1 0.7293  IoU 0.5000  haze 0.0312"
    )


def test_a_figure_that_there_is_none_of_is_null(tmp_path: Path) -> None:
    kept, _ = journal(tmp_path)
    with kept:
        kept.resume_at(0)
        kept.evaluation(RECORD | {"haze": math.nan})
    assert "NaN" not in (tmp_path / EVALUATIONS).read_text()
    assert read_records(tmp_path / EVALUATIONS) == [RECORD | {"haze": None}]
    assert evaluation_line(RECORD | {"haze": math.nan}).endswith("haze -")


def test_curves_are_drawn_from_the_records(tmp_path: Path) -> None:
    filled(tmp_path)
    picture = cv2.imread(str(tmp_path / CURVES))
    colours = np.unique(picture.reshape(-1, 3), axis=0)
    assert len(colours) > 50  # lines with smooth edges, not an empty page
    assert json.loads((tmp_path / EVALUATIONS).read_text().splitlines()[0]) == RECORD


def test_records_of_an_older_trainer_do_not_stop_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / EVALUATIONS).write_text('{"step": 10, "max_f": 0.5}\n')
    kept, _ = journal(tmp_path)
    with kept:
        kept.resume_at(10)
        kept.evaluation(RECORD)
    assert "line 1 has no images_seen, loss, mae" in capsys.readouterr().err
    assert [record["step"] for record in read_records(tmp_path / EVALUATIONS)] == [10, 20]
