from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.decode import open_source
from streamseg.errors import DataError
from tests.train.conftest import SYNTHETIC as SIZE
from tests.train.test_train_cli import exit_code, the_error
from train.synth import shapes
from train.synth.files import SetSize, SyntheticClip, Truth, find_clips, write_clips
from train.synth.motion import eased, flow_between, scaled, shifted, swing, turned
from train.synth.recipes import RECIPES, Pictures, Recipe, scene_of
from train.synth.scene import laid_over, straight

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


def _recipe(clip: SyntheticClip) -> dict[str, object]:
    told: dict[str, object] = json.loads((clip.folder / "truth.json").read_text())
    return told
