"""Two processes on the CPU, started by torchrun as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from train.config import load_config
from train.distributed import Ranks
from train.loop import Trainer
from train.schedule import Plan, batches

CONFIG = """
name = "two"
[data]
train = ["set"]
validate_on = ["set.tar"]
workers = 0
[augment]
phases = [{ resize_px = 72, crop_px = 64 }]
[optim]
batch_size = 4
accumulate = 2
epochs = 1
warmup_epochs = 0
[evaluate]
every_epochs = 1
size_px = 64
"""


def torchrun(root: Path, processes: int, *overrides: str) -> subprocess.CompletedProcess[str]:
    (root / "two.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "train", str(root / "two.toml"), f"data.root={root}", *overrides, "--folder", str(root / "run")]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_two_processes_score_to_the_last_digit_like_one(root: Path) -> None:
    # Seven images: the two processes' shares differ in size, and none may count twice.
    for folder in ("images", "masks"):
        (root / "set" / folder / "shape7.png").rename(root / f"left_out_{folder}.png")
    done = torchrun(root, 2, 'data.validate_on=["set"]', "optim.batch_size=4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("7 images, 1 steps of 4, 2 x cpu float32") == 1
    record = json.loads((root / "run" / "evaluations.jsonl").read_text())
    assert record["images"] == 7
    config = load_config(root / "two.toml", [f"data.root={root}", 'data.validate_on=["set"]'])
    one = Trainer(config, root / "run", torch.device("cpu"))
    one.resume()
    alone = one._scores()
    for name in alone.__dataclass_fields__:
        assert record[name] == getattr(alone, name), name


def test_more_processes_than_a_batch_has_images_is_one_line(root: Path) -> None:
    done = torchrun(root, 2, "optim.batch_size=1", "optim.accumulate=1")
    assert done.returncode != 0
    assert "error: optim.batch_size is 1; 2 processes that cut their share into 1 need a multiple of 2" in done.stderr
    assert not (root / "run").exists()


def test_one_process_talks_to_nobody() -> None:
    alone = Ranks()
    assert alone.is_main
    assert alone.gather([1, 2]) == [1, 2]
    assert alone.any(True)
    assert not alone.any(False)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_shares_of_a_step_are_the_whole_step(ranks: int) -> None:
    plan = Plan(images=20, batch_size=8, total_steps=3, warmup_steps=0, evaluate_every_steps=9, accumulate=2)
    whole = list(batches(plan, seed=0, first_step=0))
    shares = [list(batches(plan, 0, 0, rank, ranks)) for rank in range(ranks)]
    for step in range(3):
        dealt = [key for share in shares for part in share[2 * step : 2 * step + 2] for key in part]
        assert sorted(dealt) == sorted(key for part in whole[2 * step : 2 * step + 2] for key in part)
        assert {key[0] for key in dealt} == {step}
