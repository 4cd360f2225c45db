"""Plain temporal filters for alpha, pixel by pixel: exponential moving average and 1 € filter."""

from __future__ import annotations

import math
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from streamseg.settings import SmoothSettings

Hertz = TypeVar("Hertz", float, Tensor)

FILTER_WARMUP_SECONDS = 3
"""Time after which a filter's start no longer shows: less than 1/255 is left of it at the default settings."""


LEAST_SECONDS = 1.2
"""Time in which a part that the gate closes is gone, and a subject that is not seen forgotten, and some frames more."""

TIME_CONSTANTS_TO_SETTLE = 9
"""Of a filter, after which less than 1/255 of what was before is left, even where the new mattes are the least certain
ones and weigh a tenth."""


def settling_seconds(settings: SmoothSettings) -> float:
    """Return the time after which what a filter saw before no longer shows; gates have closed by then, too."""
    time_constants = {
        "motion": settings.motion_seconds,
        "ema": settings.ema_seconds,
        "one-euro": 1 / (2 * math.pi * min(settings.min_cutoff_hz, OneEuroFilter.DERIVATIVE_CUTOFF_HZ)),
    }
    return max(LEAST_SECONDS, TIME_CONSTANTS_TO_SETTLE * time_constants.get(settings.smooth, 0.0))


class Filter(Protocol):
    """Temporal filter over the mattes of one stream."""

    def step(self, alpha: Tensor, elapsed_seconds: float) -> Tensor:
        """Filter the next matte.

        Args:
            alpha: `(1, h, w)` in [0, 1].
            elapsed_seconds: time since the last matte.

        Returns:
            Smoothed alpha of the same shape.
        """
        ...

    def reset(self) -> None:
        """Forget all mattes: the next one passes unchanged."""
        ...


class ExponentialFilter:
    """Exponential moving average with a time constant, so that it does not depend on the frame rate."""

    def __init__(self, time_constant_seconds: float) -> None:
        self._time_constant = time_constant_seconds
        self._last: Tensor | None = None

    def step(self, alpha: Tensor, elapsed_seconds: float) -> Tensor:
        """See `Filter`."""
        if self._last is not None:
            alpha = torch.lerp(_resized(self._last, alpha), alpha, 1 - math.exp(-elapsed_seconds / self._time_constant))
        self._last = alpha
        return alpha

    def reset(self) -> None:
        """See `Filter`."""
        self._last = None


class OneEuroFilter:
    """Low-pass filter on every pixel whose cut-off frequency rises with the pixel's speed.

    Source: Casiez, Roussel and Vogel, "1 € Filter", CHI 2012, algorithm 1.
    """

    DERIVATIVE_CUTOFF_HZ = 1.0

    def __init__(self, min_cutoff_hz: float, beta: float) -> None:
        self._min_cutoff_hz, self._beta = min_cutoff_hz, beta
        self._last: Tensor | None = None
        self._speed: Tensor | None = None

    def step(self, alpha: Tensor, elapsed_seconds: float) -> Tensor:
        """See `Filter`."""
        if self._last is None or self._speed is None:
            self._last, self._speed = alpha, torch.zeros_like(alpha)
            return alpha
        last = _resized(self._last, alpha)
        speed = (alpha - last) / elapsed_seconds
        weight = _weight(self.DERIVATIVE_CUTOFF_HZ, elapsed_seconds)
        self._speed = torch.lerp(_resized(self._speed, alpha), speed, weight)
        cutoff_hz = self._min_cutoff_hz + self._beta * self._speed.abs()
        self._last = torch.lerp(last, alpha, _weight(cutoff_hz, elapsed_seconds))
        return self._last

    def reset(self) -> None:
        """See `Filter`."""
        self._last = self._speed = None


def _resized(state: Tensor, alpha: Tensor) -> Tensor:
    """Return a filter's state at the size of the next matte, which may differ in a live run."""
    if state.shape == alpha.shape:
        return state
    return functional.interpolate(state[None], alpha.shape[-2:], mode="bilinear")[0]


def open_filter(settings: SmoothSettings) -> Filter | None:
    """Return the plain filter that the settings name, or None for `none`, and for `motion`: see `MotionFilter`."""
    if settings.smooth == "ema":
        return ExponentialFilter(settings.ema_seconds)
    if settings.smooth == "one-euro":
        return OneEuroFilter(settings.min_cutoff_hz, settings.beta)
    return None


def _weight(cutoff_hz: Hertz, elapsed_seconds: float) -> Hertz:
    """Return the new value's weight in a first-order low-pass filter (equation 5 of the 1 € paper's appendix)."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed_seconds))
