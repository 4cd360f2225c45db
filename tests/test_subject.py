"""Who stays: chosen at the start of a scene, then followed, also through others."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.controls import Controls
from streamseg.decode.images import read_image
from streamseg.errors import ConfigError
from streamseg.frames import Batch, Frame
from streamseg.photos import matte_photos
from streamseg.settings import SmoothSettings, load_settings
from streamseg.smooth.motion import Alpha
from streamseg.smooth.stage import MatteSmoother, smooth
from streamseg.smooth.subject import LOST_SECONDS, SubjectTracker
from tests.synthetic import picture

FRAME_SECONDS = 0.04
SIZE = 90, 160


def bodies(*circles: tuple[float, int]) -> Alpha:
    """Discs at x of a radius, with soft edges."""
    matte = np.zeros(SIZE, np.float32)
    for x, radius in circles:
        cv2.circle(matte, (round(x), 45), radius, 1, -1)
    return cv2.GaussianBlur(matte, (5, 5), 0).astype(np.float32)


def followed(tracker: SubjectTracker, mattes: list[Alpha]) -> list[Alpha]:
    return [tracker.step(matte, FRAME_SECONDS if index else 0.0) for index, matte in enumerate(mattes)]


SMALL, LARGE = bodies((40, 12)), bodies((110, 20))
BOTH = np.maximum(SMALL, LARGE)


@pytest.mark.parametrize(
    ("place", "stays"),
    [("largest", LARGE), ((0.5, 0.5), LARGE), ((0.25, 0.5), SMALL), ((0.0, 0.0), SMALL), ((1.0, 1.0), LARGE)],
)
def test_one_stays_with_its_soft_edge(place: Any, stays: Alpha) -> None:
    assert np.array_equal(SubjectTracker(place).step(BOTH, 0.0), stays)


def test_the_first_largest_stays_when_another_grows() -> None:
    mattes = [bodies((40, 16), (120, 8 + index)) for index in range(16)]
    assert np.array_equal(followed(SubjectTracker("largest"), mattes)[-1], bodies((40, 16)))


class Changing:
    """A live smoother with settings that change; its scene is one small and one large body."""

    def __init__(self, **values: Any) -> None:
        self.smoother = MatteSmoother(SmoothSettings(smooth="none", gate=False, **values))
        self.frames = 0

    def next(self, matte: Alpha, **values: Any) -> Alpha:
        self.smoother.change(self.smoother._settings.model_copy(update=values))
        frame = Frame(self.frames, Fraction(self.frames, 25), picture(0))
        self.frames += 1
        return self.smoother.step(frame, torch.from_numpy(matte)[None])[0].numpy()


@pytest.mark.parametrize("smooth", ["none", "ema", "motion"])
def test_the_same_one_stays_when_the_camera_is_mirrored(smooth: str) -> None:
    """By then, the one that was chosen is where the other one was; a frame from before each switch comes after it."""
    controls = Controls(load_settings(overrides={"keep": (0.2, 0.5), "smooth": smooth, "gate": False}))
    smoother = MatteSmoother(controls.smooth)
    shown: list[Alpha] = []

    def next(left: int, mirrored: bool) -> None:
        index, turn = len(shown), slice(None, None, -1 if mirrored else 1)
        matte = np.maximum(bodies((left, 12)), bodies((left + 60, 20)))[:, turn].copy()
        frame = Frame(index, Fraction(index, 25), np.ascontiguousarray(picture(0)[:, turn]), mirrored=mirrored)
        smoother.change(controls.smooth)
        shown.append(smoother.step(frame, torch.from_numpy(matte)[None])[0].numpy()[:, turn])

    for left in range(20, 90, 4):
        next(left, mirrored=False)
    controls.toggle("mirror")
    assert controls.current.smooth.keep == (0.8, 0.5)
    next(88, mirrored=False)
    next(88, mirrored=True)
    controls.toggle("mirror")
    next(88, mirrored=True)
    next(88, mirrored=False)
    assert controls.current.smooth.keep == (0.2, 0.5)
    kept, other = bodies((88, 12)) > 0.5, bodies((148, 20)) > 0.5
    for alpha in shown[-4:]:
        assert alpha[kept].mean() > 0.5 and alpha[other].max() < 0.05


def test_a_place_is_one_of_the_frames_that_are_shown() -> None:
    controls = Controls(load_settings(overrides={"keep": (0.2, 0.5), "mirror": True}))
    assert controls.current.smooth.keep == (0.2, 0.5)
    assert controls.smooth.keep == (0.8, 0.5)
    controls.change(mirror=False, keep=(0.3, 0.5))
    assert controls.current.smooth.keep == controls.smooth.keep == (0.3, 0.5)


def test_it_is_chosen_anew_when_the_settings_change_and_not_before() -> None:
    live = Changing()
    assert np.array_equal(live.next(BOTH), BOTH)
    assert np.array_equal(live.next(BOTH, subject="largest"), LARGE)
    assert np.array_equal(live.next(BOTH, keep=(0.25, 0.5)), SMALL)
    assert np.array_equal(live.next(BOTH, keep=None), LARGE)
    assert np.array_equal(live.next(BOTH, subject="all"), BOTH)


@pytest.mark.parametrize("values", [{"gate": True}, {"smooth": "ema"}, {"smooth": "motion"}])
def test_it_stays_when_mattes_are_smoothed_in_another_way(values: dict[str, Any]) -> None:
    """By now it is not the largest any more."""
    live = Changing(subject="largest")
    mattes = [bodies((40, 16), (120, 8 + index)) for index in range(16)]
    for matte in mattes:
        live.next(matte)
    shown = live.next(mattes[-1], **values)
    assert np.abs(shown - bodies((40, 16))).max() < 0.01


def test_two_who_meet_are_parted_again() -> None:
    """The one from the left touches the other, who stands still, and goes back."""
    way = [30 + 2 * index for index in range(25)]
    mattes = [bodies((x, 14), (110, 14)) for x in way + way[::-1]]
    found = followed(SubjectTracker((0.2, 0.5)), mattes)
    assert np.array_equal(found[-1], bodies((30, 14)))
    meeting = found[24]
    assert meeting[45, 70] == pytest.approx(1)
    assert meeting[45, 115] == 0


def test_one_who_is_alone_is_left_as_it_is() -> None:
    assert np.array_equal(SubjectTracker("largest").step(LARGE, 0.0), LARGE)


def test_nobody_is_kept_where_nobody_is() -> None:
    assert not SubjectTracker("largest").step(np.full(SIZE, 0.2, np.float32), 0.0).any()


def test_another_is_chosen_when_the_subject_has_gone_for_long() -> None:
    gone = round(LOST_SECONDS / FRAME_SECONDS) + 2
    found = followed(SubjectTracker("largest"), [BOTH] + [SMALL] * gone)
    assert not found[3].any()
    assert np.array_equal(found[-1], SMALL)


def test_who_comes_back_soon_is_known_again() -> None:
    found = followed(SubjectTracker("largest"), [BOTH] + [SMALL] * 10 + [BOTH])
    assert np.array_equal(found[-1], LARGE)


def test_a_scene_chooses_anew() -> None:
    tracker = SubjectTracker("largest")
    tracker.step(BOTH, 0.0)
    assert np.array_equal(tracker.step(SMALL, 0.0), SMALL)


@pytest.mark.parametrize(
    ("chosen", "stays"),
    [
        (SmoothSettings(smooth="none", subject="all"), BOTH),
        (SmoothSettings(smooth="none", subject="largest"), LARGE),
        (SmoothSettings(smooth="none", subject="centre"), LARGE),
        (SmoothSettings(smooth="none", keep=(0.2, 0.5)), SMALL),
        (SmoothSettings(smooth="motion", subject="largest", keep=(0.2, 0.5)), SMALL),
    ],
)
def test_settings_say_who_stays(chosen: SmoothSettings, stays: Alpha) -> None:
    batches = [Batch((Frame(i, Fraction(i, 25), picture(0)),), torch.from_numpy(BOTH)[None, None]) for i in range(3)]
    for batch in smooth(batches, chosen):
        assert np.allclose(batch.alpha[0, 0].numpy(), stays, atol=1e-5)


@pytest.mark.parametrize("value", ["0.3", "0.3,0.5,1", "left,top", "1.2,0.5", "-1,0", 3, [0.1, None]])
def test_a_place_is_two_fractions(value: object) -> None:
    with pytest.raises(ConfigError, match=r"keep: write X,Y as fractions .* such as 0\.3,0\.5 \(got "):
        load_settings(overrides={"keep": value})


@pytest.mark.parametrize("value", ["0.3,0.5", " 0.3 , 0.5", [0.3, 0.5]])
def test_a_place_is_read(value: object) -> None:
    assert load_settings(overrides={"keep": value}).smooth.keep == (0.3, 0.5)


class TwoBodies:
    """Finds a body on the left and a larger one on the right, whatever it sees."""

    name, device = "two", "cpu"

    def alpha(self, frames: Tensor) -> Tensor:
        found = torch.zeros(len(frames), 1, *frames.shape[-2:])
        height, width = found.shape[-2:]
        found[..., height // 3 : height // 2, width // 8 : width // 4] = 1
        found[..., height // 3 : 2 * height // 3, width // 2 : 3 * width // 4] = 1
        return found


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [({}, (True, True)), ({"subject": "largest"}, (False, True)), ({"keep": "0.2,0.4"}, (True, False))],
)
def test_photos_too(tmp_path: Path, chosen: dict[str, str], shown: tuple[bool, bool]) -> None:
    photo, out = tmp_path / "a.png", tmp_path / "b.png"
    cv2.imwrite(str(photo), picture(0))
    settings = load_settings(overrides={"matte_only": True, "input_size": 128, **chosen})
    (done,) = matte_photos([(photo, out)], TwoBodies(), settings)
    assert done.problem is None
    matte = read_image(out)[..., 0]
    middle = matte.shape[1] * 3 // 8
    assert (matte[:, :middle].max() > 200, matte[:, middle:].max() > 200) == shown
