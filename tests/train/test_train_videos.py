from __future__ import annotations

import json
import math
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from streamseg.errors import DataError
from streamseg.settings import load_settings
from tests.synthetic import DiscEngine, true_alpha, write_clip
from tests.train.test_train_cli import exit_code, the_error
from train.clips import MASKS, MaskClip, opened_clips
from train.synth.files import SyntheticClip, find_clips
from train.video_report import outcomes, print_clips, print_goals, write_video_report
from train.videos import BILINEAR, OWN_PIXELS, STREAMSEG, UNSMOOTHED, ClipFigures, engine_opener, judge_clip


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """A folder with one clip of a disc, and its binary masks."""
    folder = tmp_path / "clips" / "disc"
    (folder / "masks").mkdir(parents=True)
    clip = write_clip(folder / "clip.mp4", 6, sound=False)
    for index in range(clip.frames):
        mask = np.where(true_alpha(index) >= 128, 1, 0).astype(np.uint8)
        cv2.imwrite(str(folder / "masks" / f"{index:05}.png"), mask)
    return tmp_path / "clips"


def judged(clip: SyntheticClip, **settings: object) -> ClipFigures:
    chosen = load_settings(overrides={"model": "truth", **settings})
    return judge_clip(clip, engine_opener(chosen), chosen)


def test_a_right_network_leaves_the_errors_of_the_rest(made: list[SyntheticClip]) -> None:
    rows = judged(made[0], smooth="none", input_size=160).rows
    assert set(rows) == {STREAMSEG, BILINEAR, OWN_PIXELS}
    ours = rows[STREAMSEG]
    assert ours["all.iou"] > 0.94  # Frames of 96 lines: hair is as wide as the refinement's pixels.
    assert 0 < ours["all.mad"] < 12
    assert ours["band.mad"] > ours["all.mad"]
    assert {"band.composite", "band.foreground", "all.messddt", "all.dtssd"} <= ours.keys()
    assert "band.composite" in rows[OWN_PIXELS] and "band.mad" not in rows[OWN_PIXELS]


def test_the_pipelines_smoothing_is_judged(made: list[SyntheticClip]) -> None:
    """A slow filter leaves a trail behind the hand; the row beside it has none."""
    hand = next(clip for clip in made if clip.kind == "hand")
    rows = judged(hand, smooth="ema", ema_seconds=0.3, input_size=160).rows
    assert rows[UNSMOOTHED]["trail_1"] < 0.1 < rows[STREAMSEG]["trail_1"]
    assert rows[UNSMOOTHED]["all.dtssd"] < rows[STREAMSEG]["all.dtssd"]
    plain = judged(hand, smooth="none", input_size=160).rows[STREAMSEG]
    assert rows[UNSMOOTHED] == {name: value for name, value in plain.items() if name in rows[UNSMOOTHED]}


def test_figures_do_not_depend_on_the_batch_size(made: list[SyntheticClip]) -> None:
    assert judged(made[2], batch_size=1) == judged(made[2], batch_size=3)


def test_rooms_and_entrances_have_figures_of_their_own(made: list[SyntheticClip]) -> None:
    empty, enters = (judged(next(clip for clip in made if clip.kind == kind)) for kind in ("empty", "enters"))
    assert empty.rows[STREAMSEG]["all.mad"] == 0
    assert math.isnan(empty.rows[STREAMSEG]["band.mad"])
    assert "entrance_seconds" in enters.rows[STREAMSEG]


def test_binary_masks_are_judged_without_soft_figures(masks: Path) -> None:
    with opened_clips(masks) as clips:
        (clip,) = clips
        settings = load_settings(overrides={"smooth": "none"})
        ours = judge_clip(clip, lambda _: DiscEngine(), settings).rows[STREAMSEG]
    assert clip.kind == MASKS
    assert ours["all.iou"] > 0.9
    assert math.isnan(ours["band.mad"]) and "all.grad" not in ours and "band.composite" not in ours
    assert ours["all.messddt"] < 20


def test_a_shard_of_clips_is_unpacked_while_it_is_open(masks: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "clips.tar", "w") as shard:
        shard.add(masks, arcname=".")
    with opened_clips(tmp_path / "clips.tar") as clips:
        assert [clip.name for clip in clips] == ["disc"]
        assert clips[0].path.exists()
        assert len(list(clips[0].truths())) == 6
    assert not clips[0].path.exists()


@pytest.mark.parametrize(("change", "message"), [("remove", "more frames than mattes"), ("add", "more mattes than")])
def test_truths_for_every_frame_and_no_more(change: str, message: str, masks: Path) -> None:
    folder = masks / "disc" / "masks"
    if change == "remove":
        (folder / "00005.png").unlink()
    else:
        shutil.copy(folder / "00005.png", folder / "00006.png")
    with pytest.raises(DataError, match=message):
        judge_clip(MaskClip(masks / "disc"), lambda _: DiscEngine(), load_settings())


