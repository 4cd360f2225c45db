from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from streamseg.decode import open_source
from streamseg.errors import DataError
from tests.train.conftest import SYNTHETIC as SIZE
from tests.train.test_train_cli import exit_code, the_error
from train.data import Pixels
from train.metrics.clip import MatteMeter
from train.synth import shapes
from train.synth.backdrops import Film, Swaying, Waves, background_flow, film_seconds
from train.synth.files import SetSize, SyntheticClip, Truth, find_clips, write_clips
from train.synth.motion import eased, flow_between, scaled, shifted, swing, turned
from train.synth.recipes import MOVING_RECIPES, RATE, RECIPES, Pictures, Recipe, scene_of
from train.synth.scene import Scene, laid_over, straight

SHAPE = (SIZE.height_px, SIZE.width_px)


def clip_of(made: list[SyntheticClip], kind: str) -> SyntheticClip:
    return next(clip for clip in made if clip.kind == kind)


def frames_of(clip: SyntheticClip) -> list[np.ndarray]:
    with open_source(str(clip.path)) as source:
        return [frame.pixels for frame in source]


def centroid(truth: Truth) -> np.ndarray:
    weights = truth.alpha / truth.alpha.sum(dtype=np.float64)
    y, x = np.indices(truth.alpha.shape)
    return np.array([(weights * x).sum(), (weights * y).sum()])


