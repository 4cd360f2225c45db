"""What a newcomer sees first, `make demo`: the astronaut is kept whole, and the flag and the rocket are gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamseg.decode import open_source
from streamseg.infer.engines import load_engine
from streamseg.infer.engines.base import Engine
from streamseg.infer.every_frame import infer
from streamseg.settings import InferSettings

SAMPLES = Path(__file__).parents[1] / "samples"

Box = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of the picture's width and height."""

PORTRAIT: dict[str, Box] = {
    "flag": (0.0, 0.05, 0.08, 0.35),
    "rocket": (0.76, 0.03, 0.88, 0.52),
    "face": (0.37, 0.17, 0.52, 0.33),
    "suit": (0.15, 0.52, 0.38, 0.72),
}
TALK: dict[int, dict[str, Box]] = {
    0: {"flag": (0.0, 0.2, 0.1, 0.75), "rocket": (0.79, 0.05, 0.95, 0.9), "face": (0.4, 0.35, 0.54, 0.55)},
    60: {"flag": (0.0, 0.2, 0.06, 0.75), "rocket": (0.88, 0.1, 0.96, 0.9), "face": (0.4, 0.35, 0.57, 0.6)},
}
EMPTY, WHOLE = ("flag", "rocket"), ("face", "suit")


def mean_alpha(alpha: np.ndarray, box: Box) -> float:
    height, width = alpha.shape
    left, top, right, bottom = (round(share * side) for share, side in zip(box, (width, height) * 2, strict=True))
    return float(alpha[top:bottom, left:right].mean())


@pytest.fixture(scope="module", params=["fp32", "int8"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return load_engine(InferSettings(precision=request.param, engine="openvino"))


def mattes(engine: Engine, clip: str, frames: set[int]) -> dict[int, np.ndarray]:
    """Alpha `(H, W)` of some frames, at the network's size."""
    with open_source(str(SAMPLES / clip)) as source:
        wanted = (frame for index, frame in enumerate(source) if index in frames)
        return {
            index: batch.alpha[0, 0].numpy()
            for index, batch in zip(sorted(frames), infer(wanted, engine, input_size=320), strict=True)
        }


def check(alpha: np.ndarray, boxes: dict[str, Box]) -> None:
    found = {name: round(mean_alpha(alpha, box), 3) for name, box in boxes.items()}
    assert all(found[name] <= 0.05 for name in EMPTY if name in found), found
    assert all(found[name] >= 0.95 for name in WHOLE if name in found), found


def test_the_portrait(engine: Engine) -> None:
    check(mattes(engine, "portrait.jpg", {0})[0], PORTRAIT)


def test_the_talk(engine: Engine) -> None:
    for index, alpha in mattes(engine, "talk.mp4", set(TALK)).items():
        check(alpha, TALK[index])
