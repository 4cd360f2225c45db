"""Backgrounds, the matte at full size, and the blend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamseg.composite.background import (
    Background,
    BlurBackground,
    Fit,
    ImageBackground,
    VideoBackground,
    fit_to,
    open_background,
)
from streamseg.composite.guided_filter import Alpha, refine
from streamseg.composite.stage import composite, finish
from streamseg.decode.images import read_image
from streamseg.errors import InputError
from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.infer.every_frame import infer
from streamseg.settings import CompositeSettings
from streamseg.sink.images import write_image
from streamseg.yuv import RgbImage, YuvImage
from tests.conftest import SAMPLES
from tests.synthetic import DISC, WALL, DiscEngine, frames, picture, true_alpha

GREEN = (0, 177, 64)


def frame_at(seconds: Fraction | float, width_px: int = 64, height_px: int = 64) -> Frame:
    return Frame(0, Fraction(seconds), np.zeros((height_px, width_px, 3), np.uint8))


def image_behind(bg: str | Path, width_px: int = 64, height_px: int = 64, fit: Fit = "cover") -> Pixels:
    """The background's picture at time 0."""
    background = open_background(str(bg), fit)
    try:
        return background.frame_at(frame_at(0, width_px, height_px))
    finally:
        background.close()


def marked(height: int, width: int) -> Pixels:
    """White with a black mark at the centre, a tenth of each side long."""
    pixels = np.full((height, width, 3), 255, np.uint8)
    half_y, half_x = height // 20, width // 20
    pixels[height // 2 - half_y : (height + 1) // 2 + half_y, width // 2 - half_x : (width + 1) // 2 + half_x] = 0
    return pixels


sides = st.integers(40, 300)


@settings(max_examples=60, deadline=None)
@given(have=st.tuples(sides, sides), want=st.tuples(sides, sides))
def test_cover_fills_the_frame_and_keeps_the_centre(have: tuple[int, int], want: tuple[int, int]) -> None:
    fitted = fit_to(marked(*have), *want, "cover")
    assert fitted.shape == (*want, 3)
    assert fitted.dtype == np.uint8
    scale = max(want[0] / have[0], want[1] / have[1])
    corners = fitted[[0, 0, -1, -1], [0, -1, 0, -1]]
    if all(0.2 * length * scale < limit for length, limit in zip(have, want, strict=True)):
        assert corners.min() > 200  # The mark does not reach the corners, and there are no bars.
        assert_centred(fitted, scale)


@settings(max_examples=60, deadline=None)
@given(have=st.tuples(sides, sides), want=st.tuples(sides, sides))
def test_contain_shows_everything_between_black_bars(have: tuple[int, int], want: tuple[int, int]) -> None:
    white = np.full((*have, 3), 255, np.uint8)
    fitted = fit_to(white, *want, "contain")
    assert fitted.shape == (*want, 3)
    assert set(np.unique(fitted)) <= {0, 255}
    rows, columns = (np.flatnonzero(fitted[..., 0].any(axis=axis)) for axis in (1, 0))
    shown = (len(rows), len(columns))
    scale = min(want[0] / have[0], want[1] / have[1])
    for length, original, first, limit in zip(shown, have, (rows[0], columns[0]), want, strict=True):
        assert abs(length - original * scale) <= 0.5 + 1e-6
        assert abs(first - (limit - length) / 2) <= 0.5  # As much before as behind.
    assert shown[0] == want[0] or shown[1] == want[1]


def assert_centred(pixels: Pixels, scale: float) -> None:
    weight = 255 - pixels[..., 0].astype(float)
    for axis in (0, 1):
        along = weight.sum(axis=1 - axis)
        centre = (along * (np.arange(len(along)) + 0.5)).sum() / along.sum()
        assert abs(centre - len(along) / 2) <= 0.5 * scale + 0.5


def test_cover_keeps_the_proportions() -> None:
    disc = np.zeros((300, 500, 3), np.uint8)
    cv2.circle(disc, (250, 150), 60, (255, 255, 255), -1)
    fitted = fit_to(disc, 450, 200, "cover") > 127
    height, width = (int(fitted[..., 0].any(axis=axis).sum()) for axis in (1, 0))
    assert abs(height - 181) <= 2
    assert abs(width - 181) <= 2


def test_a_panorama_is_cut_before_it_is_enlarged() -> None:
    """Enlarged first, it would be 400 by 800,000 pixels."""
    assert fit_to(np.zeros((2, 4000, 3), np.uint8), 400, 20, "cover").shape == (400, 20, 3)
    assert fit_to(np.zeros((2, 4000, 3), np.uint8), 400, 20, "contain").shape == (400, 20, 3)


@pytest.mark.parametrize(
    ("bg", "rgb"),
    [("red", (255, 0, 0)), ("Green", (0, 128, 0)), ("#00b140", GREEN), ("#00B140", GREEN), ("#fff", (255, 255, 255))],
)
def test_colours(bg: str, rgb: tuple[int, int, int]) -> None:
    shown = image_behind(bg, 48, 32)
    assert shown.shape == (32, 48, 3)
    assert (shown == rgb).all()


@pytest.mark.parametrize("bg", ["grün", "#12", "#gggggg", "beach", "nosuch.mp4", "none", "red "])
def test_what_is_neither_file_nor_colour_is_named(bg: str) -> None:
    with pytest.raises(InputError, match="is neither a file nor a colour") as caught:
        open_background(bg, "cover")
    assert repr(bg) in str(caught.value)


def test_an_image(tmp_path: Path) -> None:
    rgb = marked(64, 64)
    rgb[..., 0] = 7
    assert cv2.imwrite(str(tmp_path / "bg.png"), rgb[..., ::-1])
    assert np.array_equal(image_behind(tmp_path / "bg.png"), rgb)


def write_pixels(path: Path, pixels: np.ndarray) -> Path:  # type: ignore[type-arg]
    assert cv2.imwrite(str(path), pixels)
    return path


def test_transparent_parts_are_black(tmp_path: Path) -> None:
    bgra = np.full((64, 64, 4), 200, np.uint8)
    bgra[:32, :, 3], bgra[32:, :, 3] = 0, 128
    bgra[:, 32:, 3] = 255
    shown = image_behind(write_pixels(tmp_path / "bg.png", bgra))
    assert (shown[:32, :32] == 0).all()
    assert (shown[32:, :32] == 100).all()
    assert (shown[:, 32:] == 200).all()
    assert shown.flags.c_contiguous


def test_transparent_pixels_keep_the_order_of_the_colours(tmp_path: Path) -> None:
    bgra = np.full((64, 64, 4), (10, 20, 30, 255), np.uint8)
    assert (image_behind(write_pixels(tmp_path / "bg.png", bgra)) == (30, 20, 10)).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_become_eight(tmp_path: Path, channels: int) -> None:
    deep = np.full((64, 64, channels), 40_000, np.uint16)
    if channels == 4:
        deep[..., 3] = 65_535
    shown = image_behind(write_pixels(tmp_path / "bg.png", deep))
    assert np.abs(shown.astype(int) - 40_000 // 257).max() <= 1


def test_a_grey_image(tmp_path: Path) -> None:
    assert (image_behind(write_pixels(tmp_path / "bg.png", np.full((64, 64), 90, np.uint8))) == 90).all()


def test_a_missing_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.png: No such file"):
        open_background(str(tmp_path / "gone.png"), "cover")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for folder in (tmp_path, tmp_path / "folder.png"):
        with pytest.raises(InputError, match="is a folder; give an image, a video, a colour"):
            open_background(str(folder), "cover")


@pytest.mark.parametrize("name", ["notes.txt", "notes", "notes.png", "notes.mp4"])
def test_a_text_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Not a picture.\n" * 9)
    with pytest.raises(InputError, match=f"{name}.*"):
        open_background(str(tmp_path / name), "cover")


def write_levels(path: Path, levels: list[int], rate: int = 25, first_pts: int = 0) -> Path:
    """A video of flat frames, lossless, one for each grey level."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "gray"
        for index, level in enumerate(levels):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64), level, np.uint8), format="gray")
            frame.pts = first_pts + index
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def levels_at(bg: Path, times: list[Fraction]) -> list[int]:
    background = open_background(str(bg), "cover")
    assert isinstance(background, VideoBackground)
    try:
        return [int(background.frame_at(frame_at(time)).mean().round()) for time in times]
    finally:
        background.close()


LEVELS = [40, 80, 120, 160, 200]


@pytest.mark.parametrize("first_pts", [0, 50])
@pytest.mark.parametrize("start", [Fraction(0), Fraction(7, 3), Fraction(1000)])
def test_a_video_plays_from_its_first_frame_and_starts_over(tmp_path: Path, first_pts: int, start: Fraction) -> None:
    """Whatever the first timestamp in either stream is."""
    bg = write_levels(tmp_path / "bg.mkv", LEVELS, 25, first_pts)
    found = levels_at(bg, [start + Fraction(i, 25) for i in range(13)])
    assert found == pytest.approx((LEVELS * 3)[:13], abs=1)


@pytest.mark.parametrize("rate", [10, 15, 30, 60])
def test_a_video_keeps_its_own_pace_behind_30_frames_a_second(tmp_path: Path, rate: int) -> None:
    bg = write_levels(tmp_path / "bg.mkv", LEVELS, rate)
    # A quarter of a frame late, so that the container's whole milliseconds do not matter.
    times = [Fraction(0)] + [Fraction(4 * i + 1, 120) for i in range(20)]
    expected = [LEVELS[int(time * rate) % len(LEVELS)] for time in times]
    assert levels_at(bg, times) == pytest.approx(expected, abs=1)


def test_frames_that_were_dropped_are_passed_over(tmp_path: Path) -> None:
    bg = write_levels(tmp_path / "bg.mkv", LEVELS)
    assert levels_at(bg, [Fraction(i, 25) for i in (0, 3, 4, 11)]) == pytest.approx([40, 160, 200, 80], abs=1)


def test_a_video_of_one_frame_stands_still(tmp_path: Path) -> None:
    bg = write_levels(tmp_path / "bg.mkv", [90])
    assert levels_at(bg, [Fraction(i, 25) for i in range(6)]) == pytest.approx([90] * 6, abs=1)


def test_a_video_is_fitted(tmp_path: Path) -> None:
    shown = image_behind(write_levels(tmp_path / "bg.mkv", [200]), 128, 64, "contain")
    assert shown.shape == (64, 128, 3)
    assert (shown[:, :32] == 0).all()
    assert (shown[:, 32:96] >= 199).all()


def test_a_still_follows_the_size_of_the_frame() -> None:
    still = ImageBackground(marked(60, 60), "cover")
    assert still.frame_at(frame_at(0, 40, 30)).shape == (30, 40, 3)
    assert still.frame_at(frame_at(0, 64, 64)).shape == (64, 64, 3)
    assert still.frame_at(frame_at(0, 64, 64)) is still.frame_at(frame_at(1, 64, 64))


@pytest.mark.parametrize("size", [(16, 16), (96, 128), (101, 333)])
def test_blur_keeps_the_brightness_and_loses_the_detail(size: tuple[int, int]) -> None:
    height, width = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    soft = BlurBackground().frame_at(Frame(0, Fraction(0), pixels))
    assert soft.shape == pixels.shape
    assert abs(soft.mean() - pixels.mean()) < 6
    assert soft.std() < 0.25 * pixels.std()
    flat = np.full((height, width, 3), GREEN, np.uint8)
    assert (BlurBackground().frame_at(Frame(0, Fraction(0), flat)) == GREEN).all()


def disc_batches(count: int, sizes: tuple[int, ...] = (1,) * 4) -> Iterator[Batch]:
    items = frames(count)
    mattes = torch.stack([torch.from_numpy(true_alpha(i).astype(np.float32) / 255)[None] for i in range(count)])
    start = 0
    for size in sizes:
        yield Batch(tuple(items[start : start + size]), mattes[start : start + size])
        start += size


def finished(**overrides: object) -> list[Frame]:
    return list(composite(disc_batches(4), CompositeSettings.model_validate(overrides)))


def test_the_person_stands_before_the_background() -> None:
    for index, frame in enumerate(finished(bg="#00b140")):
        alpha = true_alpha(index)
        assert frame.pixels.shape == (96, 128, 3)
        assert frame.pixels.dtype == np.uint8
        assert np.abs(frame.pixels[alpha == 0].astype(int) - GREEN).max() <= 1
        assert np.abs(frame.pixels[alpha == 255].astype(int) - DISC).max() <= 1
        assert (frame.index, frame.pts) == (index, Fraction(index, 25))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_blend_is_linear(share: float) -> None:
    front = np.full((32, 32, 3), (250, 100, 0), np.uint8)
    back: Background = ImageBackground(np.full((1, 1, 3), (50, 200, 255), np.uint8), "cover")
    pixels = finish(Frame(0, Fraction(0), front), np.full((32, 32), share, np.float32), back).pixels
    expected = share * np.array((250, 100, 0)) + (1 - share) * np.array((50, 200, 255))
    assert np.abs(pixels - expected).max() <= 1


def test_a_foreground_has_straight_alpha() -> None:
    for index, frame in enumerate(finished()):
        assert frame.pixels.shape == (96, 128, 4)
        alpha = frame.pixels[..., 3]
        assert np.array_equal(frame.pixels[..., :3][alpha == 255], picture(index)[alpha == 255])
        assert np.abs(frame.pixels[..., :3].astype(int) - DISC)[alpha < 255].mean() < 3  # No wall, and not darkened.
        assert np.abs(alpha.astype(int) - true_alpha(index)).mean() < 1


def test_the_frames_own_alpha_holds_too() -> None:
    left = np.zeros((96, 128), np.uint8)
    left[:, :60] = 255
    sources = [replace(frame, image=np.dstack((frame.pixels, left))) for frame in frames(2)]
    batch = next(infer(sources, DiscEngine(), 128, 2))
    for index, frame in enumerate(composite([batch], CompositeSettings())):
        assert np.array_equal(frame.pixels[:, 60:, 3], np.zeros((96, 68), np.uint8))
        assert np.abs(frame.pixels[:, :60, 3].astype(int) - true_alpha(index)[:, :60]).mean() < 1
    for frame in composite([batch], CompositeSettings(bg="red")):
        assert (frame.pixels[:, 60:] == (255, 0, 0)).all()


def test_transparent_parts_of_a_background_are_black(tmp_path: Path) -> None:
    write_image(
        tmp_path / "logo.png", np.dstack((np.full((32, 32, 3), 200, np.uint8), np.full((32, 32), 128, np.uint8)))
    )
    assert np.abs(image_behind(str(tmp_path / "logo.png"), 32, 32).astype(int) - 100).max() <= 1


def test_matte_only_is_grey_and_needs_no_background() -> None:
    for index, frame in enumerate(finished(matte_only=True, bg="no such colour")):
        assert frame.pixels.shape == (96, 128)
        assert frame.pixels.dtype == np.uint8
        assert np.abs(frame.pixels.astype(int) - true_alpha(index)).mean() < 1


@pytest.mark.parametrize("overrides", [{}, {"bg": "blur"}, {"bg": "red"}, {"matte_only": True}])
def test_frames_have_four_three_or_no_channels(overrides: dict[str, object]) -> None:
    for frame in finished(**overrides):
        assert frame.pixels.shape[2:] == ((4,) if not overrides else () if "matte_only" in overrides else (3,))


def test_frames_that_come_in_are_left_alone() -> None:
    (batch,) = disc_batches(2, (2,))
    list(composite([batch], CompositeSettings(bg="red")))
    assert all(np.array_equal(frame.pixels, picture(frame.index)) for frame in batch.frames)
    assert torch.equal(batch.alpha[1, 0], torch.from_numpy(true_alpha(1).astype(np.float32) / 255))


def test_batch_size_does_not_show(tmp_path: Path) -> None:
    chosen = CompositeSettings(bg=str(write_levels(tmp_path / "bg.mkv", LEVELS)))
    one, four = (list(composite(disc_batches(4, sizes), chosen)) for sizes in ((1, 1, 1, 1), (3, 1)))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, four, strict=True))


def test_the_background_is_closed_when_the_line_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(ImageBackground, "close", lambda _: closed.append(True))
    line = composite(disc_batches(4), CompositeSettings(bg="red"))
    next(line)
    line.close()  # type: ignore[attr-defined]
    assert closed == [True]


def disc(side_px: int, radius_px: float) -> Alpha:
    matte = np.zeros((side_px, side_px), np.uint8)
    centre = (side_px // 2 * 16, side_px // 2 * 16)
    cv2.circle(matte, centre, round(radius_px * 16), 255, -1, cv2.LINE_AA, shift=4)
    return (matte / np.float32(255)).astype(np.float32)


def shrunk(matte: Alpha, side_px: int, blur_px: float) -> Alpha:
    """A network's matte: small, and softer than the truth."""
    small = cv2.resize(matte, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return (cv2.GaussianBlur(small, (0, 0), blur_px) if blur_px else small).astype(np.float32)


def bilinear(matte: Alpha, side_px: int) -> Alpha:
    return cv2.resize(matte, (side_px, side_px), interpolation=cv2.INTER_LINEAR).astype(np.float32)


@pytest.mark.parametrize(("blur_px", "ratio"), [(0, 0.65), (0.5, 0.8), (1, 0.9)])
def test_refining_beats_bilinear_resizing(blur_px: float, ratio: float) -> None:
    """Mean error of a disc's matte, 96 pixels enlarged to 576, relative to bilinear resizing."""
    true = disc(576, 170.3)
    pixels = np.rint(true[..., None] * DISC + (1 - true[..., None]) * WALL).astype(np.uint8)
    small = shrunk(true, 96, blur_px)
    refined, plain = refine(RgbImage(pixels), small) / 255, bilinear(small, 576)
    assert np.abs(refined - true).mean() < ratio * np.abs(plain - true).mean()


def test_texture_does_not_leak_into_flat_regions() -> None:
    """A disc's matte over a photo that knows nothing of it: more than three matte pixels from the edge, all is flat."""
    photo = cv2.resize(read_image(SAMPLES / "portrait.jpg"), (512, 512)).astype(np.uint8)
    true = disc(512, 150)
    refined = refine(RgbImage(photo), shrunk(true, 160, 0.5)) / 255
    rows, columns = np.indices(true.shape) + 0.5
    distance = np.abs(np.hypot(rows - 256, columns - 256) - 150)
    flat = distance > 5 * 512 / 160
    assert (np.rint(refined * 255) == np.rint(true * 255))[flat].all()
    plain = bilinear(shrunk(true, 160, 0.5), 512)
    assert np.abs(refined - true)[~flat].mean() < 1.05 * np.abs(plain - true)[~flat].mean()


def gradient(matte: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Length of the gradient at the scale of the metric Grad."""
    soft = cv2.GaussianBlur(matte.astype(np.float32), (0, 0), 1.4)
    return np.hypot(cv2.Sobel(soft, -1, 1, 0, scale=1 / 8), cv2.Sobel(soft, -1, 0, 1, scale=1 / 8))


@pytest.mark.parametrize("front", [(200, 60, 60), (70, 126, 126)])
def test_a_striped_edge_is_found_again_at_the_frames_size(front: tuple[int, int, int]) -> None:
    """Stripes narrower than a matte pixel before a wall; the second colour has the wall's luma."""
    true = np.zeros((384, 384), np.float32)
    true[:, :192] = 1
    for top in range(0, 384, 24):
        true[top : top + 12, 192:204] = 1
    true = cv2.GaussianBlur(true, (0, 0), 0.7)
    wall = np.array((150, 90, 90))
    rgb = np.rint(true[..., None] * front + (1 - true[..., None]) * wall).astype(np.uint8)
    small = shrunk(true, 96, 0.8)
    for image in (RgbImage(rgb), YuvImage.of(rgb)):
        refined, plain = refine(image, small) / 255, bilinear(small, 384)
        assert np.abs(refined - true).mean() < 0.5 * np.abs(plain - true).mean()
        errors = [np.square(gradient(matte) - gradient(true)).sum() for matte in (refined, plain)]
        assert errors[0] < 0.5 * errors[1]


def test_sure_pixels_keep_what_they_are_whatever_the_frame_shows() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    alpha = shrunk(disc(100, 30), 100, 1)
    alpha[alpha < 0.01], alpha[alpha > 0.99] = 0, 1
    plain = cv2.resize(alpha, (300, 200), interpolation=cv2.INTER_LINEAR)
    refined = refine(RgbImage(noise), alpha)
    assert (refined[plain == 0] <= 1).all()
    assert (refined[plain == 1] >= 254).all()
    assert np.abs(refined / 255 - plain)[(plain > 0) & (plain < 1)].max() > 0.01


def test_a_doubtful_stripe_on_a_shirt_is_not_taken_out() -> None:
    """White on dark, three matte pixels high; the network is half sure of it."""
    alpha, rgb = np.ones((180, 320), np.float32), np.full((720, 1280, 3), (30, 30, 50), np.uint8)
    alpha[80:83], rgb[320:332] = 0.5, 235
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.7).astype(np.float32)
    refined = refine(RgbImage(rgb), alpha)
    assert refined.min() > 0.4 * 255
    alpha[:] = 1
    alpha[80:] = 0
    alpha = cv2.GaussianBlur(alpha, (0, 0), 2).astype(np.float32)
    grey = RgbImage(np.full_like(rgb, 128))
    soft = ((refine(grey, alpha) > 25) & (refine(grey, alpha) < 230)).sum()
    assert soft < 0.7 * ((alpha > 0.1) & (alpha < 0.9)).sum() * 16  # An edge is steepened as ever.


def test_threads_do_not_show() -> None:
    photo = cv2.resize(read_image(SAMPLES / "portrait.jpg"), (640, 480)).astype(np.uint8)
    alpha, before = shrunk(disc(160, 40), 160, 1), cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            for image in (RgbImage(photo), YuvImage.of(photo)):
                results.append(finish(Frame(0, Fraction(0), image), alpha, open_background("green")).pixels)
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(results[0], results[2])
    assert np.array_equal(results[1], results[3])


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_flat_mattes_stay_flat(value: float, size: tuple[int, int]) -> None:
    photo = read_image(SAMPLES / "portrait.jpg")
    assert (refine(RgbImage(photo), np.full(size, value, np.float32)) == round(255 * value)).all()
    matte = finish(Frame(0, Fraction(0), photo), np.full(size, value, np.float32), None, matte_only=True).pixels
    assert (matte == round(255 * value)).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    matte=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(16, 90), st.integers(16, 90)),
)
def test_refining_keeps_the_size(seed: int, matte: tuple[int, int], size: tuple[int, int]) -> None:
    """Even for noise on noise, and for mattes larger than the frame."""
    generator = np.random.default_rng(seed)
    image = RgbImage(generator.integers(0, 256, (*size, 3), np.uint8))
    refined = refine(image, generator.random(matte, np.float32).round(seed % 3))
    assert refined.shape == size
    assert refined.dtype == np.uint8
