"""Compositing in a decoder's own planes: as exact as in RGB, and without the way there and back."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from streamseg.composite.background import open_background
from streamseg.composite.blend import blend_planes
from streamseg.composite.foreground import foreground_colour
from streamseg.composite.guided_filter import refine
from streamseg.composite.stage import finish
from streamseg.decode import open_source
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.pipeline import run
from streamseg.settings import CompositeSettings, InferSettings, Settings
from streamseg.sink import open_sink
from streamseg.smooth.scene_cuts import CutDetector
from streamseg.yuv import BLACK, LAYOUT, LUMA_WEIGHTS, NEUTRAL_CHROMA, RgbImage, YuvImage, rgb_weights
from tests.synthetic import DiscEngine, picture, write_clip

HEIGHT_PX, WIDTH_PX = 288, 384


def texture(seed: int) -> Pixels:
    """RGB with fine detail of brightness and coarse detail of colour, as videos hold it."""
    rng = np.random.default_rng(seed)
    fine = cv2.resize(rng.uniform(-60, 60, (HEIGHT_PX // 4, WIDTH_PX // 4)), (WIDTH_PX, HEIGHT_PX))
    coarse = cv2.resize(rng.uniform(60, 195, (HEIGHT_PX // 48, WIDTH_PX // 48, 3)), (WIDTH_PX, HEIGHT_PX))
    return np.clip(coarse + fine[..., None], 0, 255).astype(np.uint8)


def soft_alpha() -> np.ndarray:
    alpha = np.zeros((HEIGHT_PX, WIDTH_PX), np.float32)
    cv2.circle(alpha, (180, 150), 90, 1.0, -1)
    return cv2.GaussianBlur(alpha, (0, 0), 1.5)


def stored(rgb: Pixels, matrix: Colorspace) -> YuvImage:
    """As a decoder hands it over."""
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
        format=LAYOUT, dst_colorspace=matrix, src_color_range=ColorRange.JPEG, dst_color_range=ColorRange.MPEG
    )
    return YuvImage(frame, matrix)


@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
def test_within_three_levels_of_the_reference_in_float_rgb(matrix: Colorspace) -> None:
    front, back = stored(texture(1), matrix), YuvImage.of(texture(2))
    matte = np.rint(soft_alpha() * 255).astype(np.uint8)
    share = matte[..., None] / 255
    own = foreground_colour(front.rgb, matte)
    reference = np.rint(share * own + (1 - share) * back.rgb).astype(np.uint8)
    for found, meant in zip(blend_planes(front, back, matte).planes, YuvImage.of(reference).planes, strict=True):
        difference = np.abs(found.astype(int) - meant)
        assert np.percentile(difference, 99.9) <= 3
        assert difference.max() <= 5
        assert difference.mean() < 0.5


@pytest.mark.parametrize("bg", ["blur", "#3060a0", "picture"])
def test_every_background_is_the_same_in_planes_and_in_rgb(bg: str, tmp_path: Path) -> None:
    if bg == "picture":
        bg = str(tmp_path / "bg.png")
        cv2.imwrite(bg, texture(3))
    planar = Frame(0, Fraction(0), stored(texture(4), Colorspace.ITU709))
    alpha = cv2.resize(soft_alpha(), (96, 72), interpolation=cv2.INTER_AREA)
    found = finish(planar, alpha, open_background(bg, "cover"))
    meant = finish(replace(planar, image=RgbImage(planar.pixels)), alpha, open_background(bg, "cover"))
    assert isinstance(found, YuvImage)
    assert isinstance(meant, RgbImage)
    assert np.abs(found.rgb.astype(int) - meant.pixels).mean() < 1.5


def test_edges_are_drawn_alike() -> None:
    planes = stored(texture(5), Colorspace.ITU709)
    alpha = cv2.resize(soft_alpha(), (96, 72), interpolation=cv2.INTER_AREA)
    in_planes, in_rgb = (refine(image, alpha).astype(int) for image in (planes, RgbImage(planes.rgb)))
    difference = np.abs(in_planes - in_rgb)
    assert difference.mean() < 0.5
    assert np.quantile(difference, 0.999) <= 10


@pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
def test_another_matrix_is_exchanged_for_bt709(matrix: Colorspace) -> None:
    """The picture stays: what is left is the half colours' own rounding."""
    planes = stored(texture(6), matrix)
    exchanged = planes.as_bt709()
    assert exchanged.matrix == Colorspace.ITU709
    difference = np.abs(exchanged.rgb.astype(int) - planes.rgb)
    assert difference.mean() < 1
    assert np.quantile(difference, 0.999) <= 4


