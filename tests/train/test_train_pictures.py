from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.errors import OutputError
from tests.train.test_train_metrics import oracle_scores
from train.pictures import CAPTION_PX, GAP_PX, GREYS, TILE_PX, Tile, contact_sheet
from train.report import WORST, Worst

ROW_PX, STRIP_PX = TILE_PX + GAP_PX + CAPTION_PX, 4 * (TILE_PX + GAP_PX)


def tile(height: int = 320, width: int = 320, alpha: float = 1.0) -> Tile:
    image = np.full((height, width, 3), (250, 10, 20), np.uint8)
    mask = np.full((height, width), 200, np.uint8)
    return Tile(image, mask, np.full((height, width), alpha, np.float32), "red")


def read(path: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_a_tile_shows_image_mask_alpha_and_cutout(tmp_path: Path) -> None:
    contact_sheet([tile(alpha=0.4)], tmp_path / "sheet.png")
    sheet = read(tmp_path / "sheet.png")
    assert sheet.shape == (ROW_PX, 2 * STRIP_PX, 3)
    image, mask, alpha, cutout = (sheet[4, 4 + n * (TILE_PX + GAP_PX)] for n in range(4))
    assert tuple(image) == (250, 10, 20)
    assert tuple(mask) == (200, 200, 200)
    assert tuple(alpha) == (102, 102, 102)
    blends = [np.rint(np.array((250, 10, 20)) * 0.4 + grey * 0.6).astype(int).tolist() for grey in GREYS]
    assert cutout.tolist() in blends
    assert sheet[TILE_PX + GAP_PX :, :STRIP_PX].max() > 100  # the caption
    assert sheet[:, STRIP_PX:].max() == 0


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 1), (3, 2), (16, 8)])
def test_tiles_of_any_proportions_stand_two_abreast(tmp_path: Path, count: int, rows: int) -> None:
    sizes = [(30, 700), (700, 30), (160, 160), (5, 5)]
    contact_sheet([tile(*sizes[n % 4]) for n in range(count)], tmp_path / "sheet.png")
    assert read(tmp_path / "sheet.png").shape == (rows * ROW_PX, 2 * STRIP_PX, 3)


def test_a_sheet_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*sheet\.png"):
        contact_sheet([tile()], tmp_path / "no" / "sheet.png")


def test_the_worst_are_kept_in_order() -> None:
    records = [replace(record, index=n) for n, record in enumerate([*oracle_scores().values()] * 3)]
    worst = Worst()
    passed = list(worst.watched((record, tile(8, 8)) for record in records))
    assert [record.index for record in passed] == list(range(len(records)))
    errors = sorted((record.mae for record in records), reverse=True)[:WORST]
    captions = [kept.caption for kept in worst.tiles()]
    assert captions == [f"red  MAE {error:.3f}" for error in errors]
