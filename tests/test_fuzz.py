"""Damaged files end with a result or with one line; `make fuzz` tries many more."""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.fuzz.case import FAULTS, damaged
from tests.fuzz.mutations import MUTATIONS, mutated, siblings_in
from tests.fuzz.run import run
from tests.fuzz.seeds import Seed, all_seeds

RUN, FILES = 1, 200
MAY_DO_NOTHING = ("blank", "write_extremes", "swap_stretches", "swap_boxes")
"""Where pieces are alike."""


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    return all_seeds()


@pytest.mark.skipif(os.name == "nt", reason="processes cannot be limited there")
def test_damaged_files(seeds: list[Seed]) -> None:
    tried = list(run(seeds, RUN, range(FILES), jobs=1))
    assert sorted(case.number for case, _ in tried) == list(range(FILES))
    outcomes = {finding.outcome for _, findings in tried for finding in findings}
    assert outcomes >= {"done", "refused"}
    assert [
        (case.number, case.seed.name, case.damage, finding)
        for case, findings in tried
        for finding in findings
        if finding.outcome in FAULTS
    ] == []


def test_a_case_is_the_same_each_time(seeds: list[Seed]) -> None:
    assert damaged(seeds, RUN, 7) == damaged(seeds, RUN, 7)
    assert damaged(seeds, RUN, 7).data != damaged(seeds, RUN, 8).data


@pytest.mark.parametrize("name", ["h264 and aac.mp4", "alpha.png", "lossy.webp"])
def test_boxes_are_found(name: str, seeds: list[Seed]) -> None:
    data = next(seed.data for seed in seeds if seed.name == name)
    assert all(len(siblings_in(data, Random(number))) >= 2 for number in range(8))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_anything_can_be_damaged(mutation, seeds: list[Seed]) -> None:  # type: ignore[no-untyped-def]
    for number, data in enumerate((b"\0", b"ab", *(seed.data for seed in seeds))):
        changed = bytearray(data)
        mutation(changed, Random(number), seeds[0].data)
        assert changed != data or len(data) < 3 or mutation.__name__ in MAY_DO_NOTHING


def test_several_at_once() -> None:
    data, names = mutated(bytes(range(256)), [b"other"], Random(1))
    assert data != bytes(range(256))
    assert names
