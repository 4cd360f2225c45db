"""What every background promises, asked of each one in the same words."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from streamseg.composite.background import Background, BackgroundSpec, open_background
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.yuv import RgbImage, YuvImage
from tests.synthetic import frames, picture, write_clip

WIDTH_PX, HEIGHT_PX = 64, 48


def negative(rgb: Pixels) -> Pixels:
    return 255 - rgb


@pytest.fixture(params=["image file", "video file", "colour", "blur", "array", "array with alpha", "function"])
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> BackgroundSpec:
    kinds: dict[str, Callable[[], BackgroundSpec]] = {
        "image file": lambda: Path(__file__).parents[2] / "samples" / "beach.jpg",
        "video file": lambda: write_clip(tmp_path / "bg.mp4", 12, sound=False).path,
        "colour": lambda: "#20a0f0",
        "blur": lambda: "blur",
        "array": lambda: picture(3, 100, 40),
        "array with alpha": lambda: np.dstack((picture(3, 100, 40), np.full((40, 100), 99, np.uint8))),
        "function": lambda: negative,
    }
    return kinds[request.param]()


@pytest.fixture
def background(spec: BackgroundSpec) -> Background:
    return open_background(spec)


def test_it_has_the_frames_size_in_rgb(background: Background) -> None:
    for width_px, height_px in ((WIDTH_PX, HEIGHT_PX), (HEIGHT_PX, WIDTH_PX)):
        shown = background.frame_at(frames(1, width_px, height_px)[0])
        assert (shown.shape, shown.dtype) == ((height_px, width_px, 3), np.uint8)
    background.close()


def test_both_forms_show_the_same(background: Background) -> None:
    frame = frames(1, WIDTH_PX, HEIGHT_PX)[0]
    in_rgb, in_yuv = background.frame_at(frame), background.yuv_at(frame).rgb
    assert np.abs(in_rgb.astype(int) - in_yuv).mean() < 5
    background.close()


def test_a_frame_in_yuv_gets_it_too(background: Background) -> None:
    rgb = picture(0, WIDTH_PX, HEIGHT_PX)
    for image in (rgb, YuvImage.of(rgb)):
        shown = background.yuv_at(Frame(0, Fraction(0), image))
        assert shown.shape == (HEIGHT_PX, WIDTH_PX, 3)
    background.close()


def test_the_frame_is_left_alone(background: Background) -> None:
    frame = frames(1, WIDTH_PX, HEIGHT_PX)[0]
    before = frame.pixels.copy()
    background.frame_at(frame)
    background.yuv_at(frame)
    assert np.array_equal(frame.pixels, before)
    background.close()


def test_the_same_frame_twice_is_the_same(background: Background) -> None:
    frame = frames(1, WIDTH_PX, HEIGHT_PX)[0]
    first = background.frame_at(frame).copy()
    assert np.array_equal(background.frame_at(frame), first)
    background.close()


def test_the_next_frame_has_its_own(background: Background) -> None:
    """Nothing is left of the frame before, in whatever form it was asked for then."""
    before, after = (
        Frame(n, Fraction(n, 25), YuvImage.of(picture(9 * n, WIDTH_PX, HEIGHT_PX) // (2 - n))) for n in (0, 1)
    )
    background.yuv_at(before).resized_rgb(16, 12)
    assert background.yuv_at(before).rgb.shape == (HEIGHT_PX, WIDTH_PX, 3)
    shown, meant = background.yuv_at(after), background.frame_at(after)
    assert np.abs(shown.rgb.astype(int) - meant).mean() < 5
    assert np.abs(shown.resized_rgb(16, 12).astype(int) - RgbImage(meant).resized_rgb(16, 12)).mean() < 5
    background.close()
