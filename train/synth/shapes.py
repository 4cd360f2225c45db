"""Drawn subjects and rooms, for clips without any data: a person with loose hair, a hand with an arm, a room."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from train.data import Pixels

Cutout = npt.NDArray[np.float32]
"""`(H, W, 4)`: RGB premultiplied with alpha, and alpha, all in [0, 1]."""

Colour = tuple[float, float, float]

SUPERSAMPLING = 4
"""Shapes are drawn so many times larger and averaged down, which makes their edges' alpha."""

STRANDS = 260
"""Loose hairs of a person, each about half a pixel wide."""

SKINS: tuple[Colour, ...] = ((0.89, 0.72, 0.61), (0.72, 0.52, 0.40), (0.45, 0.31, 0.24))
HAIRS: tuple[Colour, ...] = ((0.12, 0.09, 0.08), (0.35, 0.20, 0.10), (0.75, 0.58, 0.33))


class Canvas:
    """A transparent picture that shapes are drawn on, in coordinates of the finished picture."""

    def __init__(self, height: int, width: int) -> None:
        self._shape = height * SUPERSAMPLING, width * SUPERSAMPLING
        self._premultiplied = np.zeros((*self._shape, 4), np.float32)

    def ellipse(
        self, centre: tuple[float, float], axes: tuple[float, float], colour: Colour, degrees: float = 0
    ) -> None:
        """Draw a filled ellipse."""
        mask = self._blank()
        cv2.ellipse(mask, _large(centre), _large(axes), degrees, 0, 360, 255, -1, cv2.LINE_AA)
        self._paint(mask, colour)

    def line(self, points: npt.NDArray[np.float64], width_px: float, colour: Colour) -> None:
        """Draw a round-ended line through points `(N, 2)`."""
        self.lines([points], width_px, colour)

    def lines(self, lines: list[npt.NDArray[np.float64]], width_px: float, colour: Colour) -> None:
        """Draw lines of one colour and width, each through points `(N, 2)`."""
        mask = self._blank()
        curves = [np.rint(points * SUPERSAMPLING).astype(np.int32) for points in lines]
        cv2.polylines(mask, curves, False, 255, max(1, round(width_px * SUPERSAMPLING)), cv2.LINE_AA)
        self._paint(mask, colour)

    def finished(self, softness_px: float = 0.0) -> Cutout:
        """Average the drawing down to its size, its edges softened by a Gaussian."""
        drawn = self._premultiplied
        if softness_px:
            drawn = cv2.GaussianBlur(drawn, (0, 0), softness_px * SUPERSAMPLING).astype(np.float32, copy=False)
        size = self._shape[1] // SUPERSAMPLING, self._shape[0] // SUPERSAMPLING
        return cv2.resize(drawn, size, interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)

    def _blank(self) -> Pixels:
        return np.zeros(self._shape, np.uint8)

    def _paint(self, mask: Pixels, colour: Colour) -> None:
        """Lay a colour over the drawing, a little darker towards the bottom, so that no surface is flat."""
        left, top, width, height = cv2.boundingRect(mask)
        rows, columns = slice(top, top + height), slice(left, left + width)
        alpha = (mask[rows, columns].astype(np.float32) / 255)[..., None]
        shade = np.linspace(1.08, 0.82, self._shape[0], dtype=np.float32)[rows, None, None]
        lit = np.minimum(np.asarray(colour, np.float32) * shade, 1)
        painted = self._premultiplied[rows, columns]
        painted *= 1 - alpha
        painted[..., :3] += lit * alpha
        painted[..., 3:] += alpha


def person(rng: np.random.Generator) -> Cutout:
    """Draw head and shoulders with loose hair, 280 x 320 px (height x width)."""
    canvas = Canvas(280, 320)
    skin, hair = SKINS[rng.integers(len(SKINS))], HAIRS[rng.integers(len(HAIRS))]
    shirt = tuple(map(float, rng.uniform(0.15, 0.85, 3)))
    canvas.lines([_strand(rng) for _ in range(STRANDS)], 0.5, hair)
    canvas.ellipse((160, 96), (62, 74), hair)
    canvas.ellipse((160, 280), (128, 98), (shirt[0], shirt[1], shirt[2]))
    canvas.line(np.array([[160.0, 130.0], [160.0, 190.0]]), 40, skin)
    canvas.ellipse((160, 112), (44, 58), skin)
    for x in (143, 177):
        canvas.ellipse((x, 106), (6, 3.5), (0.12, 0.1, 0.1))
    canvas.ellipse((160, 142), (15, 4), (0.62, 0.28, 0.28))
    return canvas.finished(0.4)


def hand(rng: np.random.Generator) -> Cutout:
    """Draw an open hand on a long arm, with soft edges, 420 x 130 px; the arm is cut by the lower edge."""
    canvas, skin = Canvas(420, 130), SKINS[rng.integers(len(SKINS))]
    canvas.line(np.array([[65.0, 120.0], [65.0, 440.0]]), 44, skin)
    canvas.ellipse((65, 104), (34, 42), skin)
    for degrees, length in ((-58, 62), (-20, 82), (-4, 90), (11, 84), (27, 68)):
        tip = 65 + length * math.sin(math.radians(degrees)), 104 - length * math.cos(math.radians(degrees))
        canvas.line(np.array([[65.0, 104.0], tip]), 13, skin)
    return canvas.finished(1.2)


def room(height: int, width: int, rng: np.random.Generator) -> Pixels:
    """Draw a room without people: a lit wall with a grain, a floor, and things at the wall; RGB `(H, W, 3)`."""
    wall, floor = rng.uniform(0.45, 0.85, 3), rng.uniform(0.2, 0.5, 3)
    light = np.linspace(rng.uniform(0.7, 0.9), rng.uniform(1.0, 1.15), width)[None, :, None]
    picture = wall * light * np.ones((height, 1, 1))
    picture[round(0.8 * height) :] = floor * light
    for _ in range(12):
        tall, wide = rng.uniform(0.08, 0.35) * height, rng.uniform(0.05, 0.2) * width
        y, x = rng.uniform(0, 0.9 * height), rng.uniform(-0.05, 0.95) * width
        picture[max(0, round(y)) : round(y + tall), max(0, round(x)) : round(x + wide)] = rng.uniform(0.1, 0.9, 3)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 1)), (0, 0), 1.2).reshape(height, width, 1)
    return (np.clip(picture + 0.06 * grain, 0, 1) * 255).round().astype(np.uint8)


def _strand(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A hair that leaves the head's outline and curls: points `(12, 2)`."""
    start = rng.uniform(-math.pi, 0) + rng.normal(0, 0.15)
    length, curl = rng.uniform(14, 52), rng.normal(0, 1.6)
    along = np.linspace(0, 1, 12)
    angles = start + curl * along
    steps = length / 11 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    root = np.array([160 + 58 * math.cos(start), 96 + 70 * math.sin(start)])
    points: npt.NDArray[np.float64] = root + np.cumsum(steps, axis=0)
    return points


def _large(pair: tuple[float, float]) -> tuple[int, int]:
    return round(pair[0] * SUPERSAMPLING), round(pair[1] * SUPERSAMPLING)
