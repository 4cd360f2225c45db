from __future__ import annotations

from itertools import islice

import pytest

from streamseg.errors import ConfigError, DataError
from train.config import Config
from train.schedule import Plan, batches

PLAN = Plan(images=10, batch_size=4, total_steps=20, warmup_steps=4, evaluate_every_steps=6)


def test_the_published_recipe_in_steps() -> None:
    plan = Plan.of(Config(name="x"), images=10_553)
    assert plan.steps_per_epoch == 659
    assert (plan.total_steps, plan.warmup_steps, plan.evaluate_every_steps) == (237_240, 1_318, 6_590)


def test_warm_up_and_cosine_end_points() -> None:
    rates = [PLAN.learning_rate(PLAN.progress(step), peak=2.0) for step in range(21)]
    assert rates[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates[12] == pytest.approx(1.0)
    assert rates[20] == 0.0
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_a_run_without_warm_up_starts_at_the_peak() -> None:
    plan = Plan(images=4, batch_size=4, total_steps=2, warmup_steps=0, evaluate_every_steps=1)
    assert plan.learning_rate(0, peak=1.0) == 1.0


def test_a_constant_rate_stays_at_the_peak() -> None:
    config = Config.model_validate({"name": "x", "optim": {"schedule": "constant", "epochs": 2, "warmup_epochs": 1}})
    plan = Plan.of(config, images=160)
    assert [plan.learning_rate(plan.progress(step), peak=1.0) for step in (0, 9, 10, 19)] == [0.1, 1.0, 1.0, 1.0]


def test_evaluations_include_the_last_step() -> None:
    assert [step for step in range(1, 21) if PLAN.evaluates_after(step)] == [6, 12, 18, 20]


def test_each_pass_draws_its_own_order_without_repeats() -> None:
    first, second, third = islice(batches(PLAN, seed=0, first_step=0), 3)
    indices = [key.pair for key in first + second]
    assert len(set(indices)) == 8
    assert {key.step for key in third} == {2}
    assert [key.pair for key in first] != [key.pair for key in third]


def test_a_resumed_run_sees_the_same_batches() -> None:
    assert list(batches(PLAN, seed=0, first_step=0))[7:] == list(batches(PLAN, seed=0, first_step=7))
    assert next(batches(PLAN, seed=1, first_step=0)) != next(batches(PLAN, seed=0, first_step=0))


def test_the_order_of_the_images_is_fixed_for_good() -> None:
    """Checkpoints of runs in progress count on it."""
    assert next(batches(PLAN, seed=0, first_step=0)) == [(0, pair, 0.0) for pair in (4, 6, 2, 7)]


def test_a_set_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(DataError, match="3 training images do not fill one batch of 16"):
        Plan.of(Config(name="x"), images=3)


@pytest.mark.parametrize(("batch_size", "accumulate", "ranks"), [(4, 1, 3), (4, 2, 4), (6, 3, 4)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size: int, accumulate: int, ranks: int) -> None:
    optim = {"batch_size": batch_size, "accumulate": accumulate}
    with pytest.raises(ConfigError, match=f"batch_size is {batch_size}; .* need a multiple of {ranks * accumulate}"):
        Plan.of(Config.model_validate({"name": "x", "optim": optim}), images=100, ranks=ranks)
