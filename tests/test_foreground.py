"""Colours of the foreground: known ones are found again under soft edges, and hidden pixels get them."""

from __future__ import annotations

import sys
from fractions import Fraction
from types import ModuleType

import cv2
import numpy as np
import pytest

from streamseg.composite.background import Background, open_background
from streamseg.composite.blend import blend
from streamseg.composite.foreground import foreground_colour
from streamseg.composite.stage import apply_matte
from streamseg.errors import MissingExtraError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.yuv import RgbImage, YuvImage

RED, BLUE, GREEN = (200, 40, 30), (20, 60, 220), (40, 180, 60)


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


def composited(image: RgbImage | YuvImage, matte: Pixels, foreground: str = "fast") -> Pixels:
    background: Background = open_background("#28b43c")
    frame = Frame(0, Fraction(0), image)
    return apply_matte(frame, matte, background, foreground=foreground).pixels  # type: ignore[arg-type]


@pytest.mark.parametrize("width_px", [240, 252])  # FFmpeg's lines are padded at one of them.
@pytest.mark.parametrize("kind", [RgbImage, YuvImage.of])
def test_the_old_wall_does_not_shine_through_a_composite(kind: type[RgbImage], width_px: int) -> None:
    rgb, matte = scene(width_px=width_px)
    share = matte[..., None] / 255
    right = share * RED + (1 - share) * GREEN
    soft = (matte > 8) & (matte < 247)
    own_pixels = blend(rgb, np.full_like(rgb, GREEN), matte)
    found = composited(kind(rgb), matte)
    before, after = (np.abs(picture - right)[soft].mean() for picture in (own_pixels, found))
    assert after < 0.5 * before
    still = cv2.erode(((matte == 0) | (matte == 255)).astype(np.uint8), np.ones((3, 3))) > 0
    assert np.abs(found[still] - right[still]).max() <= 3


def test_colours_are_the_same_in_rgb_and_in_planes() -> None:
    rgb, matte = scene()
    difference = np.abs(composited(RgbImage(rgb), matte).astype(int) - composited(YuvImage.of(rgb), matte))
    assert difference.mean() < 1


def test_a_matte_that_is_soft_everywhere_is_done_in_blocks() -> None:
    """Hundreds of thousands of soft pixels: all of them are found."""
    rgb, matte = scene(480, 640)
    matte = np.clip(matte, 10, 245)
    filled = foreground_colour(rgb, matte)
    for rows in (slice(0, 240), slice(240, 480)):
        before, after = (np.abs(picture[rows][matte[rows] < 128].astype(int) - RED).mean() for picture in (rgb, filled))
        assert after < 0.5 * before


def test_frames_that_are_views_are_left_alone() -> None:
    rgb, matte = scene()
    before, mirrored = rgb.copy(), rgb[:, ::-1]
    found = composited(RgbImage(mirrored), matte[:, ::-1].copy())
    assert np.array_equal(rgb, before)
    assert np.abs(found[:, ::-1].astype(int) - composited(RgbImage(rgb), matte)).mean() < 0.5


class TestMultilevel:
    """With a module in pymatting's place."""

    @pytest.fixture
    def calls(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
        seen: list[tuple[float, float]] = []

        def estimate(image: np.ndarray, alpha: np.ndarray, return_background: bool) -> np.ndarray:  # type: ignore[type-arg]
            assert not return_background
            seen.append((float(image.max()), float(alpha.max())))
            return np.full(image.shape, np.array(RED) / 255, np.float32)

        module = ModuleType("pymatting")
        module.estimate_foreground_ml = estimate  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pymatting", module)
        return seen

    @pytest.mark.parametrize("kind", [RgbImage, YuvImage.of])
    def test_composites_and_foregrounds_take_its_colours(
        self, calls: list[tuple[float, float]], kind: type[RgbImage]
    ) -> None:
        rgb, matte = scene()
        share = matte[..., None] / 255
        found = composited(kind(rgb), matte, "ml")
        assert np.abs(found - (share * RED + (1 - share) * GREEN)).max() <= 4
        cutout = apply_matte(Frame(0, Fraction(0), kind(rgb)), matte, None, foreground="ml").pixels
        assert (cutout[..., :3][matte < 255] == RED).all()
        assert np.array_equal(cutout[..., 3], matte)
        assert max(calls) <= (1, 1)

    def test_it_has_to_be_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pymatting", None)
        rgb, matte = scene()
        with pytest.raises(MissingExtraError, match=r"streamseg\[quality\]"):
            composited(RgbImage(rgb), matte, "ml")
