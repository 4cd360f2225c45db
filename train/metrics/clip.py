"""The figures of a clip, added up frame by frame: nothing of a frame is kept but what the next one needs.

    IoU          overlap of alpha >= .5 with the truth's a frame
    MAD, MSE     mean |e| and mean e^2 a frame, e = alpha - truth                                        x 1000
    Grad, Conn   sums a frame, see `train.metrics.matting`                                               / 1000
    dtSSD        a pair of frames, see `train.metrics.temporal`                                          x 100
    MESSDdt      a pair of frames, along the motion                                                      x 1000
    colour       mean |difference| of red, green and blue in [0, 1] a frame                              x 1000

Each is the mean over the frames, or pairs of frames, of the clip; over all pixels, and in the unknown band alone.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from train.data import Pixels
from train.metrics import intersection_over_union
from train.metrics.fmeasure import Alpha, Truth
from train.metrics.matting import connectivity_error, gradient_error, unknown_band
from train.metrics.temporal import Flow, motion_error

TRAIL_FRAMES = 4
"""How many frames back a trail is looked for."""

TRAIL_ALPHA = 0.1
"""Mean alpha that counts as a trail where the subject has been and is no more."""

WHOLE_SHARE = 0.95
"""Share of the final amount of alpha from which on a person counts as there, in the truth and in the matte."""


class Means:
    """Means of named values that come one at a time; NaN is not counted."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, value: float) -> None:
        """Count a value."""
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = (total, count) if math.isnan(value) else (total + value, count + 1)

    def values(self) -> dict[str, float]:
        """Return the means by name; NaN where nothing was counted."""
        return {name: total / count if count else math.nan for name, (total, count) in self._sums.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Last:
    """What the next frame needs of this one."""

    error: Alpha
    band: Truth


class MatteMeter:
    """Judges a clip's mattes against the true ones."""

    def __init__(self, binary: bool = False) -> None:
        """Take whether the truth is a mask without soft edges, for which Grad says nothing and is left out."""
        self._means, self._binary = Means(), binary
        self._last: _Last | None = None

    def add(self, alpha: Pixels, truth: Pixels, flow: Flow | None) -> None:
        """Judge the next frame.

        Args:
            alpha: the matte `(H, W)` uint8.
            truth: the true one, of the same size.
            flow: motion from the frame before to this one; None for the first frame, or where there is none.

        Raises:
            ValueError: the two have different sizes.
        """
        if alpha.shape != truth.shape:
            raise ValueError(f"the matte is {alpha.shape} and the truth {truth.shape}; they must have one size")
        values, true_values = (part.astype(np.float32) / np.float32(255) for part in (alpha, truth))
        error, band = values - true_values, unknown_band(truth)
        self._means.add("all.iou", intersection_over_union(alpha >= 128, truth >= 128))
        self._add_mean("mad", np.abs(error), band)
        self._add_mean("mse", error**2, band)
        self._add_sum("conn", connectivity_error(values, true_values), band)
        if not self._binary:
            self._add_sum("grad", gradient_error(values, true_values), band)
        if self._last:
            self._add_pair(self._last, error, band, flow)
        self._last = _Last(error, band)

    def scores(self) -> dict[str, float]:
        """Return the figures as `all.mad`, `band.grad` and so on; NaN where the clip has none."""
        return self._means.values()

    def _add_mean(self, name: str, errors: Alpha, band: Truth) -> None:
        self._means.add(f"all.{name}", 1e3 * _mean(errors))
        self._means.add(f"band.{name}", 1e3 * _mean(errors[band]))

    def _add_sum(self, name: str, errors: Alpha, band: Truth) -> None:
        self._means.add(f"all.{name}", float(errors.sum(dtype=np.float64)) / 1e3)
        self._means.add(f"band.{name}", float(errors[band].sum(dtype=np.float64)) / 1e3 if band.any() else math.nan)

    def _add_pair(self, last: _Last, error: Alpha, band: Truth, flow: Flow | None) -> None:
        """Judge what changed since the frame before; the band of a pair is where either frame has one."""
        change = (error - last.error) ** 2
        self._means.add("all.dtssd", 1e2 * math.sqrt(_mean(change)))
        self._means.add("band.dtssd", 1e2 * math.sqrt(_mean(change[band | last.band])))
        if flow is not None:
            errors, inside = motion_error(last.error, error, flow)
            self._means.add("all.messddt", 1e3 * _mean(errors[inside]))
            self._means.add("band.messddt", 1e3 * _mean(errors[inside & last.band]))


class ColourMeter:
    """Judges colours against the true ones in the unknown band."""

    def __init__(self) -> None:
        self._means = Means()

    def add(self, name: str, colour: Pixels, truth: Pixels, where: Truth) -> None:
        """Judge the next frame's colours.

        Args:
            name: of the figure.
            colour: RGB `(H, W, 3)` uint8.
            truth: the true one.
            where: pixels that count, `(H, W)`.
        """
        differences = np.abs(colour[where].astype(np.float32) - truth[where].astype(np.float32)) / 255
        self._means.add(name, 1e3 * _mean(differences))

    def scores(self) -> dict[str, float]:
        """Return the figures by name."""
        return self._means.values()


class TrailMeter:
    """Judges what a fast subject leaves behind: alpha where it was some frames ago and has not been since."""

    def __init__(self) -> None:
        self._means = Means()
        self._truths: deque[Pixels] = deque(maxlen=TRAIL_FRAMES)

    def add(self, alpha: Pixels, truth: Pixels) -> None:
        """Judge the next frame: the matte and the truth `(H, W)`, uint8."""
        free = ~unknown_band(truth) & (truth == 0)
        for age, earlier in enumerate(reversed(self._truths), start=1):
            left = free & (earlier >= 128)
            self._means.add(f"trail_{age}", _mean(alpha[left]) / 255)
            free &= earlier == 0
        self._truths.append(truth)

    def scores(self) -> dict[str, float]:
        """Return `trail_1` ... (mean alpha at places left so many frames ago) and `trail_frames`.

        The latter is the number of frames for which mean alpha stays above `TRAIL_ALPHA`.
        """
        means = self._means.values()
        trails = [means.get(f"trail_{age}", math.nan) for age in range(1, TRAIL_FRAMES + 1)]
        ended = (age for age, alpha in enumerate(trails) if not alpha > TRAIL_ALPHA)
        return {**means, "trail_frames": float(next(ended, TRAIL_FRAMES))}


class EntranceMeter:
    """Judges how long after a person has walked in the matte shows them whole; keeps two numbers a frame."""

    def __init__(self, rate: float) -> None:
        """Take the frames a second."""
        self._rate = rate
        self._true_sums: list[float] = []
        self._shown_sums: list[float] = []

    def add(self, alpha: Pixels, truth: Pixels) -> None:
        """Judge the next frame: the matte and the truth `(H, W)`, uint8."""
        self._true_sums.append(float(truth.sum(dtype=np.float64)))
        self._shown_sums.append(float(np.minimum(alpha, truth).sum(dtype=np.float64)))

    def scores(self) -> dict[str, float]:
        """Return `entrance_seconds`; NaN if nobody comes in, or is never shown.

        In the truth and in the matte a person is there from the first frame whose amount of alpha, inside the true
        person, is at least 95 % of its mean over the last quarter of the clip. So a network that sees only half of
        the person counts as slow only if it is slow to see that half.
        """
        arrived, shown = _arrival(self._true_sums), _arrival(self._shown_sums)
        if arrived is None or shown is None:
            return {"entrance_seconds": math.nan}
        return {"entrance_seconds": max(0, shown - arrived) / self._rate}


def _arrival(sums: list[float]) -> int | None:
    """Return the first frame with `WHOLE_SHARE` of the final amount."""
    final = float(np.mean(sums[-max(1, len(sums) // 4) :])) if sums else 0.0
    return next((index for index, amount in enumerate(sums) if amount >= WHOLE_SHARE * final), None) if final else None


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else math.nan