@pytest.mark.parametrize("matrix", sorted(LUMA_WEIGHTS))
def test_rgb_weights_are_ffmpegs(matrix: Colorspace) -> None:
    """One colour after the other, none of which is clipped."""
    for colour in ((60, 128, 128), (120, 100, 150), (150, 150, 110)):
        planes = YuvImage.empty((16, 16), matrix)
        for values, level in zip(planes.planes, colour, strict=True):
            values[:] = level
        meant = (np.array(colour) - (BLACK, NEUTRAL_CHROMA, NEUTRAL_CHROMA)) @ rgb_weights(matrix)
        assert np.abs(planes.rgb - meant).max() < 1


def test_rgb_weights_as_they_are_printed() -> None:
    """The rounded figures that the literature gives for BT.709."""
    meant = [[1.164, 1.164, 1.164], [0, -0.213, 2.112], [1.793, -0.533, 0]]
    np.testing.assert_allclose(rgb_weights(), meant, atol=0.0005)


def test_reduced_is_the_mean() -> None:
    planes = stored(texture(6), Colorspace.ITU601)
    meant = cv2.resize(planes.rgb, (96, 72), interpolation=cv2.INTER_AREA)
    assert np.abs(planes.resized_rgb(96, 72).astype(int) - meant).mean() < 1


@pytest.mark.parametrize("seed", [8, 7])
def test_cuts_are_found_alike(seed: int) -> None:
    """The same scene is none, another one is; in planes as in RGB."""
    in_planes, in_rgb = CutDetector(), CutDetector()
    for pixels in (np.full_like(texture(0), 30), texture(7), texture(seed)):
        planes = stored(pixels, Colorspace.ITU709)
        assert in_planes.is_cut(planes) == in_rgb.is_cut(RgbImage(planes.rgb))


class TestWhatStaysInPlanes:
    def test_the_line_makes_no_rgb_of_whole_frames(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Decoder to encoder; a frame in RGB would cost more than all of the compositing."""
        clip = write_clip(tmp_path / "in.mp4", 12).path
        made: list[YuvImage] = []
        monkeypatch.setattr(YuvImage, "rgb", property(lambda self: made.append(self)))
        settings = Settings(infer=InferSettings(input_size=64), composite=CompositeSettings(bg="#3060a0"))
        with open_source(str(clip)) as source, open_sink(str(tmp_path / "x.mp4"), source.info) as sink:
            run(source, DiscEngine(), sink, settings)
        assert made == []

    @pytest.mark.parametrize(("width", "height", "stays"), [(128, 96, True), (127, 96, False), (128, 95, False)])
    def test_even_sides(self, width: int, height: int, stays: bool, tmp_path: Path) -> None:
        with av.open(str(tmp_path / "x.mkv"), "w") as output:
            stream = output.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, LAYOUT
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0, width, height), "rgb24")))
            output.mux(stream.encode(None))
        with open_source(str(tmp_path / "x.mkv")) as source:
            assert isinstance(next(iter(source)).image, YuvImage) == stays

    def test_rgb_is_made_once(self) -> None:
        frame = Frame(0, Fraction(0), stored(texture(9), Colorspace.ITU709))
        assert frame.pixels is frame.pixels


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_bare_array_is_an_image(channels: int) -> None:
    """Whatever its channels, it is not copied, and it has RGB and luma."""
    pixels = np.dstack((texture(1), texture(2)[..., 0]))[..., :channels].copy().squeeze()
    frame = Frame(0, Fraction(0), pixels)
    assert frame.pixels is pixels
    assert frame.image.rgb.shape == (*pixels.shape[:2], 3)
    assert np.array_equal(frame.image.rgb[..., 0], pixels if channels == 1 else pixels[..., 0])
    assert frame.image.y.shape == pixels.shape[:2]
