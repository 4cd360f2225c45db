"""Station 3: mattes are steadied in time and start afresh at a scene cut."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.config import SmoothSettings
from streamseg.frames import Batch, Frame, Pixels
from streamseg.planes import RGB_OF_BT709, Planes

Hertz = TypeVar("Hertz", float, Tensor)

CUT_THRESHOLD = 30.0
"""Mean absolute change of the thumbnail, in levels of 255, from which on it is another scene."""

THUMBNAIL_SIDE = 12
"""Sides of the thumbnail for finding cuts: coarse, so that a pan changes little of it."""

POINTS_PER_SIDE = 96
"""Points of the frame along each side that the thumbnail averages, so that noise does not show in it."""


SETTLED_SECONDS = 3
"""After this, a filter does not show where it began: less than a level of 255 is left of it at our settings."""


class Filter(Protocol):
    """A temporal filter over the mattes of one stream."""

    def step(self, alpha: Tensor, elapsed_seconds: float) -> Tensor:
        """Alpha `(1, h, w)` and the time since the last one -> smoothed alpha."""
        ...

    def reset(self) -> None:
        """Forgets everything: the next matte passes unchanged."""
        ...


class ExponentialFilter:
    """An exponential moving average with a time constant, so that the frame rate does not matter."""

    def __init__(self, time_constant_seconds: float) -> None:
        self._time_constant = time_constant_seconds
        self._last: Tensor | None = None

    def step(self, alpha: Tensor, elapsed_seconds: float) -> Tensor:
        """See `Filter`."""
        if self._last is not None:
            alpha = torch.lerp(self._last, alpha, 1 - math.exp(-elapsed_seconds / self._time_constant))
        self._last = alpha
        return alpha

    def reset(self) -> None:
        """See `Filter`."""
        self._last = None


class OneEuroFilter:
    """A low-pass filter on every pixel that opens up with the pixel's speed.

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
        speed = (alpha - self._last) / elapsed_seconds
        share = _share(self.DERIVATIVE_CUTOFF_HZ, elapsed_seconds)
        self._speed = torch.lerp(self._speed, speed, share)
        cutoff_hz = self._min_cutoff_hz + self._beta * self._speed.abs()
        self._last = torch.lerp(self._last, alpha, _share(cutoff_hz, elapsed_seconds))
        return self._last

    def reset(self) -> None:
        """See `Filter`."""
        self._last = self._speed = None


class CutDetector:
    """Tells a scene cut from a thumbnail of the picture."""

    def __init__(self) -> None:
        self._last: cv2.typing.MatLike | None = None

    def is_cut(self, picture: Pixels | Planes) -> bool:
        """Whether it shows another scene than the picture before."""
        thumbnail = _thumbnail(picture)
        last, self._last = self._last, thumbnail
        return last is None or float(cv2.absdiff(thumbnail, last).mean()) > CUT_THRESHOLD


def _thumbnail(picture: Pixels | Planes) -> cv2.typing.MatLike:
    """RGB of a few coarse squares, up to a constant."""
    if isinstance(picture, np.ndarray):
        return _coarse(picture)
    return np.dstack([_coarse(values) for values in picture.values]) @ RGB_OF_BT709


def _coarse(values: Pixels) -> cv2.typing.MatLike:
    step_y, step_x = (max(1, length // POINTS_PER_SIDE) for length in values.shape[:2])
    points = values[::step_y, ::step_x].astype(np.float32)
    return cv2.resize(points, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)


class Steadied:
    """Steadies the mattes of one stream, wherever they lie; without a filter they stay as they are."""

    def __init__(self, settings: SmoothSettings) -> None:
        self._temporal, self._cuts = open_filter(settings), CutDetector()
        self._last: Frame | None = None

    def step(self, frame: Frame, alpha: Tensor) -> Tensor:
        """The matte `(1, h, w)` of the next frame -> the same, steadied."""
        if self._temporal is None:
            return alpha
        elapsed_seconds = float(frame.time - self._last.time) if self._last else 0.0
        if self._cuts.is_cut(frame.picture) or elapsed_seconds <= 0:
            self._temporal.reset()
        self._last = frame
        return self._temporal.step(alpha, elapsed_seconds)


def smooth(batches: Iterable[Batch], settings: SmoothSettings) -> Iterator[Batch]:
    """Steadies the mattes in the order of the frames; the result does not depend on the batches' size."""
    steadied = Steadied(settings)
    for batch in batches:
        pairs = zip(batch.frames, batch.alpha, strict=True)
        yield replace(batch, alpha=torch.stack([steadied.step(frame, alpha) for frame, alpha in pairs]))


def open_filter(settings: SmoothSettings) -> Filter | None:
    """The filter that the settings name, or None for none."""
    if settings.smooth == "ema":
        return ExponentialFilter(settings.ema_seconds)
    if settings.smooth == "one-euro":
        return OneEuroFilter(settings.min_cutoff_hz, settings.beta)
    return None


def _share(cutoff_hz: Hertz, elapsed_seconds: float) -> Hertz:
    """Weight of the new value in a first-order low-pass filter (equation 5 of the 1 € paper's appendix)."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed_seconds))