def test_masks_without_leading_zeros_are_in_the_frames_order(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for index in range(12):
        mask = np.zeros((4, 12), np.uint8)
        mask[:, index] = 255
        cv2.imwrite(str(tmp_path / "masks" / f"{index}.png"), mask)
    assert [int(truth.alpha[0].argmax()) for truth in MaskClip(tmp_path).truths()] == list(range(12))


def test_masks_of_another_size_are_refused(masks: Path) -> None:
    for path in (masks / "disc" / "masks").iterdir():
        cv2.imwrite(str(path), np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match="mattes \\(8, 8\\)"):
        judge_clip(MaskClip(masks / "disc"), lambda _: DiscEngine(), load_settings())


def test_the_command_prints_tables_and_writes_json(
    made: list[SyntheticClip], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "130")
    data, out = made[0].folder.parent, tmp_path / "report"
    assert (
        exit_code("eval", "--video", "--model", "truth", "--data", data, "--out", out, "input_size=320", "gate=false")
        == 0
    )
    told = capsys.readouterr().out
    for expected in ("all pixels", "unknown band", "mean, bilinear", "mean, unsmoothed", "mean, own pixels"):
        assert expected in told
    report = json.loads((out / "video.json").read_text())
    assert report["settings"]["infer"]["input_size"] == 320
    assert [clip["name"] for clip in report["clips"]] == [clip.name for clip in find_clips(data)]
    assert report["clips"][-1]["streamseg"]["band.mad"] is None
    goals = {goal["goal"]: goal for goal in report["goals"]}
    assert goals["empty rooms: mean alpha"]["reached"] is True
    assert goals["hand: frames of trail"]["yardstick"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--video", "speed=1"), "unknown setting 'speed'"),
        (("--video", "fast"), "not of the form name=value"),
        (("--video", "stride=4"), "leave out stride=4"),
        (("smooth=ema",), "add --video"),
    ],
)
def test_settings_that_cannot_be(
    arguments: tuple[str, ...], message: str, made: list[SyntheticClip], capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in the_error(capsys, "eval", "--model", "truth", "--data", made[0].folder.parent, *arguments)


def test_data_without_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.tar").write_bytes(b"no shard")
    for data, message in ((tmp_path, "holds no clips"), (tmp_path / "no.tar", "neither a folder nor")):
        assert message in the_error(capsys, "eval", "--video", "--model", "truth", "--data", data)


def figures(kind: str, ours: dict[str, float], **others: dict[str, float]) -> ClipFigures:
    return ClipFigures(kind, kind, {STREAMSEG: ours, **{name.replace("_", " "): row for name, row in others.items()}})


def test_goals_compare_means_with_yardsticks() -> None:
    clips = [
        figures(
            "person",
            {"band.grad": 1.0, "band.composite": 6.0},
            bilinear={"band.grad": 3.0},
            unsmoothed={"all.iou": 0.85},
            own_pixels={"band.composite": 10.0},
        ),
        figures(
            "person",
            {"band.grad": 2.0, "band.composite": math.nan},
            bilinear={"band.grad": 1.0},
            unsmoothed={"all.iou": 0.5},
        ),
        figures("empty", {"all.mad": 6.0}, unsmoothed={"all.mad": 12.0}),
        figures("hand", {"trail_frames": 1.0, "trail_1": 0.4}, unsmoothed={"all.iou": 0.9, "trail_frames": 0.0}),
        figures("hand", {"trail_frames": 0.0}, unsmoothed={"all.iou": 0.0}),  # not found: no trail to speak of
    ]
    found = {outcome.goal.told: outcome for outcome in outcomes(clips)}
    assert (found["edges: Grad, band"].ours, found["edges: Grad, band"].theirs) == (1.5, 2.0)
    assert found["edges: Grad, band"].reached is True
    assert (found["where found: Grad, band"].ours, found["where found: Grad, band"].theirs) == (1.0, 3.0)
    assert found["foreground: composite, band"].reached is False
    assert (found["empty rooms: mean alpha"].ours, found["empty rooms: mean alpha"].reached) == (0.006, False)
    assert (found["hand: frames of trail"].ours, found["hand: frames of trail"].reached) == (1.0, True)
    assert found["hand: alpha left after a frame"].reached is None
    assert "edges: MAD, band" not in found


def test_tables_and_reports_without_figures(tmp_path: Path) -> None:
    console = Console(record=True, width=130)
    clips = [figures("masks", {"all.mad": 12.3456, "band.mad": math.nan})]
    print_clips(clips, "all", console)
    print_clips(clips, "band", console)
    print_goals(clips, console)
    told = console.export_text()
    assert "12.35" in told and "unknown band" not in told
    write_video_report(tmp_path / "report", {}, clips)
    assert json.loads((tmp_path / "report" / "video.json").read_text())["clips"][0]["streamseg"]["band.mad"] is None