def test_the_same_seed_makes_the_same_bytes(made: list[SyntheticClip], tmp_path: Path) -> None:
    list(write_clips(tmp_path, None, 0, SIZE))
    root = made[0].folder.parent
    names = sorted(path.relative_to(root) for path in root.rglob("*.*"))
    assert len(names) == 1 + 3 * SIZE.clips
    for name in names:
        assert (root / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_another_seed_makes_other_clips(made: list[SyntheticClip], tmp_path: Path) -> None:
    size = SetSize(clips=1, frames=2, width_px=SIZE.width_px, height_px=SIZE.height_px)
    other = next(iter(write_clips(tmp_path, None, 1, size)))
    assert (other.folder / "truth.mkv").read_bytes() != (made[0].folder / "truth.mkv").read_bytes()


def test_a_finished_set_is_found_again(made: list[SyntheticClip], tmp_path: Path) -> None:
    assert find_clips(made[0].folder.parent) == made
    assert {clip.kind for clip in made} == {"person", "strands", "hand", "enters", "empty"}
    with pytest.raises(DataError, match="no set of synthetic clips"):
        find_clips(tmp_path)


def test_files_hold_exactly_what_was_composited(made: list[SyntheticClip]) -> None:
    """The first clip is lossless and has no noise: its frames are alpha times foreground plus the background."""
    scene = scene_of(RECIPES[0], Pictures(None), SHAPE, seed=0)
    for index, (frame, truth) in enumerate(zip(frames_of(made[0]), made[0].truths(), strict=True)):
        still = scene.still(index)
        np.testing.assert_array_equal(truth.alpha, still.alpha)
        np.testing.assert_array_equal(truth.foreground, still.foreground)
        np.testing.assert_array_equal(frame, still.image)
        solid = truth.alpha == 255
        assert solid.any()
        np.testing.assert_array_equal(frame[solid], still.foreground[solid])


@pytest.mark.parametrize("index", range(12))
def test_noise_and_compression_stay_close_to_the_truth(made: list[SyntheticClip], index: int) -> None:
    clip = made[index]
    frames, truths = frames_of(clip), list(clip.truths())
    assert len(frames) == len(truths) == clip.frames
    for frame, truth in zip(frames, truths, strict=True):
        assert truth.alpha.shape == frame.shape[:2] == SHAPE
        solid = cv2.erode((truth.alpha == 255).astype(np.uint8), np.ones((5, 5))) > 0
        if solid.any():
            assert truth.foreground is not None
            assert np.abs(frame[solid].astype(int) - truth.foreground[solid]).mean() < 12


def test_the_subject_moves_as_told(made: list[SyntheticClip]) -> None:
    clip = next(clip for clip in made if clip.kind == "person" and not _recipe(clip)["shutter"])
    truths = list(clip.truths())
    assert truths[0].flow is None
    y, x = np.indices(SHAPE, np.float32)
    moved, stood = 0.0, 0.0
    for before, after in pairwise(truths):
        assert after.flow is not None
        # Blurred, since hairs thinner than a pixel look different wherever they stand.
        now, then = (cv2.GaussianBlur(truth.alpha, (0, 0), 1.5).astype(np.float32) for truth in (before, after))
        reached = cv2.remap(then, x + after.flow[..., 0], y + after.flow[..., 1], cv2.INTER_LINEAR)
        inside = before.alpha > 0
        moved += np.abs(reached - now)[inside].mean()
        stood += np.abs(then - now)[inside].mean()
    assert moved < 0.3 * stood


def test_the_hand_moves_40_px_a_frame(made: list[SyntheticClip]) -> None:
    scene = scene_of(Recipe("hand", "room", "still"), Pictures(None), (120, 480), seed=3)
    places = [centroid(Truth(still.alpha, still.foreground, None)) for still in map(scene.still, range(5))]
    np.testing.assert_allclose(np.diff(places, axis=0), [(40, 0)] * 4, atol=0.05)


def test_a_person_walks_in_and_a_room_stays_empty(made: list[SyntheticClip]) -> None:
    scene = scene_of(Recipe("enters", "room", "still"), Pictures(None), SHAPE, seed=5)
    amounts = [int(scene.still(index).alpha.sum()) for index in (0, 7, 14, 23, 26)]
    assert amounts[0] == amounts[1] == 0 < amounts[2] < amounts[3]
    assert amounts[4] == pytest.approx(amounts[3], rel=0.1)
    assert not any(truth.alpha.any() for truth in clip_of(made, "empty").truths())


def test_an_empty_room_moves_with_the_camera(made: list[SyntheticClip]) -> None:
    moving = next(clip for clip in made if clip.kind == "empty" and _recipe(clip)["camera"] == "handheld")
    frames, flows = frames_of(moving), [truth.flow for truth in moving.truths()]
    flow = flows[1]
    assert flow is not None and np.abs(flow).max() > 0.05
    y, x = np.indices(SHAPE, np.float32)
    back = cv2.remap(frames[1], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error, still_error = (np.abs(frames[0].astype(int) - other).mean() for other in (back, frames[1]))
    assert error < still_error


def test_motion_blur_smears_the_subject_and_keeps_its_amount() -> None:
    sharp, smeared = (
        scene_of(Recipe("hand", "room", "still", shutter=shutter), Pictures(None), (96, 320), seed=1).still(3).alpha
        for shutter in (0.0, 0.5)
    )
    assert ((smeared > 0) & (smeared < 255)).sum() > 2 * ((sharp > 0) & (sharp < 255)).sum()
    assert smeared.sum() == pytest.approx(sharp.sum(), rel=0.02)


@pytest.mark.parametrize("draw", [shapes.person, shapes.hand])
def test_drawn_shapes_are_premultiplied_and_soft(draw) -> None:  # type: ignore[no-untyped-def]
    cutout = draw(np.random.default_rng(0))
    alpha = cutout[..., 3:]
    assert (cutout[..., :3] <= alpha + 1e-5).all()
    soft = (alpha > 0.02) & (alpha < 0.98)
    assert 0.01 < soft.mean() < 0.3
    levels, colour = straight(cutout)
    assert (colour[levels == 0] == 0).all()


def test_soft_edges_have_no_rim_of_another_colour() -> None:
    """A disc of one colour, turned and moved by parts of a pixel, has that colour in every pixel that it touches."""
    mask = np.zeros((60, 60, 1), np.float32)
    cv2.circle(mask, (30, 30), 20, 1.0, -1)
    colour = np.array([200, 100, 50], np.float32) / 255
    scene = scene_of(RECIPES[0], Pictures(None), SHAPE, seed=0)
    place = shifted(40.3, 10.7) @ turned(12) @ scaled(0.9)
    moved = type(scene)(
        SHAPE, 24, scene.background, scene.background_motion, np.dstack([mask * colour, mask]), lambda _: place, 0, 0, 0
    ).still(0)
    touched = moved.alpha > 0
    assert ((moved.alpha > 0) & (moved.alpha < 255)).sum() > 40
    np.testing.assert_allclose(moved.foreground[touched], np.tile([200, 100, 50], (touched.sum(), 1)), atol=1)


def test_the_matting_equation_in_eight_bits() -> None:
    back, front = np.full((1, 3, 3), 100, np.uint8), np.full((1, 3, 3), 200, np.uint8)
    over = laid_over(back, front, np.array([[0, 51, 255]], np.uint8))
    np.testing.assert_array_equal(over[0, :, 0], [100, 120, 200])


def test_paths() -> None:
    assert [swing(seconds, 10, 30) for seconds in (0, 1, 3, 4, 6, 7)] == [0, 10, 30, 20, 0, 10]
    assert [eased(seconds, 1, 2) for seconds in (0, 1, 2, 3, 9)] == [0, 0, 0.5, 1, 1]
    turn = shifted(5, 0) @ turned(90)
    np.testing.assert_allclose(turn @ [1, 0, 1], [5, 1, 1], atol=1e-12)
    flow = flow_between(shifted(1, 2), shifted(4, 1), (2, 3))
    np.testing.assert_allclose(flow, np.tile([3.0, -1.0], (2, 3, 1)))


def moving_scene(films: Path | None = None, **recipe: Any) -> Scene:
    return scene_of(Recipe(place="clip", **recipe), Pictures(None, films), SHAPE, seed=4)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a film of half a second at 30 frames a second; each is of one grey, 16 levels above the last."""
    folder = tmp_path_factory.mktemp("films")
    with av.open(str(folder / "film.mkv"), "w") as output:
        stream = output.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for index in range(15):
            grey = np.full((48, 64, 3), 16 * index, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format="bgr0")))
        output.mux(stream.encode(None))
    return folder


def test_clips_before_moving_backgrounds_come_after_the_others(made: list[SyntheticClip], tmp_path: Path) -> None:
    size = replace(SIZE, clips=1, moving=2)
    with_moving = list(write_clips(tmp_path, None, 0, size))
    assert [clip.name for clip in with_moving] == ["00_person", "01_person", "02_strands"]
    assert find_clips(tmp_path) == with_moving
    for name in ("clip.mkv", "truth.mkv", "truth.json"):
        assert (tmp_path / "00_person" / name).read_bytes() == (made[0].folder / name).read_bytes()


def test_the_truth_tells_how_a_background_sways(tmp_path: Path) -> None:
    """Of the written files; the light is the same in all frames here."""
    scene = moving_scene(kind="empty", camera="handheld")
    assert isinstance(scene.background, Swaying)
    waves = scene.background.waves
    assert waves.light(0.1) != waves.light(0.5)
    told = {"waves": json.loads(json.dumps(asdict(waves)))}
    steady = replace(scene, background=Unlit(scene.background.pixels, waves))
    frames, (place, next_place) = [steady.still(index).image for index in (0, 6)], [scene.places(n)[1] for n in (0, 6)]
    flow = background_flow(told, (place, next_place), (0, 6 / RATE), SHAPE)
    camera_alone = flow_between(place, next_place, SHAPE)
    assert np.abs(flow - camera_alone).max() > 0.5
    y, x = np.indices(SHAPE, np.float32)
    inner = np.s_[8:-8, 8:-8]
    errors = [
        np.abs(cv2.remap(frames[1], x + way[..., 0], y + way[..., 1], cv2.INTER_LINEAR).astype(int) - frames[0])[inner]
        for way in (flow, camera_alone)
    ]
    assert errors[0].mean() < 0.6 * errors[1].mean()


def test_where_a_swaying_point_goes_is_exact() -> None:
    waves = Waves.draw(300, np.random.default_rng(2))
    points = np.indices((300, 400), np.float64)[::-1]
    later = waves.moved(points, 0.2, 1.1)
    np.testing.assert_allclose(later + waves.shift(later, 1.1), points + waves.shift(points, 0.2), atol=1e-3)
    assert np.abs(later - points).max() > 1


def test_a_film_plays_at_its_own_rate_and_begins_anew(films: Path) -> None:
    film = Film(films / "film.mkv", (60, 60), 0.11)
    assert film_seconds(films / "film.mkv") == pytest.approx(0.5, abs=0.002)
    shown = [int(film.at(index / RATE)[5, 5, 0]) // 16 for index in (0, 1, 2, 12, 13, 9)]
    assert shown == [int((0.11 + index / RATE) % 0.5 * 30) for index in (0, 1, 2, 12, 13, 9)]


def test_the_truth_before_a_film_is_exact(films: Path, tmp_path: Path) -> None:
    """Frames are alpha times foreground plus the film; how the film moves is not known, and no error is made of it."""
    clip = list(write_clips(tmp_path, None, 0, replace(SIZE, clips=1, moving=1), films))[1]
    scene = scene_of(MOVING_RECIPES[0], Pictures(None, films), SHAPE, seed=1)
    assert len({int(scene.background.at(index / RATE)[0, 0, 0]) for index in range(SIZE.frames)}) > 3
    meter = MatteMeter()
    for index, truth in enumerate(clip.truths()):
        still = scene.still(index)
        np.testing.assert_array_equal(truth.alpha, still.alpha)
        outside = truth.alpha == 0
        assert (still.image[outside] % 16 == 0).mean() > 0.9
        assert truth.flow is None or not np.isfinite(truth.flow).all()
        meter.add(np.where(outside, 40 * (index % 2), truth.alpha).astype(np.uint8), truth.alpha, truth.flow)
    assert meter.scores()["all.messddt"] == pytest.approx(0, abs=3)
    assert meter.scores()["all.dtssd"] > 5


def test_films_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    assert "holds no videos" in the_error(capsys, "synth", "-o", out, "--moving", 1, "--films", tmp_path)
    assert "give --moving N" in the_error(capsys, "synth", "-o", out, "--films", tmp_path)
    (tmp_path / "x.mp4").write_text("words")
    with pytest.raises(DataError, match=r"x\.mp4"):
        scene_of(MOVING_RECIPES[0], Pictures(None, tmp_path), SHAPE, seed=0)


def test_cut_outs_photos_and_rooms_of_the_development_data(shared: Path) -> None:
    scene = scene_of(RECIPES[1], Pictures(shared / "data"), SHAPE, seed=0)
    still = scene.still(0)
    assert 0.02 < (still.alpha > 0).mean() < 0.8
    again = scene_of(RECIPES[1], Pictures(shared / "data"), SHAPE, seed=0).still(0)
    np.testing.assert_array_equal(still.image, again.image)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "set"
    assert exit_code("synth", "-o", out, "--clips", 1, "--frames", 2, "--size", "64x64") == 0
    assert "wrote 1 clips" in capsys.readouterr().out
    assert json.loads((out / "clips.json").read_text())["names"] == ["00_person"]


@pytest.mark.parametrize("size", ["64", "65x64", "64x32", "0x0", "64x64x64", "wide"])
def test_sizes_that_cannot_be(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "even pixels from 64 on" in the_error(capsys, "synth", "-o", tmp_path / "set", "--size", size)
    assert not (tmp_path / "set").exists()


def test_data_without_cut_outs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "composites.tar" in the_error(capsys, "synth", "-o", tmp_path / "set", "--data", tmp_path)


class Unlit(Swaying):
    """Sways in a light that stays."""

    def at(self, seconds: float) -> Pixels:
        right, down, _ = self.waves.phases
        standing = -math.tau * seconds / self.waves.periods_seconds[2]
        return Swaying(self.pixels, replace(self.waves, phases=(right, down, standing))).at(seconds)


def _recipe(clip: SyntheticClip) -> dict[str, object]:
    told: dict[str, object] = json.loads((clip.folder / "truth.json").read_text())
    return told
