"""Backgrounds that run from one colour to another: `gradient:#102030,#405060`, from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from streamseg.errors import InputError
from streamseg.image import Pixels

PREFIX = "gradient:"

DITHER_SEED = 7
"""Of the noise of half a level against bands; the same picture every time."""


def is_gradient(bg: str) -> bool:
    """Whether a background's name is that of a gradient."""
    return bg.startswith(PREFIX)


def gradient_colours(bg: str, parse: Callable[[str], Pixels]) -> list[Pixels]:
    """Return the colours of a gradient, each `(1, 1, 3)` RGB.

    Args:
        bg: `gradient:` and two colours or more, with commas between.
        parse: returns the pixel of a colour's name, or raises InputError.

    Raises:
        InputError: there are fewer than two colours, or one is none.
    """
    names = [name.strip() for name in bg.removeprefix(PREFIX).split(",")]
    if len(names) < 2 or not all(names):
        raise InputError(f"background {bg!r} needs two colours or more, from top to bottom: gradient:#102030,#405060")
    try:
        return [parse(name) for name in names]
    except InputError as error:
        wrong = next(name for name in names if not _is_colour(name, parse))
        raise InputError(
            f"background {bg!r}: {wrong!r} is no colour; give names or #rrggbb, such as gradient:#102030,#405060"
        ) from error


def draw_gradient(colours: Sequence[Pixels], height: int, width: int) -> Pixels:
    """Draw colours `(1, 1, 3)` from top to bottom -> RGB `(height, width, 3)`, dithered."""
    stops = np.concatenate([colour[0] for colour in colours]).astype(np.float32)
    places = np.linspace(0, len(stops) - 1, height, dtype=np.float32)
    rows = np.stack([np.interp(places, np.arange(len(stops)), channel) for channel in stops.T], axis=1)
    noise = np.random.default_rng(DITHER_SEED).uniform(-0.5, 0.5, (height, width, 1)).astype(np.float32)
    dithered = cv2.add(np.broadcast_to(rows[:, None].astype(np.float32), (height, width, 3)).copy(), noise.repeat(3, 2))
    return np.clip(np.rint(dithered), 0, 255).astype(np.uint8)


def _is_colour(name: str, parse: Callable[[str], Pixels]) -> bool:
    try:
        parse(name)
    except InputError:
        return False
    return True
