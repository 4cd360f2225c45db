"""A live run's file holds frames of one kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest

from streamseg.composite.live import LiveCompositor
from streamseg.controls import Controls
from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.settings import load_settings
from streamseg.sink import open_sink
from streamseg.sink.one_kind import OneKindSink, as_kind
from tests.synthetic import frames, true_alpha

LOOKS: list[dict[str, object]] = [{"bg": "red"}, {"bg": None}, {"matte_only": True}, {"paused": True}]


def shown(look: dict[str, object], index: int = 0) -> Frame:
    """What a live run shows with a look: a composite, a foreground, a matte or a card."""
    frame = frames(index + 1)[index]
    values = {name: value for name, value in look.items() if name != "paused"}
    with LiveCompositor(Controls(load_settings(overrides=values))) as compositor:
        card = "paused" if "paused" in look else None
        return compositor(replace(frame, card=card), true_alpha(index).astype(np.float32) / 255)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("look", LOOKS)
def test_any_frame_becomes_one_of_the_kind(look: dict[str, object], kind: Kind) -> None:
    assert as_kind(shown(look), kind).kind == kind


def test_what_the_file_is_for_does_not_depend_on_what_is_shown() -> None:
    foreground, matte = shown(LOOKS[1]).pixels, shown(LOOKS[2]).pixels
    assert np.array_equal(as_kind(shown(LOOKS[0]), "foreground").pixels, foreground)
    assert np.array_equal(as_kind(shown(LOOKS[0]), "matte").pixels, matte)
    assert np.array_equal(as_kind(shown(LOOKS[1]), "matte").pixels, matte)
    assert not as_kind(shown(LOOKS[3]), "foreground").pixels.any()
    assert not as_kind(shown(LOOKS[3]), "matte").pixels.any()


def test_frames_of_the_kind_are_handed_on_as_they_are() -> None:
    frame = shown(LOOKS[0])
    assert as_kind(frame, "composite") is frame


@pytest.mark.parametrize(
    ("name", "kind", "pixel_format"), [("a.mov", "foreground", "yuva444p12le"), ("a.mp4", "composite", "yuv420p")]
)
def test_a_file_goes_on_through_all_of_them(tmp_path: Path, name: str, kind: Kind, pixel_format: str) -> None:
    path = tmp_path / name
    with OneKindSink(open_sink(str(path), VideoInfo(128, 96), kind), kind) as sink:
        for index, look in enumerate([*LOOKS, LOOKS[1]]):
            sink.write(shown(look, index))
    with av.open(str(path)) as container:
        played = list(container.decode(video=0))
    assert len(played) == 5
    assert {frame.format.name for frame in played} == {pixel_format}
