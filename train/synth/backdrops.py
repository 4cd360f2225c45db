"""What is behind the subject: a picture, one of which parts sway in changing light, or a film at its own rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, Self

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.composite.background import VideoBackground, playing_time
from streamseg.errors import DataError, StreamsegError
from streamseg.frames import Frame
from streamseg.yuv import RgbImage
from train.data import Pixels
from train.synth.motion import Flow, Matrix, flow_between

Points = npt.NDArray[np.float64]
"""`(2, H, W)`: x and y, px."""

AMPLITUDE, WAVELENGTHS = 0.008, (0.2, 0.5)
"""Largest shift of a sway, and the range of its lengths of waves, as shares of the picture's height."""
PERIODS_SECONDS = (1.2, 3.0)
LIGHT_CHANGE = 0.06
"""Share by which the light becomes brighter and darker."""

WAVES, FILM = "waves", "film"
"""Keys of `truth.json`."""

INVERSION_STEPS = 12
"""Each makes the error of where a swaying point goes several times smaller, from a few pixels on."""


class Backdrop(Protocol):
    """A background that may change, in pixels of its own."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""

    def at(self, seconds: float) -> Pixels:
        """Return the picture at a time, RGB `(H, W, 3)` uint8."""

    def told(self) -> dict[str, Any]:
        """Return what `truth.json` says of its own motion; see `background_flow`."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A photo or a room; nothing in it moves."""

    pixels: Pixels

    @property
    def size(self) -> tuple[int, int]:
        """See `Backdrop`."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def at(self, seconds: float) -> Pixels:
        """See `Backdrop`."""
        return self.pixels

    def told(self) -> dict[str, Any]:
        """See `Backdrop`."""
        return {}


@dataclass(frozen=True, slots=True)
class Waves:
    """Shifts to and fro, as of leaves or curtains: sines in space and time, which fade in and out over the picture.

    A picture at a time shows at a point p what the still picture has at p + shift(p).

    Attributes:
        amplitude_px: largest shift.
        across: of the shifts to the right and down: radians a pixel, to the right and down, that the wave turns.
        fading: the same of where the shifts fade.
        periods_seconds: of the shifts to the right and down, and of the light.
        phases: of the same, in radians.
    """

    amplitude_px: float
    across: tuple[tuple[float, float], tuple[float, float]]
    fading: tuple[float, float]
    periods_seconds: tuple[float, float, float]
    phases: tuple[float, float, float]

    @classmethod
    def draw(cls, height_px: int, rng: np.random.Generator) -> Self:
        """Draw the waves of a picture."""
        turns = math.tau / (rng.uniform(*WAVELENGTHS, 3) * height_px)
        angles = rng.uniform(0, math.tau, 3)
        first, second, fading = (
            (float(turn * math.cos(angle)), float(turn * math.sin(angle)))
            for turn, angle in zip(turns, angles, strict=True)
        )
        right, down, light = map(float, rng.uniform(*PERIODS_SECONDS, 3))
        phases = tuple(map(float, rng.uniform(0, math.tau, 3)))
        return cls(
            AMPLITUDE * height_px, (first, second), fading, (right, down, light), (phases[0], phases[1], phases[2])
        )

    def shift(self, points: Points, seconds: float) -> Points:
        """Return how far the points are shifted."""
        x, y = points
        share = self.amplitude_px * (0.5 + 0.5 * np.sin(self.fading[0] * x + self.fading[1] * y))
        waves = [
            np.sin(per_x * x + per_y * y + math.tau * seconds / period + phase)
            for (per_x, per_y), period, phase in zip(
                self.across, self.periods_seconds[:2], self.phases[:2], strict=True
            )
        ]
        shifts: Points = np.stack(waves) * share
        return shifts

    def moved(self, points: Points, before_seconds: float, after_seconds: float) -> Points:
        """Return where what is at points at a time has gone by another time."""
        content = points + self.shift(points, before_seconds)
        found = content
        for _ in range(INVERSION_STEPS):
            found = content - self.shift(found, after_seconds)
        return found

    def light(self, seconds: float) -> float:
        """Return the factor of the light."""
        return 1 + LIGHT_CHANGE * math.sin(math.tau * seconds / self.periods_seconds[2] + self.phases[2])


@dataclass(frozen=True, slots=True, eq=False)
class Swaying:
    """A picture with waves."""

    pixels: Pixels
    waves: Waves

    @property
    def size(self) -> tuple[int, int]:
        """See `Backdrop`."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def at(self, seconds: float) -> Pixels:
        """See `Backdrop`."""
        points = _grid(self.size)
        x, y = (points + self.waves.shift(points, seconds)).astype(np.float32)
        shifted = cv2.remap(self.pixels, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        return cv2.convertScaleAbs(shifted, alpha=self.waves.light(seconds)).astype(np.uint8, copy=False)

    def told(self) -> dict[str, Any]:
        """See `Backdrop`."""
        return {WAVES: asdict(self.waves)}


class Film:
    """A video without people that plays at its own rate, and begins anew at its end; how it moves is not known.

    Attributes:
        size: see `Backdrop`.
    """

    def __init__(self, path: Path, shape: tuple[int, int], begin_seconds: float) -> None:
        """Open the video.

        Args:
            path: the file.
            shape: height and width that it is cropped and scaled to, px.
            begin_seconds: time of the film that is shown at 0.

        Raises:
            DataError: it cannot be read.
        """
        self._path, self._begin_seconds, self.size = path, begin_seconds, shape
        self._blank = np.zeros((*shape, 3), np.uint8)
        self._playing = self._opened()
        self._last_seconds = 0.0

    def at(self, seconds: float) -> Pixels:
        """See `Backdrop`; quick where times ascend."""
        if seconds < self._last_seconds:
            self._playing.close()
            self._playing = self._opened()
        self._last_seconds = seconds
        pts = Fraction(self._begin_seconds + seconds)
        return self._playing.frame_at(Frame(0, pts, RgbImage(self._blank)))

    def told(self) -> dict[str, Any]:
        """See `Backdrop`."""
        return {FILM: self._path.name}

    def _opened(self) -> VideoBackground:
        try:
            film = VideoBackground(self._path, "cover")
        except StreamsegError as error:
            raise DataError(str(error)) from error
        film.begin_at(Fraction(0))
        return film


def film_seconds(path: Path) -> float:
    """Return the length of a film in seconds.

    Raises:
        DataError: it cannot be read.
    """
    try:
        begin, end = playing_time(path)
        return float(end - begin)
    except StreamsegError as error:
        raise DataError(str(error)) from error


def background_flow(
    told: Mapping[str, Any], places: tuple[Matrix, Matrix], times: tuple[float, float], shape: tuple[int, int]
) -> Flow:
    """Return how far the pixels of a background move from one frame to the next; not a number where it is not known.

    Args:
        told: what `truth.json` says.
        places: of the background in the two frames, each `(3, 3)`.
        times: of the two frames, in seconds.
        shape: height and width of the frames, px.
    """
    if FILM in told:
        return np.full((*shape, 2), np.nan, np.float32)
    if WAVES not in told:
        return flow_between(*places, shape)
    before, after = places
    pixels = _grid(shape)
    inverse: Matrix = np.linalg.inv(before).astype(np.float64)
    moved = Waves(**told[WAVES]).moved(_applied(inverse, pixels), *times)
    return np.moveaxis(_applied(after, moved) - pixels, 0, -1).astype(np.float32)


def _grid(shape: tuple[int, int]) -> Points:
    return np.indices(shape, np.float64)[::-1]


def _applied(place: Matrix, points: Points) -> Points:
    x, y = points
    return np.stack([row[0] * x + row[1] * y + row[2] for row in place[:2]])
