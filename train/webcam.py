"""People from one picture set into another's empty room, framed as webcams frame them.

Photos of people hang together with their backgrounds, and a network that has seen few of them learns the backgrounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from train.augment import resize
from train.camera import photometric
from train.composites import camera_view, laid_over
from train.data import LoadablePair, Pixels

PEOPLE = (0.05, 0.70, 0.20, 0.05)
"""Probabilities of nobody, one, two and three people."""

HEIGHTS = (0.4, 1.2)
"""Height of what is seen of a person as a share of the frame's."""

CUT_SHARE = 0.15
"""A person who covers this share of a picture's side goes on beyond it, and so must touch the frame's."""

DEFOCUS_SHARE = 0.25
"""Share of the frames whose room is out of focus."""

LIGHT = 0.5
"""Strength of the change of a person's colours, which were taken in another room."""


class WebcamFrames:
    """Makes as many different frames as are asked for."""

    def __init__(self, people: Sequence[LoadablePair], rooms: Sequence[LoadablePair]) -> None:
        self.people, self.rooms = people, rooms

    def frame(self, short_side_px: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """A new picture: RGB `(H, W, 3)` and its alpha `(H, W)`, both uint8.

        Raises:
            DataError: a picture does not load.
        """
        image = camera_view(_any_of(self.rooms, rng).load()[0], short_side_px, rng)
        if rng.random() < DEFOCUS_SHARE:
            sigma_px = rng.uniform(0.5, 0.015 * short_side_px)
            image = cv2.GaussianBlur(image, (0, 0), sigma_px).astype(np.uint8, copy=False)
        mask = np.zeros(image.shape[:2], np.uint8)
        for _ in range(rng.choice(len(PEOPLE), p=PEOPLE)):
            person, alpha = _any_of(self.people, rng).load()
            image, mask = laid_over(image, mask, _seated(person, alpha, mask.shape, rng))
        return image, mask


def _any_of(pairs: Sequence[LoadablePair], rng: np.random.Generator) -> LoadablePair:
    return pairs[int(rng.integers(len(pairs)))]


def _seated(image: Pixels, mask: Pixels, shape: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    """The foreground of a pair somewhere in a frame of `shape` (height, width): premultiplied RGBA of that shape."""
    rows, columns = (np.flatnonzero((mask >= 128).any(axis)) for axis in (1, 0))
    height, width = shape
    if not rows.size:
        return np.zeros((height, width, 4), np.uint8)
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    rgba = _cut_out(image[top:bottom, left:right], mask[top:bottom, left:right], rng)
    cut = _sides_cut(mask)
    factor = rng.uniform(*HEIGHTS) * height / (bottom - top)
    size = (max(1, round((bottom - top) * factor)), max(1, round((right - left) * factor)))
    rgba = resize(rgba, size, antialias=True)
    if rng.random() < 0.5:
        rgba, cut = rgba[:, ::-1], (cut[0], cut[2], cut[1])
    lower = height * (rng.uniform(1.0, 1.35) if cut[0] else rng.uniform(0.7, 1.3))
    centre = width * rng.normal(0.5, 0.22)
    x = min(0, centre - size[1] / 2) if cut[1] else centre - size[1] / 2
    x = max(width - size[1], x) if cut[2] and not cut[1] else x
    shift = np.array([[1, 0, round(x)], [0, 1, round(lower) - size[0]]], np.float32)
    return cv2.warpAffine(np.ascontiguousarray(rgba), shift, (width, height)).astype(np.uint8, copy=False)


def _cut_out(image: Pixels, mask: Pixels, rng: np.random.Generator) -> Pixels:
    """Premultiplied RGBA; the mask is softened and drawn in by a pixel, against a rim of the old background."""
    soft = cv2.GaussianBlur(np.ascontiguousarray(mask), (5, 5), 1.0, borderType=cv2.BORDER_REPLICATE)
    alpha = cv2.addWeighted(soft, 2, soft, 0, -255)
    lit = cv2.LUT(np.ascontiguousarray(image), photometric(LIGHT, rng)[None])
    premultiplied = cv2.multiply(lit, cv2.merge((alpha,) * 3), scale=1 / 255)
    return cv2.merge((premultiplied, alpha)).astype(np.uint8, copy=False)


def _sides_cut(mask: Pixels) -> tuple[bool, bool, bool]:
    """Whether the person goes on beyond the lower, left and right side of the picture."""
    lower, left, right = ((side >= 128).mean() > CUT_SHARE for side in (mask[-1], mask[:, 0], mask[:, -1]))
    return bool(lower), bool(left), bool(right)
