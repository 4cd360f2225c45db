"""The look of composites: exact answers on drawn scenes, nothing when off, and the same in RGB, YUV and for a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from streamseg.composite.background import BlurBackground, open_background, without_subject
from streamseg.composite.colour_match import UNCHANGED, ColourMatcher
from streamseg.composite.live import LiveCompositor
from streamseg.composite.look import SHADOW_DEPTH, Look, feathered
from streamseg.composite.stage import composed, composite
from streamseg.controls import Controls
from streamseg.errors import ConfigError, InputError
from streamseg.frames import Batch, Frame
from streamseg.image import Pixels, reduced
from streamseg.settings import CompositeSettings, Foreground, load_settings
from streamseg.yuv import RgbImage, YuvImage
from tests.synthetic import Clip, DiscEngine
from tests.test_cli import expect_one_line_error, streamseg, video_facts
from tests.test_gpu_line import assert_alike, done, frame, meant, settings, texture

WIDTH_PX, HEIGHT_PX = 640, 360
CENTRE, RADIUS_PX = (320, 180), 90
WALL_LEVEL = 96


def disc_matte(radius_px: int = RADIUS_PX) -> Pixels:
    matte = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    cv2.circle(matte, CENTRE, radius_px, 255, -1, cv2.LINE_AA)
    return matte


def flat(*rgb: int) -> Pixels:
    return np.full((HEIGHT_PX, WIDTH_PX, 3), rgb if len(rgb) == 3 else rgb * 3, np.uint8)


def disc_frame(level: int, wall: int = WALL_LEVEL, in_yuv: bool = False) -> Frame:
    """A disc of one grey before a wall of another."""
    weight = disc_matte()[..., None] / np.float32(255)
    rgb = (level * weight + wall * (1 - weight) + np.zeros(3)).round().astype(np.uint8)
    return Frame(0, Fraction(0), YuvImage.of(rgb) if in_yuv else RgbImage(rgb))


def look_of(**values: Any) -> Look:
    look = Look.of(CompositeSettings(bg="green", **values))
    assert look
    return look


def shown(picture: Frame, matte: Pixels, background: Pixels, **values: Any) -> Pixels:
    """What is composited with the look, as signed levels."""
    image = composed(picture, matte, open_background(background), False, look_of(**values))
    return image.rgb.astype(np.int16)  # type: ignore[return-value]


in_both = pytest.mark.parametrize("in_yuv", [False, True], ids=["RGB", "YUV"])


class TestBlur:
    @in_both
    @pytest.mark.parametrize("strength", [0.5, 1, 4])
    @pytest.mark.parametrize("level", [0, 255])
    def test_nothing_of_the_person_leaks(self, level: int, strength: float, in_yuv: bool) -> None:
        picture, matte = disc_frame(level, in_yuv=in_yuv), disc_matte()
        image = composed(picture, matte, BlurBackground(strength), False, None)
        outside = image.rgb[matte == 0].astype(int)
        assert np.abs(outside - WALL_LEVEL).max() <= 1
        ring = (cv2.dilate(matte, np.ones((9, 9), np.uint8)) > 0) & (matte == 0)
        naive = BlurBackground(strength).frame_at(picture)[ring].astype(int)
        assert np.abs(naive - WALL_LEVEL).mean() > 25  # The frame blurred as a whole has a halo there.

    @in_both
    def test_without_a_person_it_is_the_blur_of_the_frame(self, in_yuv: bool) -> None:
        rgb = texture(3, WIDTH_PX, HEIGHT_PX)
        picture = Frame(0, Fraction(0), YuvImage.of(rgb) if in_yuv else RgbImage(rgb))
        blur = BlurBackground()
        whole = (blur.yuv_at(picture).rgb if in_yuv else blur.frame_at(picture)).astype(int)
        around = without_subject(blur, np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8))
        found = around.yuv_at(picture).rgb if in_yuv else around.frame_at(picture)
        assert np.abs(found - whole).max() <= (4 if in_yuv else 2)  # Two levels of Cb are four of blue.

    @in_both
    def test_a_person_who_fills_the_frame(self, in_yuv: bool) -> None:
        picture = disc_frame(200, 200, in_yuv)
        matte = np.full((HEIGHT_PX, WIDTH_PX), 255, np.uint8)
        around = without_subject(BlurBackground(), matte)
        found = around.yuv_at(picture).rgb if in_yuv else around.frame_at(picture)
        assert np.abs(found.astype(int) - 200).max() <= 1

    @pytest.mark.parametrize(
        ("values", "foreground"), [({"feather": 2, "light_wrap": 0.5}, "ml"), ({"match_colors": True}, "fast")]
    )
    def test_the_look_takes_each_frames_own(
        self, values: dict[str, Any], foreground: Foreground, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a cut, nothing is left of the blur before it, neither as background nor in the colours."""
        pymatting = ModuleType("pymatting")  # It is in no extra that tests need.
        pymatting.estimate_foreground_ml = lambda image, alpha, return_background: image  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pymatting", pymatting)
        before, after = (
            disc_frame(120, 20, in_yuv=True),
            replace(disc_frame(120, 230, in_yuv=True), pts=Fraction(1, 25)),
        )
        look, blur, matte = look_of(**values), BlurBackground(), disc_matte()
        composed(before, matte, blur, False, look, foreground)
        found = composed(after, matte, blur, False, look, foreground).rgb.astype(int)
        meant = composed(after, matte, BlurBackground(), False, look_of(**values), foreground).rgb
        assert np.abs(found - meant).max() <= 1

    def test_other_backgrounds_are_what_they_were(self) -> None:
        background = open_background("green")
        assert without_subject(background, disc_matte()) is background


