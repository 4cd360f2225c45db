"""The simulation of a cluster, on jobs that can be reckoned by hand: one second is ten frames."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.scaling import RATE, Cluster, Costs, Loss, Outcome, Simulation, archive, cut, limits, simulate

FREE = Costs(
    frame=0.1,
    segment=0,
    written_bytes=0,
    start=0,
    plan=0,
    join_frame=0,
    join_segment=0,
    driver=0,
    read_bytes=0,
    extra_frames=0,
    seam_bytes=0,
)
ONE_EACH = Cluster(2, workers_on_node=1, noticed_seconds=0, replaced_seconds=1000)
FOUR_SEGMENTS = [[10, 10, 10, 10]]


def run(
    files: list[list[int]],
    costs: Costs,
    workers: int,
    cluster: Cluster = ONE_EACH,
    losses: tuple[Loss, ...] = (),
    speed: float = 1.0,
) -> Outcome:
    return Simulation(files, costs, cluster, [speed] * workers, losses).run()


def test_nothing_is_wasted_without_overhead_and_losses() -> None:
    outcome = run(FOUR_SEGMENTS, FREE, workers=2)
    assert outcome.finish_seconds == pytest.approx(2)
    assert outcome.efficiency == outcome.busy_efficiency == pytest.approx(1)


def test_one_worker_does_one_thing_after_another() -> None:
    costs = replace(FREE, start=3, plan=1, segment=2, driver=0.5, join_frame=0.01, join_segment=0.1)
    outcome = run(FOUR_SEGMENTS, costs, workers=1)
    assert outcome.finish_seconds == pytest.approx(3 + (0.5 + 1) + 4 * (0.5 + 2 + 1) + (0.5 + 0.4 + 0.4))
    assert outcome.spent["useful"] == pytest.approx(4)
    assert outcome.efficiency == pytest.approx(4 / outcome.finish_seconds)


def test_a_slow_worker_keeps_the_others_waiting() -> None:
    outcome = Simulation([[10, 10]], FREE, ONE_EACH, [1, 1 / 3]).run()
    assert outcome.finish_seconds == pytest.approx(3)
    assert outcome.spent["useful"] == pytest.approx(4)
    assert outcome.spent["idle"] == pytest.approx(2)
    assert outcome.efficiency == pytest.approx(4 / 6)
    assert outcome.busy_efficiency == pytest.approx(1)


def test_a_loss_costs_the_segment_under_way_and_no_other() -> None:
    outcome = run(FOUR_SEGMENTS, FREE, workers=2, losses=((0.75, 1),))
    assert outcome.finish_seconds == pytest.approx(4)
    assert (outcome.frames, outcome.segments) == (40, 4)
    assert outcome.spent["lost"] == pytest.approx(0.75)
    assert outcome.spent["gone"] == pytest.approx(3.25)
    assert outcome.efficiency == pytest.approx(4 / 4.75)
    assert outcome.most_losses == 1


def test_a_segment_lost_just_before_its_end_is_done_once_more_by_the_replaced_worker() -> None:
    at_once = replace(ONE_EACH, replaced_seconds=0)
    outcome = run(FOUR_SEGMENTS, FREE, workers=1, cluster=at_once, losses=((2 - 1e-9, 0),))
    assert outcome.finish_seconds == pytest.approx(5)
    assert outcome.spent["lost"] == pytest.approx(1)


def test_a_loss_is_noticed_after_a_while_and_the_new_worker_starts_anew() -> None:
    cluster = replace(ONE_EACH, noticed_seconds=5, replaced_seconds=8)
    outcome = run([[10]], replace(FREE, start=2), workers=1, cluster=cluster, losses=((2.5, 0),))
    assert outcome.finish_seconds == pytest.approx(2.5 + 8 + 2 + 1)
    assert outcome.spent["starting"] == pytest.approx(4)


def test_workers_of_a_node_are_lost_together() -> None:
    cluster = replace(ONE_EACH, workers_on_node=2)
    outcome = run(FOUR_SEGMENTS, FREE, workers=3, cluster=cluster, losses=((0.5, 0),))
    assert outcome.spent["lost"] == pytest.approx(1)
    assert outcome.finish_seconds == pytest.approx(4)


def test_the_storage_is_shared() -> None:
    costs = replace(FREE, frame=0.01, written_bytes=1e8)
    cluster = replace(ONE_EACH, storage_bytes=1e9, link_bytes=1e9)
    outcome = run(FOUR_SEGMENTS, costs, workers=4, cluster=cluster)
    assert outcome.finish_seconds == pytest.approx(4 + 8)  # 1 GB a segment; to join, all is read and written.


def test_one_worker_moves_no_more_than_its_link() -> None:
    costs = replace(FREE, frame=0.01, written_bytes=1e8)
    cluster = replace(ONE_EACH, storage_bytes=4e9, link_bytes=1e9)
    assert run(FOUR_SEGMENTS, costs, workers=4, cluster=cluster).finish_seconds == pytest.approx(1 + 8)


def test_what_a_lost_worker_was_moving_is_moved_no_further() -> None:
    costs = replace(FREE, frame=0.01, written_bytes=1e9)
    cluster = replace(ONE_EACH, storage_bytes=1e9, link_bytes=1e9, replaced_seconds=0)
    outcome = run([[10]], costs, workers=1, cluster=cluster, losses=((1.0, 0),))
    assert outcome.finish_seconds == pytest.approx(1 + 10 + 20)


def test_the_driver_hands_out_one_task_at_a_time() -> None:
    outcome = run([[10] * 10], replace(FREE, driver=1), workers=100)
    assert outcome.finish_seconds == pytest.approx(1 + 10 + 1 + 1)  # Plan, segments, the last one's matting, join.


def test_work_and_time_are_conserved_whatever_is_lost() -> None:
    chance = random.Random(1)
    files = [cut(length, 10) for length in archive(chance, clips=20)]
    cluster = Cluster(40, workers_on_node=4, losses_an_hour=20, noticed_seconds=3, replaced_seconds=20)
    costs = Costs(frame=0.05, segment=2, written_bytes=1e6)
    outcome = Simulation(files, costs, cluster, [1.0] * 40, cluster.losses(chance)).run()
    frames = sum(map(sum, files))
    assert (outcome.frames, outcome.segments) == (frames, sum(map(len, files)))
    assert outcome.spent["useful"] == pytest.approx(frames * costs.frame)
    assert sum(outcome.spent.values()) == pytest.approx(40 * outcome.finish_seconds)
    assert outcome.spent["lost"] > 0 and outcome.spent["gone"] > 0 and outcome.spent["storage"] > 0


@pytest.mark.parametrize("seconds", [0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 6.0])
def test_no_task_is_lost_with_a_worker_whatever_it_is_doing(seconds: float) -> None:
    """Both losses come in one moment, also in that of hand-outs and finishes; each driver's turn takes a second."""
    at_once = replace(ONE_EACH, replaced_seconds=0)
    costs = replace(FREE, driver=1, written_bytes=1e7)
    outcome = run(FOUR_SEGMENTS, costs, workers=2, cluster=at_once, losses=((seconds, 0), (seconds, 1)))
    assert (outcome.frames, outcome.segments) == (40, 4)
    assert sum(outcome.spent.values()) == pytest.approx(2 * outcome.finish_seconds)


def test_a_seed_says_the_same_each_time() -> None:
    cluster = Cluster(50, losses_an_hour=5)
    costs = Costs(frame=0.05, segment=2, written_bytes=1e6)
    first, second, other = (simulate([1000.0, 500.0], 20, costs, cluster, seed) for seed in (1, 1, 2))
    assert first == second != other


def test_segments_hold_all_frames() -> None:
    assert cut(70, 20) == [600, 600, 600, 300]
    assert cut(65, 20) == [600, 600, 750]
    assert cut(3, 20) == [3 * RATE]


def test_the_limits_of_one_worker_are_those_of_the_simulation() -> None:
    costs = replace(FREE, segment=1, join_segment=0.5)
    found = limits(60, 20, costs, Cluster(1))
    outcome = run([cut(60, 20)], costs, workers=1)
    assert found["matting"] + found["join"] == pytest.approx(outcome.finish_seconds)
    assert found["slow worker's segment"] == pytest.approx(3 * 61)
