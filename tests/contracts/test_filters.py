"""What every temporal filter promises, asked of each one in the same words."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from streamseg.settings import SmoothSettings
from streamseg.smooth.filters import FILTER_WARMUP_SECONDS, Filter, open_filter

FRAME_SECONDS = 1 / 30


Smooth = Literal["one-euro", "ema"]


def opened(name: Smooth) -> Filter:
    temporal = open_filter(SmoothSettings(smooth=name))
    assert temporal
    return temporal


@pytest.fixture(params=["one-euro", "ema"])
def name(request: pytest.FixtureRequest) -> Smooth:
    return request.param


@pytest.fixture
def temporal(name: Smooth) -> Filter:
    return opened(name)


def noise(seed: int) -> torch.Tensor:
    return torch.rand(1, 24, 32, generator=torch.Generator().manual_seed(seed))


def test_the_first_matte_passes_unchanged(temporal: Filter) -> None:
    assert torch.equal(temporal.step(noise(0), 0.0), noise(0))


def test_a_matte_that_stands_still_stays(temporal: Filter) -> None:
    for _ in range(5):
        found = temporal.step(noise(0), FRAME_SECONDS)
    assert torch.allclose(found, noise(0), atol=1e-6)


def test_the_result_lies_between_the_last_and_the_new(temporal: Filter) -> None:
    last = temporal.step(noise(0), 0.0).clone()
    for seed in range(1, 6):
        new = noise(seed)
        found = temporal.step(new, FRAME_SECONDS)
        low, high = torch.minimum(last, new) - 1e-6, torch.maximum(last, new) + 1e-6
        assert ((found >= low) & (found <= high)).all()
        last = found.clone()


def test_it_steadies_noise(temporal: Filter) -> None:
    before = [0.5 + 0.02 * (noise(seed) - 0.5) for seed in range(30)]
    after = [temporal.step(matte, FRAME_SECONDS).clone() for matte in before]
    assert torch.stack(after[10:]).std(0).mean() < 0.8 * torch.stack(before[10:]).std(0).mean()


def test_after_a_reset_it_knows_nothing(temporal: Filter) -> None:
    temporal.step(noise(0), 0.0)
    temporal.reset()
    assert torch.equal(temporal.step(noise(1), FRAME_SECONDS), noise(1))


def test_what_came_in_is_left_alone(temporal: Filter) -> None:
    mattes = [noise(seed) for seed in range(3)]
    for matte in mattes:
        temporal.step(matte, FRAME_SECONDS)
    assert all(torch.equal(matte, noise(seed)) for seed, matte in enumerate(mattes))


def test_a_beginning_does_not_show_after_its_warm_up(name: Smooth, temporal: Filter) -> None:
    """A run that is resumed so long before goes on as if it had never stopped."""
    other = opened(name)
    temporal.step(torch.ones(1, 24, 32), 0.0)
    other.step(torch.zeros(1, 24, 32), 0.0)
    for seed in range(round(FILTER_WARMUP_SECONDS / FRAME_SECONDS)):
        matte = 0.5 + 0.1 * noise(seed)
        one, two = temporal.step(matte, FRAME_SECONDS), other.step(matte, FRAME_SECONDS)
    assert (one - two).abs().max() < 1 / 255
