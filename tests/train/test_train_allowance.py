"""Runs that are fitted into a time, by a clock that moves only when a test says so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch

from streamseg.errors import ConfigError
from train import loop
from train.allowance import CLOSING_MARGIN, TRAINED_BETWEEN, Allowance, Forecast, steps_to_come
from train.checkpoint import BEST, LAST, load_checkpoint
from train.config import Augment, Config, Phase
from train.distributed import Ranks
from train.learner import Learner
from train.loader import Sample, TrainingSet, training_batches
from train.loop import Trainer
from train.metrics import Scores, summarise

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]

TWO_SIZES = Augment(
    phases=(Phase(until=0.5, resize_px=40, crop_px=32), Phase(until=1.0, resize_px=80, crop_px=64)),
)
EVALUATION_SECONDS = 8.0


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """A step takes a second for crops of 32 px and four for 64 px, and teaches nothing; an evaluation takes eight."""
    clock, summary = FakeClock(), summarise

    def step(self: Learner, parts: Sequence[Sample], learning_rate: float) -> torch.Tensor:
        clock.seconds += (parts[0][0].shape[-1] / 32) ** 2
        return torch.tensor(0.5)

    def scores(records: Any) -> Scores:
        clock.seconds += EVALUATION_SECONDS
        return summary(records)

    monkeypatch.setattr(Learner, "step", step)
    monkeypatch.setattr(loop, "summarise", scores)
    return clock


@pytest.fixture
def config(small: MakeConfig) -> Config:
    return small(epochs=100).model_copy(update={"augment": TWO_SIZES})


def test_progress_is_the_time_for_training_that_is_gone() -> None:
    clock = FakeClock()
    allowance = Allowance(10, clock)
    clock.seconds += 50  # the data are read
    allowance.evaluated(40 / CLOSING_MARGIN)
    assert allowance.progress() == 0
    clock.seconds += 255
    assert allowance.progress() == 0.5
    allowance.evaluated(20)  # not as long as the one before
    assert allowance.progress() == 0.5
    clock.seconds += 255
    assert allowance.progress() == 1
    clock.seconds += 100
    assert allowance.progress() == 1


def test_a_second_sitting_has_the_time_that_the_first_left() -> None:
    clock = FakeClock()
    first = Allowance(10, clock)
    first.progress()
    clock.seconds += 240
    state = first.state()
    clock.seconds += 9999
    second = Allowance(10, clock)
    second.resume(state)
    assert second.progress() == pytest.approx(0.4)
    clock.seconds += 180
    assert second.progress() == pytest.approx(0.7)
    clock.seconds += 180
    assert second.progress() == 1


def test_what_is_saved_before_training_begins_does_not_begin_it() -> None:
    clock = FakeClock()
    allowance = Allowance(1, clock)
    assert allowance.state()["progress"] == 0
    clock.seconds += 30
    assert allowance.progress() == 0


def test_no_time_left_is_the_end() -> None:
    clock = FakeClock()
    allowance = Allowance(1, clock)
    clock.seconds += 90
    assert allowance.progress() == 1


def test_evaluations_leave_most_of_the_time_for_training() -> None:
    clock = FakeClock()
    allowance = Allowance(4, clock)
    clock.seconds += 5
    allowance.evaluated(4)  # so that 5 s are kept for the last one
    clock.seconds += TRAINED_BETWEEN * 5 - 1
    assert not allowance.may_evaluate()
    clock.seconds += 1
    assert allowance.may_evaluate()
    clock.seconds = 1000 + 235 - TRAINED_BETWEEN * 5
    assert allowance.may_evaluate()
    clock.seconds += 1
    assert not allowance.may_evaluate()


@pytest.mark.parametrize(("progress", "steps"), [(0.0, 50 + 12.5), (0.25, 25 + 12.5), (0.75, 25)])
def test_a_step_is_taken_to_last_as_long_as_its_pixels(progress: float, steps: float) -> None:
    assert steps_to_come(TWO_SIZES, progress, per_run=100) == pytest.approx(steps)


def test_the_pace_is_told_once_in_a_phase_and_not_of_its_first_steps() -> None:
    clock = FakeClock()
    forecast = Forecast(TWO_SIZES, 8, clock)

    def after(step: int, seconds: float, progress: float) -> str:
        clock.seconds += seconds
        return str(forecast.after(step, progress) or "")

    assert after(10, 60, 0.0) == ""  # kernels are chosen
    assert after(20, 20, 0.05) == ""
    assert after(30, 20, 0.1) == "0.50 steps/s at 32 px: about 135 steps in the time given"
    assert after(40, 100, 0.3) == ""
    assert after(50, 20, 0.5) == ""
    forecast.interrupted()
    assert after(60, 60, 0.6) == ""
    assert after(70, 40, 0.8) == "0.25 steps/s at 64 px: about 80 steps in the time given"
    assert after(80, 100, 0.9) == ""


def test_a_run_ends_with_its_time_judged_and_at_a_rate_of_zero(
    config: Config, tmp_path: Path, clock: FakeClock
) -> None:
    started = clock.seconds
    trainer = Trainer(config, tmp_path / "run", CPU, fit_minutes=4, clock=clock)
    assert trainer.fit()
    spent = clock.seconds - started
    assert 240 - CLOSING_MARGIN * EVALUATION_SECONDS <= spent <= 240
    (record,) = (json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines())
    assert (record["step"], record["lr"]) == (trainer.step, 0)
    rates = [json.loads(line)["lr"] for line in (tmp_path / "run" / "steps.jsonl").read_text().splitlines()]
    assert rates[0] > 0.9e-3
    assert rates == sorted(rates, reverse=True)
    training = 240 - (1 + CLOSING_MARGIN) * EVALUATION_SECONDS
    assert trainer.step == pytest.approx(training / 2 + training / 2 / 4, abs=2)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "small: 8 images, 4 minutes of 4, " in log
    assert "start  MAE" in log
    told = re.findall(r"(\S+) steps/s at (\d+) px: about (\d+) steps", log)
    assert [(pace, crop) for pace, crop, _ in told] == [("1.00", "32"), ("0.25", "64")]
    assert [int(steps) for _, _, steps in told] == pytest.approx([trainer.step] * 2, abs=3)
    assert f"step {trainer.step}, 100% of 4 minutes" in log
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert best["step"] == 0  # nothing was learned, so that the start is as good


def test_frequent_evaluations_are_spread(config: Config, tmp_path: Path, clock: FakeClock) -> None:
    often = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"every_epochs": 0.5})})
    Trainer(often, tmp_path / "run", CPU, fit_minutes=4, clock=clock).fit()
    assert len((tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()) == 2


def test_a_time_without_a_step_is_told(config: Config, tmp_path: Path, clock: FakeClock) -> None:
    trainer = Trainer(config, tmp_path / "run", CPU, fit_minutes=0.2, clock=clock)
    clock.seconds += 10
    with pytest.raises(ConfigError, match=r"reading the data took all of --fit-minutes 0\.2: give it more"):
        trainer.fit()


def test_a_fitted_run_goes_on_where_it_was(config: Config, tmp_path: Path, clock: FakeClock) -> None:
    first = Trainer(config, tmp_path / "run", CPU, fit_minutes=4, clock=clock)
    assert not first.fit(max_minutes=1)
    reached = first.progress(0)
    assert first.place == f"step {first.step}, {reached:.0%} of 4 minutes"
    spent = load_checkpoint(tmp_path / "run" / LAST)["allowance"]["spent_seconds"]
    clock.seconds += 3600
    started = clock.seconds
    second = Trainer(config, tmp_path / "run", CPU, fit_minutes=4, clock=clock)
    second.resume()
    assert second.progress(0) == pytest.approx(reached, abs=0.02)
    assert second.fit()
    assert 240 - CLOSING_MARGIN * EVALUATION_SECONDS <= clock.seconds - started + spent <= 240
    content = (tmp_path / "run" / LAST).read_bytes()
    third = Trainer(config, tmp_path / "run", CPU, fit_minutes=4, clock=clock)
    third.resume()
    assert third.fit()
    assert (tmp_path / "run" / LAST).read_bytes() == content


def test_steps_and_minutes_are_not_mixed(config: Config, tmp_path: Path, clock: FakeClock) -> None:
    for name, minutes, others in (("steps", None, 4.0), ("minutes", 4.0, None)):
        Trainer(config, tmp_path / name, CPU, fit_minutes=minutes, clock=clock).fit(max_minutes=0)
        told = "without" if minutes is None else "with"
        with pytest.raises(ConfigError, match=f"was begun {told} --fit-minutes: go on likewise, or choose another"):
            Trainer(config, tmp_path / name, CPU, fit_minutes=others, clock=clock).resume()


def test_several_processes_are_refused(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="follows one process's clock, but there are 2"):
        Trainer(config, tmp_path / "run", CPU, Ranks(0, 2), fit_minutes=4)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_crops_follow_the_progress_and_the_images_the_steps(config: Config, on_gpu: bool, tmp_path: Path) -> None:
    config = config.model_copy(update={"data": config.data.model_copy(update={"on_gpu": on_gpu})})
    data: TrainingSet = Trainer(config, tmp_path / "run", CPU).data
    times = iter((0.0, 0.49, 0.51, 0.7, inf))
    found = list(training_batches(data, 0, CPU, progress=lambda _: next(times)))
    assert [images.shape[-1] for images, _ in found] == [32, 32, 64, 64]
    by_steps = training_batches(data, 0, CPU)
    assert torch.equal(found[0][0], next(by_steps)[0])
