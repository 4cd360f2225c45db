"""`make gpu-check` and `make gpu-train`, rehearsed: the very commands, on the CPU, with everything tiny."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tarfile
from functools import partial
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamseg.infer.engines import ENGINES
from streamseg.model.u2net import LITE, U2Net
from streamseg.model.weights import read_info, save_weights
from tests import gpu_check
from tests.train.conftest import write_pair
from train.__main__ import main
from train.loop import Trainer

REPOSITORY = Path(__file__).parents[1]


def commands(target: str, *variables: str) -> list[list[str]]:
    """What make would run, word by word."""
    make = ["make", "--dry-run", "--no-print-directory", target, "RUN=python3", *variables]
    # A make that runs these tests has its own variables there.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    printed = subprocess.run(make, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True).stdout
    return [shlex.split(line) for line in printed.replace("\\\n", " ").splitlines()]


def test_nothing_is_set_up_when_told_whose_python_to_take() -> None:
    for target in ("gpu-check", "gpu-train"):
        assert {words[0] for words in commands(target, "DATA=x")} == {"python3"}


def test_the_line_of_a_gpu_is_rehearsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cpu"))
    monkeypatch.setitem(ENGINES, "torch", ENGINES["torch"])  # is put back afterwards
    monkeypatch.setattr(gpu_check, "NETWORKS", ("lite", "nano"))  # full is as nano, but for a minute's arithmetic
    *_, module, out = commands("gpu-check", f"RUNS={tmp_path}")[-1]
    assert module == gpu_check.__name__
    gpu_check.main(Path(out))
    told = capsys.readouterr().out
    assert "no CUDA device: a rehearsal on the CPU" in told
    for name in gpu_check.NETWORKS:
        figures = json.loads((tmp_path / "gpu-check" / f"{name}.json").read_text())
        assert figures["frames"] == 12
        assert list(figures["stages"]) == ["decode", "gpu", "sink"]
        assert figures["overlap"] is None


def test_the_files_with_gpu_tests_are_found() -> None:
    (pattern,) = (word for word in commands("gpu-check")[0] if "mark" in word)
    found = subprocess.run(
        ["grep", "-rl", "--include=test_*.py", pattern, "tests"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert {"tests/test_gpu_line.py", "tests/train/test_train_learner.py"} <= set(found.stdout.split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Shards of the names that the recipes ask for."""
    for index in range(8):
        write_pair(tmp_path / "set", f"shape{index}", seed=index)
        cutout = np.random.default_rng(index).integers(0, 256, (40, 30, 4)).astype(np.uint8)
        for folder, pixels in (("cutouts_rgba", cutout), ("backgrounds", cutout[..., :3])):
            (tmp_path / "both" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "both" / folder / f"{index}.png"), pixels)
    shards = ("persons-0", "duts_taught-0", "duts_tr-0", "people_dev", "duts_val", "empty_rooms")
    for name, source in (*((shard, "set") for shard in shards), ("composites", "both")):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as shard:
            shard.add(tmp_path / source, arcname=".")
    save_weights(tmp_path / "start.safetensors", U2Net(LITE), {})
    return tmp_path


@pytest.mark.parametrize("name", ["lite", "nano", "duts"])
def test_trainings_on_a_gpu_are_rehearsed(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.resident.RENDERED", 4)
    monkeypatch.setattr("train.norms.IMAGES", 4)
    # A twentieth of a second passes whenever somebody looks at the clock.
    monkeypatch.setattr("train.__main__.Trainer", partial(Trainer, clock=partial(next, count(0, 0.05))))
    tiny = ["optim.batch_size=4", "optim.amp=off", "data.cache_px=48", "evaluate.size_px=64"]
    tiny += ["'augment.phases=[{resize_px=40,crop_px=32}]'", "data.empty_held_out=0"]
    if name == "lite":
        tiny.append(f"model.start_from={data / 'start.safetensors'}")
    runs = data / "runs"
    variables = (f"DATA={data}", f"RUNS={runs}", f"{name.upper()}_MINUTES=0.06", f"MORE={' '.join(tiny)}")
    for python, flag, module, *arguments in commands(f"gpu-{name}", *variables):
        assert (python, flag, module) == ("python3", "-m", "train")
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0
    (record, *_) = (json.loads(line) for line in (runs / f"gpu-{name}" / "evaluations.jsonl").read_text().splitlines())
    assert record["step"] > 0
    info = read_info(runs / f"gpu-{name}.safetensors")
    assert info.architecture == ("nano" if name == "nano" else "lite")
    assert json.loads((runs / f"gpu-{name}" / "config.json").read_text())["data"]["on_gpu"]


def test_all_three_are_trained_in_the_order_of_their_worth() -> None:
    trained = [words[3] for words in commands("gpu-train", "DATA=x") if "--fit-minutes" in words]
    assert trained == [f"configs/train_{recipe}.toml" for recipe in ("person", "nano", "lite")]


def test_training_without_data_is_one_line() -> None:
    make = ["make", "--dry-run", "gpu-train", "RUN=python3"]
    done = subprocess.run(make, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2
    assert "name the folder of the shards: make gpu-lite DATA=FOLDER" in done.stderr