class TestFeather:
    def test_a_hard_edge_becomes_a_straight_ramp_inwards(self) -> None:
        matte = np.zeros((60, 100), np.uint8)
        matte[:, 50:] = 255
        soft = feathered(matte, 10)
        places = np.arange(100)
        # Half of what is around the edge's first pixel is covered; ten pixels inwards, all is.
        expected = np.clip((places - 49.5) / 10.5, 0, 1) * 255
        assert np.abs(soft[30] - expected).max() <= 2
        assert (soft == soft[0]).all()

    def test_it_never_reaches_outwards(self) -> None:
        matte = (disc_matte().astype(np.float32) * np.float32(0.7)).astype(np.uint8)
        assert (feathered(matte, 20) <= matte).all()
        assert (feathered(np.full_like(matte, 255), 20) == 255).all()
        assert (feathered(np.zeros_like(matte), 20) == 0).all()

    @pytest.mark.parametrize("kind", ["matte", "foreground"])
    def test_mattes_and_foregrounds_are_feathered_too_and_keep_their_pixels(self, kind: str) -> None:
        look, matte_only = look_of(feather=8), kind == "matte"
        first = composed(disc_frame(200), disc_matte(), None, matte_only, look).pixels
        kept = first.copy()
        composed(disc_frame(200), disc_matte(20), None, matte_only, look)
        assert np.array_equal(first, kept)
        alpha = first if matte_only else first[..., 3]
        assert np.array_equal(alpha, feathered(disc_matte(), 8))


