"""Smooth paths of camera and subject: affine transforms as functions of time, and the optical flow that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
"""`(3, 3)`: maps homogeneous pixel coordinates (x, y, 1); whole numbers are the centres of pixels."""

Flow = npt.NDArray[np.float32]
"""`(H, W, 2)`: how far each pixel's content moves to the next frame, in pixels to the right and down."""

Motion = Callable[[float], Matrix]
"""Seconds -> where a picture's pixels are in the frame."""

PERIODS_SECONDS = (1.6, 4.0)
"""Shortest and longest period of a sway."""


@dataclass(frozen=True, slots=True)
class Sway:
    """A gentle movement to and fro: each part is a sine of its own period and phase.

    Attributes:
        shift_px: largest shift to the right and down.
        turn_degrees: largest turn.
        zoom: largest change of size, as a fraction.
        periods_seconds: of the shift's two parts, the turn and the zoom.
        phases: of the same, in radians.
    """

    shift_px: tuple[float, float]
    turn_degrees: float
    zoom: float
    periods_seconds: tuple[float, ...]
    phases: tuple[float, ...]

    @classmethod
    def draw(cls, shift_px: tuple[float, float], turn_degrees: float, zoom: float, rng: np.random.Generator) -> Self:
        """Draw periods and phases."""
        periods = tuple(map(float, rng.uniform(*PERIODS_SECONDS, 4)))
        return cls(shift_px, turn_degrees, zoom, periods, tuple(map(float, rng.uniform(0, math.tau, 4))))

    def __call__(self, seconds: float) -> Matrix:
        """Compute the movement about the origin."""
        waves = (
            math.sin(math.tau * seconds / period + phase)
            for period, phase in zip(self.periods_seconds, self.phases, strict=True)
        )
        right, down, turn, growth = waves
        shift = shifted(self.shift_px[0] * right, self.shift_px[1] * down)
        return shift @ turned(self.turn_degrees * turn) @ scaled(1 + self.zoom * growth)


def shifted(right_px: float, down_px: float) -> Matrix:
    """Return a shift."""
    return np.array([[1, 0, right_px], [0, 1, down_px], [0, 0, 1]], np.float64)


def scaled(factor: float) -> Matrix:
    """Return a change of size about the origin."""
    return np.diag([factor, factor, 1.0])


def turned(degrees: float) -> Matrix:
    """Return a turn about the origin, clockwise as seen in a picture."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], np.float64)


def swing(seconds: float, speed_px: float, span_px: float) -> float:
    """Return the place of a point that runs to and fro at constant speed, from 0 to `span_px` and back.

    Args:
        seconds: time.
        speed_px: pixels a second.
        span_px: length of the way.
    """
    return span_px - abs(speed_px * seconds % (2 * span_px) - span_px)


def eased(seconds: float, start: float, duration: float) -> float:
    """Return how far a movement is that begins and ends gently: 0 before `start`, 1 after `duration` (smoothstep)."""
    share = min(max((seconds - start) / duration, 0.0), 1.0)
    return share * share * (3 - 2 * share)


def flow_between(before: Matrix, after: Matrix, shape: tuple[int, int]) -> Flow:
    """Return how far the pixels of a frame of `shape` (height, width) move, if a layer moves from one place to another.

    Args:
        before: the layer's place in this frame, `(3, 3)`.
        after: its place in the next frame.
        shape: of the frame.
    """
    y, x = np.indices(shape, np.float64)
    moved = after @ np.linalg.inv(before) - np.eye(3)
    return np.stack([row[0] * x + row[1] * y + row[2] for row in moved[:2]], axis=-1).astype(np.float32)
