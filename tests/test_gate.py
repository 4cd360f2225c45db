"""The gate: nobody there, nothing shown; whoever comes in is whole at once, and hair stays hair."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from streamseg.smooth.gate import FADE_SECONDS, HOLD_SECONDS, PresenceGate
from streamseg.smooth.motion import Alpha

FRAME_SECONDS = 0.04
SIZE = 90, 160
EMPTY = np.zeros(SIZE, np.float32)


def spot(x: int, alpha: float, radius: int = 14) -> Alpha:
    matte = EMPTY.copy()
    cv2.circle(matte, (x, 45), radius, alpha, -1)
    return matte


def gated(mattes: list[Alpha]) -> list[Alpha]:
    gate = PresenceGate()
    return [gate.step(matte, FRAME_SECONDS if index else 0.0) for index, matte in enumerate(mattes)]


GHOST, PERSON = spot(120, 0.5), spot(40, 1.0)


@pytest.mark.parametrize("matte", [EMPTY, GHOST, EMPTY + np.float32(0.05)], ids=["nothing", "ghost", "haze"])
def test_an_empty_room_stays_empty(matte: Alpha) -> None:
    assert np.max(gated([matte] * 10)) == 0


def test_who_comes_in_is_whole_at_once() -> None:
    found = gated([GHOST] * 5 + [PERSON] * 3)
    assert np.array_equal(found[5], PERSON)


def test_hair_stays_as_it_is() -> None:
    """What is soft and touches a body, or is fainter than haze, is not changed."""
    soft = cv2.GaussianBlur(PERSON, (31, 31), 0).astype(np.float32)
    assert 0 < np.mean((soft > 0) & (soft < 0.5)) < 0.5
    assert np.array_equal(gated([soft] * 3)[-1], soft)


def test_a_ghost_beside_a_person_goes() -> None:
    assert np.array_equal(gated([np.maximum(GHOST, PERSON)] * 3)[-1], PERSON)


def test_one_of_whom_the_network_is_less_sure_for_a_while_stays() -> None:
    """Between the two limits a part that is open stays open for as long as that lasts."""
    doubtful = 0.65 * PERSON
    assert np.array_equal(gated([PERSON] + [doubtful] * 50)[-1], doubtful)
    assert np.max(gated([doubtful] * 50)[-1]) == 0


def test_a_drop_out_is_bridged_and_an_end_fades() -> None:
    faint = np.float32(0.3) * PERSON
    found = gated([PERSON] + [faint] * 25)
    held, faded = (round(seconds / FRAME_SECONDS) for seconds in (HOLD_SECONDS, HOLD_SECONDS + FADE_SECONDS))
    assert np.array_equal(found[held - 1], faint)
    tops = [float(matte.max()) for matte in found[held : faded + 2]]
    assert tops == sorted(tops, reverse=True)
    assert 0 < tops[2] < 0.3
    assert tops[-1] == 0


def test_who_moves_stays_open() -> None:
    mattes = [spot(40 + 3 * index, 1.0 if index == 0 else 0.7) for index in range(30)]
    assert all(np.array_equal(found, matte) for found, matte in zip(gated(mattes), mattes, strict=True))


def test_noise_opens_nothing() -> None:
    grain = EMPTY.copy()
    grain[10, 10] = 1
    assert np.max(gated([grain] * 3)[-1]) == 0


def test_a_scene_begins_closed() -> None:
    gate = PresenceGate()
    gate.step(PERSON, 0.0)
    assert np.max(gate.step(0.65 * PERSON, 0.0)) == 0


def test_mattes_of_another_size_begin_anew() -> None:
    gate = PresenceGate()
    gate.step(PERSON, 0.0)
    small = np.full((20, 30), 0.5, np.float32)
    assert np.max(gate.step(small, FRAME_SECONDS)) == 0