class TestShadow:
    @in_both
    def test_it_has_its_depth_under_the_person_and_nothing_far_away(self, in_yuv: bool) -> None:
        matte = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
        matte[:, : WIDTH_PX // 2] = 255
        dressed = look_of(shadow=True).dress(disc_frame(0, 0, in_yuv), matte, open_background(flat(200)))
        assert dressed.background
        behind = dressed.background.frame_at(dressed.frame)[:, :, 0].astype(int)
        assert np.abs(behind[:, :200] - 200 * (1 - SHADOW_DEPTH)).max() <= 2
        assert (np.abs(behind[:, 420:] - 200) <= 1).all()
        assert (np.diff(behind[180]) >= -1).all()

    @in_both
    def test_it_falls_to_the_right_and_below(self, in_yuv: bool) -> None:
        result = shown(disc_frame(0, in_yuv=in_yuv), disc_matte(), flat(200), shadow=True)[..., 0]
        x, y = CENTRE
        gap = RADIUS_PX + 6
        assert result[y, x + gap] < result[y, x - gap] - 10
        assert result[y + gap, x] < result[y - gap, x] - 10
        assert np.abs(result[:20, :20] - 200).max() <= 1

    @in_both
    def test_the_background_itself_is_left_alone(self, in_yuv: bool) -> None:
        background, picture = open_background(flat(200)), disc_frame(0, in_yuv=in_yuv)
        composed(picture, disc_matte(), background, False, look_of(shadow=True, light_wrap=1))
        assert np.abs(background.frame_at(picture).astype(int) - 200).max() == 0
        assert np.abs(background.yuv_at(picture).rgb.astype(int) - 200).max() <= 1


class TestLightWrap:
    @in_both
    @pytest.mark.parametrize("strength", [0.5, 1.0])
    def test_a_bright_background_lights_the_edge_and_not_the_inside(self, strength: float, in_yuv: bool) -> None:
        picture, matte = disc_frame(20, in_yuv=in_yuv), disc_matte()
        plain = composed(picture, matte, open_background(flat(220)), False, None).rgb.astype(int)
        lit = shown(picture, matte, flat(220), light_wrap=strength)
        x, y = CENTRE
        edge = lit[y, x + RADIUS_PX - 2, 0]
        assert edge == pytest.approx(20 + strength * 200, abs=strength * 60)
        row = lit[y, x : x + RADIUS_PX - 2, 0]
        assert (np.diff(row) >= -1).all()
        assert np.abs(lit[y - 40 : y + 40, x - 40 : x + 40] - 20).max() <= 1
        assert np.abs(lit[matte == 0] - plain[matte == 0]).max() <= 1

    @in_both
    def test_a_dark_background_takes_no_light_away(self, in_yuv: bool) -> None:
        picture, matte = disc_frame(230, in_yuv=in_yuv), disc_matte()
        plain = composed(picture, matte, open_background(flat(10)), False, None).rgb.astype(int)
        assert np.abs(shown(picture, matte, flat(10), light_wrap=1) - plain).max() <= 1

    @in_both
    def test_the_light_has_the_backgrounds_colour(self, in_yuv: bool) -> None:
        lit = shown(disc_frame(20, in_yuv=in_yuv), disc_matte(), flat(60, 90, 240), light_wrap=1)
        red, _, blue = lit[CENTRE[1], CENTRE[0] + RADIUS_PX - 4]
        assert blue - red > 60


class TestMatchedColours:
    @staticmethod
    def person() -> Frame:
        """Browns before a wall."""
        rgb = flat(90, 95, 100)
        noise = np.random.default_rng(1).normal(0, 18, (HEIGHT_PX, WIDTH_PX, 1))
        body = np.clip(np.array([150, 110, 90]) + noise, 0, 255).astype(np.uint8)
        return Frame(0, Fraction(0), np.where(disc_matte()[..., None] > 0, body, rgb))

    @staticmethod
    def mean(image: RgbImage | YuvImage) -> np.ndarray:  # type: ignore[type-arg]
        return image.rgb[disc_matte() == 255].mean(0)  # type: ignore[no-any-return]

    @in_both
    def test_colours_go_some_way_towards_the_background(self, in_yuv: bool) -> None:
        person = self.person()
        picture = replace(person, image=YuvImage.of(person.pixels)) if in_yuv else person
        before = self.mean(picture.image)
        for background, channel in ((flat(40, 60, 200), 2), (flat(200, 60, 40), 0)):
            after = self.mean(ColourMatcher().step(picture, disc_matte(), YuvImage.of(background)))
            others = [other for other in range(3) if other != channel]
            change = after - before
            assert change[channel] - change[others].max() > 2
            assert np.abs(change).max() < 30  # Some way: nobody turns blue.
        brighter, darker = (
            self.mean(ColourMatcher().step(picture, disc_matte(), YuvImage.of(flat(level)))) for level in (250, 5)
        )
        assert (brighter > before.mean() - 60).all()
        assert brighter.mean() > before.mean() + 4 > darker.mean() + 8

    @in_both
    def test_the_same_colours_stay(self, in_yuv: bool) -> None:
        person = self.person()
        picture = replace(person, image=YuvImage.of(person.pixels)) if in_yuv else person
        body = np.ascontiguousarray(person.pixels[110:250, 250:390])
        back = YuvImage.of(cv2.resize(body, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_NEAREST).astype(np.uint8))
        after = ColourMatcher().step(picture, disc_matte(), back)
        assert np.abs(self.mean(after) - self.mean(picture.image)).max() < 2.5

    @in_both
    def test_unchanged_curves_change_nothing(self, in_yuv: bool) -> None:
        rgb = texture(8, WIDTH_PX, HEIGHT_PX)
        image = YuvImage.of(rgb) if in_yuv else RgbImage(rgb)
        assert np.abs(UNCHANGED.apply(image).rgb.astype(int) - image.rgb).max() <= (0 if in_yuv else 3)

    @pytest.mark.parametrize("level", [0, 255])
    def test_black_and_white_stay_nearly_where_they_are(self, level: int) -> None:
        person = self.person()
        pixels = person.pixels.copy()
        cv2.circle(pixels, CENTRE, 10, (level,) * 3, -1)
        for background in (flat(20, 30, 90), flat(230, 240, 250)):
            picture = replace(person, image=RgbImage(pixels))
            after = ColourMatcher().step(picture, disc_matte(), RgbImage(background))
            assert np.abs(after.rgb[CENTRE[1], CENTRE[0]].astype(int) - level).max() <= 24

    def test_a_background_that_jumps_moves_them_slowly(self) -> None:
        matcher, person = ColourMatcher(), self.person()
        backs = [RgbImage(flat(30, 60, 220))] * 5 + [RgbImage(flat(230, 60, 20))] * 60
        means = [
            self.mean(matcher.step(replace(person, pts=Fraction(n, 25)), disc_matte(), back))
            for n, back in enumerate(backs)
        ]
        steps = np.abs(np.diff(means, axis=0)).max(1)
        assert steps[:4].max() < 0.5
        assert steps.max() < 3
        assert np.abs(means[-1] - means[0]).max() > 8
        settled = ColourMatcher().step(person, disc_matte(), backs[-1])
        assert np.abs(means[-1] - self.mean(settled)).max() < 2

    def test_a_scene_cut_starts_anew(self) -> None:
        matcher, person = ColourMatcher(), self.person()
        matcher.step(person, disc_matte(), RgbImage(flat(30, 60, 220)))
        other = replace(person, pts=Fraction(1, 25), image=RgbImage(255 - person.pixels))
        found = matcher.step(other, disc_matte(), RgbImage(flat(230, 60, 20)))
        alone = ColourMatcher().step(other, disc_matte(), RgbImage(flat(230, 60, 20)))
        assert np.array_equal(found.rgb, alone.rgb)

    def test_nobody_there_changes_nothing(self) -> None:
        person = self.person()
        found = ColourMatcher().step(person, np.zeros_like(disc_matte()), RgbImage(flat(230, 60, 20)))
        assert np.abs(found.rgb.astype(int) - person.pixels).max() <= 3


class TestGradient:
    @in_both
    def test_it_runs_from_colour_to_colour(self, in_yuv: bool) -> None:
        background = open_background("gradient:#102030, white,#405060")
        picture = disc_frame(0, in_yuv=in_yuv)
        rgb = (background.yuv_at(picture).rgb if in_yuv else background.frame_at(picture)).astype(float)
        rows = rgb.mean(1)
        tolerance = 2 if in_yuv else 1
        assert rows[0] == pytest.approx([0x10, 0x20, 0x30], abs=tolerance)
        assert rows[HEIGHT_PX // 2] == pytest.approx([255, 255, 255], abs=4)
        assert rows[-1] == pytest.approx([0x40, 0x50, 0x60], abs=tolerance)
        assert np.abs(np.diff(rows, axis=0)).max() < 3

    def test_it_is_drawn_once_for_each_size(self) -> None:
        background = open_background("gradient:black,white")
        picture = disc_frame(0)
        assert background.frame_at(picture) is background.frame_at(picture)
        small = Frame(0, Fraction(0), np.zeros((20, 30, 3), np.uint8))
        assert background.frame_at(small).shape == (20, 30, 3)

    @pytest.mark.parametrize(
        ("bg", "words"),
        [
            ("gradient:", "needs two colours or more"),
            ("gradient:red", "needs two colours or more"),
            ("gradient:red,", "needs two colours or more"),
            ("gradient:red,reddish", "'reddish' is no colour"),
            ("gradient:#12,#ffffff", "'#12' is no colour"),
        ],
    )
    def test_what_is_no_gradient(self, bg: str, words: str) -> None:
        with pytest.raises(InputError, match=words) as caught:
            open_background(bg)
        assert "\n" not in str(caught.value)


EVERYTHING = {"feather": 3, "light_wrap": 0.7, "match_colors": True, "shadow": True}
ONE_BY_ONE = [{name: value} for name, value in EVERYTHING.items()]


def batches(sizes: list[int], in_yuv: bool) -> Iterator[Batch]:
    """Frames that change, with mattes that move."""
    index = 0
    for size in sizes:
        frames, alphas = [], []
        for _ in range(size):
            rgb = texture(1 + index // 5, 192, 108)
            frames.append(Frame(index, Fraction(index, 25), YuvImage.of(rgb) if in_yuv else RgbImage(rgb)))
            alpha = np.zeros((54, 96), np.float32)
            cv2.circle(alpha, (30 + 3 * index, 30), 16, 1, -1)
            alphas.append(torch.from_numpy(alpha)[None])
            index += 1
        yield Batch(tuple(frames), torch.stack(alphas))


@in_both
@pytest.mark.parametrize("values", [*ONE_BY_ONE, EVERYTHING], ids=lambda values: "+".join(values))
@pytest.mark.parametrize("bg", ["blur", "#4060c0"])
def test_the_output_does_not_depend_on_the_batch_size(bg: str, values: dict[str, Any], in_yuv: bool) -> None:
    chosen = CompositeSettings(bg=bg, **values)
    results = [
        [finished.pixels.copy() for finished in composite(batches(sizes, in_yuv), chosen)]
        for sizes in ([1] * 10, [4, 4, 2], [10])
    ]
    for others in results[1:]:
        assert all(np.array_equal(one, other) for one, other in zip(results[0], others, strict=True))


@pytest.mark.parametrize("values", [*ONE_BY_ONE, EVERYTHING], ids=lambda values: "+".join(values))
def test_rgb_and_yuv_look_alike(values: dict[str, Any]) -> None:
    chosen = CompositeSettings(bg="#4060c0", **values)
    pairs = zip(composite(batches([6], True), chosen), composite(batches([6], False), chosen), strict=True)
    for in_yuv, in_rgb in pairs:
        assert np.abs(in_yuv.pixels.astype(int) - in_rgb.pixels).mean() < 4


@pytest.mark.parametrize("values", [*ONE_BY_ONE, EVERYTHING], ids=lambda values: "+".join(values))
def test_the_line_of_a_gpu_shows_the_same(values: dict[str, Any]) -> None:
    given, chosen = [frame(n) for n in range(7)], settings(bg="#3060a0", **values)
    assert_alike(done(given, chosen, 3), meant(given, chosen))


def test_a_frames_own_alpha_counts_once() -> None:
    rgba = np.dstack([disc_frame(200).pixels, np.full((HEIGHT_PX, WIDTH_PX), 128, np.uint8)])
    picture = Frame(0, Fraction(0), rgba)
    plain = composed(picture, disc_matte(), open_background(flat(0)), False, None).rgb.astype(int)
    assert np.abs(shown(picture, disc_matte(), flat(0), light_wrap=0.01) - plain).max() <= 1


@pytest.mark.parametrize("size", [(WIDTH_PX, HEIGHT_PX), (1920, 1080), (427, 241), (33, 20)])
def test_reduced_is_the_mean_of_areas(size: tuple[int, int]) -> None:
    rgb = texture(4, *size)
    for small in ((20, 11), (30, 17)):
        expected = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA).astype(int)
        error = np.abs(reduced(rgb, *small) - expected)
        assert error.max() <= 4 and error.mean() < 0.75


def test_off_costs_nothing() -> None:
    assert Look.of(CompositeSettings(bg="green")) is None


@pytest.mark.parametrize(
    ("name", "value"), [("feather", -1), ("feather", 201), ("light_wrap", 1.5), ("match_colors", "some"), ("shadow", 7)]
)
def test_bounds(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"composite.{name}"):
        load_settings(overrides={name: value})


def test_they_change_while_a_camera_runs() -> None:
    controls = Controls(load_settings(overrides={"bg": "white"}))
    with LiveCompositor(controls) as compositor:

        def edge(seconds: float) -> int:
            picture = replace(disc_frame(20), captured_seconds=seconds, pts=Fraction(seconds))
            alpha = disc_matte().astype(np.float32) / 255
            return int(compositor(picture, alpha).pixels[CENTRE[1], CENTRE[0] + RADIUS_PX - 3, 0])

        before = edge(1)
        controls.change(light_wrap=1, feather=4, match_colors=True, shadow=True)
        edge(2)
        assert edge(3) > before + 60
        controls.change(light_wrap=0, feather=0, match_colors=False, shadow=False)
        edge(4)
        assert edge(5) == before


@pytest.mark.parametrize("command", ["video", "image"])
def test_the_flags(command: str, clip: Clip, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_, **__: DiscEngine())
    photo = tmp_path / "in.png"
    cv2.imwrite(str(photo), disc_frame(200).pixels)
    source, name = (clip.path, "out.mp4") if command == "video" else (photo, "out.png")
    flags = ("--bg", "gradient:#102030,#405060", "--feather", 2, "--light-wrap", 0.5, "--match-colors", "--shadow")
    result = streamseg(command, source, "-o", tmp_path / name, *flags)
    assert result.exit_code == 0, result.output
    if command == "video":
        assert video_facts(tmp_path / name)[0] == clip.frames
    wrong = streamseg(command, source, "-o", tmp_path / f"b{name}", "--bg", "gradient:#102030")
    expect_one_line_error(wrong, "needs two colours or more")
    expect_one_line_error(streamseg(command, source, "-o", tmp_path / f"b{name}", "--light-wrap", 2), "light_wrap")
    assert not list(tmp_path.glob("b*"))
