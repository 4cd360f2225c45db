"""Colours of the foreground: known ones are found again under soft edges, and hidden pixels get them."""

from __future__ import annotations

import cv2
import numpy as np

from streamseg.composite.foreground import foreground_colour
from streamseg.image import Pixels

RED, BLUE = (200, 40, 30), (20, 60, 220)


def scene(height_px: int = 180, width_px: int = 240) -> tuple[Pixels, Pixels]:
    """A red disc with a wide soft edge before blue, and its matte."""
    hard = np.zeros((height_px, width_px), np.uint8)
    cv2.circle(hard, (width_px // 2, height_px // 2), height_px // 4, 255, -1)
    matte = cv2.GaussianBlur(hard, (0, 0), 4).astype(np.uint8)
    share = matte[..., None] / 255
    return np.rint(share * RED + (1 - share) * BLUE).astype(np.uint8), matte


def test_soft_pixels_lose_the_background() -> None:
    rgb, matte = scene()
    soft = (matte > 20) & (matte < 255)
    before, after = (np.abs(picture[soft].astype(int) - RED).mean() for picture in (rgb, foreground_colour(rgb, matte)))
    assert after < 0.2 * before


def test_whole_pixels_stay_as_they_are() -> None:
    rgb, matte = scene()
    rgb = np.random.default_rng(0).integers(0, 256, rgb.shape, np.uint8)
    assert np.array_equal(foreground_colour(rgb, matte)[matte == 255], rgb[matte == 255])


def test_hidden_pixels_get_the_foreground_far_away_too() -> None:
    rgb, matte = scene()
    filled = foreground_colour(rgb, matte)
    assert np.abs(filled[matte == 0].astype(int) - RED).mean() <= 8
    assert np.abs(filled[0, 0].astype(int) - RED).max() <= 12


def test_before_the_same_background_it_looks_the_same() -> None:
    """Equation 4: alpha F + (1 - alpha) B is the picture that was seen."""
    rgb, matte = scene()
    share = matte[..., None] / 255
    again = share * foreground_colour(rgb, matte) + (1 - share) * BLUE
    assert np.abs(again - rgb).mean() < 1


def test_images_without_any_foreground_or_background() -> None:
    rgb, matte = scene()
    assert np.array_equal(foreground_colour(rgb, np.full_like(matte, 255)), rgb)
    assert foreground_colour(rgb, np.zeros_like(matte)).shape == rgb.shape
    tiny = foreground_colour(rgb[:3, :2].copy(), matte[:3, :2].copy())
    assert tiny.shape == (3, 2, 3)


def test_the_input_is_not_changed() -> None:
    rgb, matte = scene()
    before = rgb.copy(), matte.copy()
    foreground_colour(rgb, matte)
    assert np.array_equal(rgb, before[0]) and np.array_equal(matte, before[1])
