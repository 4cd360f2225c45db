"""Networks of others, judged and as teachers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamseg.infer.engines import open_engine
from streamseg.model.weights import load_model
from tests.test_foreign import PLAIN, grey, port, write
from tests.train.test_train_cli import exit_code
from train.data import pairs_at
from train.evaluate import predict


@pytest.fixture
def fixed(root: Path) -> Path:
    """A network of somebody else's for 192 x 192 px alone, whose alpha is the image's grey."""
    side = 192
    ports = ([port("x", (1, 3, side, side))], [port("alpha", (1, 1, side, side))])
    return write(root / "fixed.onnx", [grey()], *ports, toml=PLAIN)


@pytest.fixture
def stripes(root: Path) -> Path:
    """A set of one image, 192 x 192 px: stripes of 3 px, and itself as its mask."""
    mask = np.tile(np.repeat(np.uint8([0, 255]), 3), (192, 32))
    for name in ("images", "masks"):
        (root / "stripes" / name).mkdir(parents=True)
        cv2.imwrite(str(root / "stripes" / name / "a.png"), mask)
    return root / "stripes"


def test_eval_gives_a_network_of_one_size_that_size(
    fixed: Path, stripes: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("eval", "--weights", fixed, "--data", stripes, "--size", 64, "--out", root / "report") == 0
    assert f"{fixed} on {stripes}, 192 px (1 images)" in capsys.readouterr().out
    record = json.loads((root / "report" / "scores.json").read_text())
    assert record["size_px"] == 192
    assert record["mae"] < 0.01


def test_teach_gives_a_network_of_one_size_that_size(
    fixed: Path, stripes: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = root / "soft.tar"
    assert exit_code("teach", "--weights", fixed, "--data", stripes, "--size", 64, "-o", out) == 0
    assert capsys.readouterr().out.strip().endswith(f"1 images with the alpha of {fixed} at 192 px")
    image, taught = pairs_at(out)[0].load()
    alpha = predict(open_engine("auto", load_model(fixed)).alpha, image, 192, False, torch.device("cpu"))
    np.testing.assert_allclose(taught, alpha * 255, atol=0.51)
