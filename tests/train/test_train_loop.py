from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from streamseg.errors import ConfigError, DataError, OutputError, WeightsError
from streamseg.model.u2net import LITE, U2Net
from streamseg.model.weights import save_weights
from tests.train.conftest import interrupt_after, write_pair
from train import learner, loop
from train.checkpoint import BEST, KEYS, LAST, load_checkpoint, save_checkpoint
from train.config import Config, Evaluate, Model, load_run_config
from train.learner import Learner
from train.loader import Sources, TrainingSet, training_batches
from train.loop import Trainer
from train.loss import deep_supervision_loss, training_loss
from train.metrics import Scores
from train.schedule import batches

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]


def test_the_loss_falls_on_eight_images(small: MakeConfig, tmp_path: Path) -> None:
    trainer = Trainer(small(epochs=15, learning_rate=3e-3), tmp_path / "run", CPU)
    assert trainer.fit()
    records = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert len(records) == 1
    record = json.loads(records[0])
    assert record.keys() >= {"step", "epoch", "loss", "lr", "images_seen", "images", "mae", "max_f", "iou"}
    assert (record["step"], record["epoch"], record["images"], record["lr"]) == (30, 15, 8, 0)
    images, alphas = next(iter(training_batches(trainer.data, 29, CPU)))
    with torch.no_grad():
        final = float(deep_supervision_loss(trainer.learner.net.train()(images), alphas))
    assert final < 0.6 * 7 * 0.693
    assert record["max_f"] > 0.8
    log = (tmp_path / "run" / "log.txt").read_text()
    assert all(word in log for word in ("loss", "lr", "MAE", "maxF"))


def test_resuming_is_exact(small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small()
    assert Trainer(config, tmp_path / "straight", CPU).fit()
    with monkeypatch.context() as patch:
        interrupt_after(patch, step=3)
        first = Trainer(config, tmp_path / "halves", CPU)
        assert not first.fit()
    assert load_checkpoint(tmp_path / "halves" / LAST)["step"] == first.step == 3
    second = Trainer(config, tmp_path / "halves", CPU)
    second.resume()
    assert second.fit()
    straight, halves = (load_checkpoint(tmp_path / name / LAST) for name in ("straight", "halves"))
    assert straight["step"] == halves["step"] == 6
    assert straight["best_max_f"] == halves["best_max_f"]
    for key, tensor in straight["model"].items():
        assert torch.equal(tensor, halves["model"][key]), key
    records = [(tmp_path / name / "evaluations.jsonl").read_text() for name in ("straight", "halves")]
    assert records[0] == records[1]
    for index, moments in straight["optimizer"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, halves["optimizer"]["state"][index][name])


def test_a_run_that_resumes_does_without_its_starting_weights(small: MakeConfig, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    save_weights(start, U2Net(LITE), {})
    config = small(epochs=1).model_copy(update={"model": Model(start_from=str(start))})
    assert not Trainer(config, tmp_path / "run", CPU).fit(max_minutes=0)
    start.unlink()
    with pytest.raises(WeightsError, match=r"start\.safetensors"):
        Trainer(config, tmp_path / "another", CPU)
    second = Trainer(config, tmp_path / "run", CPU)
    second.resume()
    assert second.fit()
    assert load_checkpoint(tmp_path / "run" / LAST)["step"] == 2


@pytest.mark.parametrize("optim", [{"ema": 0.9}, {"accumulate": 2, "optimizer": "adam"}, {"optimizer": "muon"}])
def test_resuming_is_exact_with(small: MakeConfig, tmp_path: Path, optim: dict[str, Any]) -> None:
    config = small(**optim)
    assert Trainer(config, tmp_path / "straight", CPU).fit()
    sittings = 0
    while True:  # each sitting has time for one step only
        trainer = Trainer(config, tmp_path / "sittings", CPU)
        trainer.resume()
        sittings += 1
        if trainer.fit(max_minutes=0):
            break
    assert sittings == 6
    straight, resumed = (load_checkpoint(tmp_path / name / LAST) for name in ("straight", "sittings"))
    for part in ("model", "ema"):
        for key, tensor in straight.get(part, {}).items():
            assert torch.equal(tensor, resumed[part][key]), key
    assert ("ema" in straight) == ("ema" in optim)


def test_the_best_checkpoint_is_the_best_of_all_evaluations(
    small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(epochs=2).model_copy(update={"evaluate": Evaluate(every_epochs=0.5, size_px=64)})
    scores, found = Trainer._scores, iter((0.3, 0.9, 0.5, 0.9))

    def scores_like_these(self: Trainer) -> Scores:
        return replace(scores(self), max_f=next(found))

    monkeypatch.setattr(Trainer, "_scores", scores_like_these)
    Trainer(config, tmp_path / "run", CPU).fit()
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert (best["step"], best["best_max_f"], best["scores"]["max_f"]) == (2, 0.9, 0.9)
    assert load_checkpoint(tmp_path / "run" / LAST)["best_max_f"] == 0.9


def test_pictures_that_cannot_be_written_do_not_stop_the_run(
    small: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("samples.png", "curves.png"):
        (tmp_path / "run" / name).mkdir(parents=True)
    assert Trainer(small(epochs=0.5), tmp_path / "run", CPU).fit()
    assert capsys.readouterr().err.count("training goes on without it") == 1
    assert load_checkpoint(tmp_path / "run" / LAST)["step"] == 1


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / LAST, {"step": 1})
    before = (tmp_path / LAST).read_bytes()

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"as far as it went")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"cannot write the checkpoint .*No space left on device"):
        save_checkpoint(tmp_path / LAST, {"step": 2})
    assert (tmp_path / LAST).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_the_files_of_a_run(small: MakeConfig, tmp_path: Path) -> None:
    config = small(epochs=1)
    Trainer(config, tmp_path / "run", CPU).fit()
    assert load_run_config(tmp_path / "run") == config
    assert load_checkpoint(tmp_path / "run" / LAST).keys() == KEYS | {"losses", "optimizer_kind", "judged_by"}
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert best.keys() == KEYS | {"losses", "optimizer_kind", "judged_by", "scores"}
    assert best["best_max_f"] == best["scores"]["max_f"]


def test_damaged_pictures_are_found_before_the_first_step(small: MakeConfig, root: Path) -> None:
    for folder, stem in (("images", "shape1"), ("masks", "shape6")):
        (root / "set" / folder / f"{stem}.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"shape1\.png does not decode.*shape6\.png does not decode"):
        Trainer(small(), root / "run", CPU).fit()
    assert not (root / "run").exists()


def test_a_run_from_the_cache_is_the_same_run(small: MakeConfig, root: Path) -> None:
    config = small(epochs=1)
    cached = config.model_copy(update={"data": config.data.model_copy(update={"cache": root / "cache"})})
    states = []
    for name, each in (("decoded", config), ("cached", cached)):
        assert Trainer(each, root / name, CPU).fit()
        states.append(load_checkpoint(root / name / LAST)["model"])
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


def test_a_finished_run_is_left_as_it_is(small: MakeConfig, tmp_path: Path) -> None:
    config = small(epochs=0.5)
    Trainer(config, tmp_path / "run", CPU).fit()
    content = (tmp_path / "run" / LAST).read_bytes()
    again = Trainer(config, tmp_path / "run", CPU)
    again.resume()
    assert again.fit()
    assert (tmp_path / "run" / LAST).read_bytes() == content


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(
    small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    trainer = Trainer(small(), tmp_path / "run", CPU)

    def loss(*of: Any) -> torch.Tensor:
        return training_loss(*of) * (value if trainer.step == 1 else 1)

    monkeypatch.setattr(learner, "training_loss", loss)
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", 0.0)
    stems = ", ".join(f"shape{key.pair}" for key in next(batches(trainer.plan, seed=0, first_step=1)))
    with pytest.raises(DataError, match=re.escape(f"the loss is {value} at step 2 ({stems})")):
        trainer.fit()
    state = load_checkpoint(tmp_path / "run" / LAST)
    assert state["step"] == 1
    assert all(bool(tensor.isfinite().all()) for tensor in state["model"].values())


def test_ruined_weights_never_replace_a_checkpoint(
    small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(small(), tmp_path / "run", CPU)
    step = Learner.step

    def ruin(self: Learner, *batch: Any) -> torch.Tensor:
        loss = step(self, *batch)
        if trainer.step == 1:
            self.net.fuse.weight.data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(Learner, "step", ruin)
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(DataError, match="weights are not finite after step 2"):
        trainer.fit()
    assert load_checkpoint(tmp_path / "run" / LAST)["step"] == 1


def test_another_architecture_is_not_resumed(small: MakeConfig, tmp_path: Path) -> None:
    trainer = Trainer(small(), tmp_path / "run", CPU)
    (tmp_path / "run").mkdir()
    state = {"step": 0, "best_max_f": 0.0} | trainer.learner.state()
    save_checkpoint(tmp_path / "run" / LAST, state | {"architecture": "full"})
    with pytest.raises(ConfigError, match=r"last\.pt holds a full network; choose another folder"):
        trainer.resume()


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_another_optimizer_is_not_resumed(small: MakeConfig, tmp_path: Path, optimizer: str) -> None:
    assert not Trainer(small(), tmp_path / "run", CPU).fit(max_minutes=0)
    other = Trainer(small(optimizer=optimizer), tmp_path / "run", CPU)
    with pytest.raises(
        ConfigError, match=rf"last\.pt was trained with optim\.optimizer=adamw, not {optimizer}: "
    ) as told:
        other.resume()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("section", "change", "best_max_f"),
    [
        ("evaluate", {"squash": False}, 0.5),
        ("evaluate", {"size_px": 96}, 0.5),
        ("data", {"validate_on": ("set",)}, 0.5),
        ("evaluate", {"every_epochs": 50}, 0.9),
    ],
)
def test_scores_of_another_evaluation_do_not_keep_the_best_checkpoint(
    small: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    change: dict[str, object],
    best_max_f: float,
) -> None:
    scores, found = Trainer._scores, iter((0.9, 0.5))
    monkeypatch.setattr(Trainer, "_scores", lambda self: replace(scores(self), max_f=next(found)))
    assert Trainer(small(epochs=0.5), tmp_path / "run", CPU).fit()
    config = small(epochs=1)
    config = config.model_copy(update={section: getattr(config, section).model_copy(update=change)})
    longer = Trainer(config, tmp_path / "run", CPU)
    longer.resume()
    assert longer.fit()
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert best["scores"]["max_f"] == best["best_max_f"] == best_max_f
    assert load_checkpoint(tmp_path / "run" / LAST)["best_max_f"] == best_max_f
    assert ("best.pt is chosen anew" in (tmp_path / "run" / "log.txt").read_text()) == (best_max_f == 0.5)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_damaged_checkpoints_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LAST).write_bytes(content)
    with pytest.raises(DataError, match=r"last\.pt is damaged or not a checkpoint") as caught:
        load_checkpoint(tmp_path / LAST)
    assert "\n" not in str(caught.value)


def test_other_checkpoint_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read the checkpoint .*missing\.pt"):
        load_checkpoint(tmp_path / "missing.pt")
    torch.save({"model": {}}, tmp_path / "foreign.pt")
    with pytest.raises(DataError, match="not a checkpoint of this trainer"):
        load_checkpoint(tmp_path / "foreign.pt")
    with pytest.raises(OutputError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "no" / "folder.pt", {})


def test_a_run_folder_that_cannot_be_made_is_named(small: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot use .*file as a run folder"):
        Trainer(small(), tmp_path / "file", CPU).fit()


def test_workers_change_nothing_and_their_errors_are_one_line(small: MakeConfig, root: Path) -> None:
    config = small(epochs=1)
    with_worker = config.model_copy(update={"data": config.data.model_copy(update={"workers": 1})})
    ours, theirs = (Trainer(c, root / "run", CPU).data for c in (config, with_worker))
    write_pair(root / "set", "shape9", seed=9)
    (root / "set" / "images" / "shape9.png").write_bytes(b"damaged")
    pairs = [*theirs.pairs[:4], *Trainer(config, root / "run", CPU).data.pairs[-4:]]
    broken = TrainingSet(Sources(pairs), with_worker, ours.plan)
    with pytest.raises(DataError, match=r"shape9\.png.* does not decode") as caught:
        list(training_batches(broken, 0, CPU))
    assert "\n" not in str(caught.value)
    batches = list(zip(training_batches(ours, 0, CPU), training_batches(theirs, 0, CPU), strict=True))
    assert len(batches) == 2
    assert all(torch.equal(a, b) for one, other in batches for a, b in zip(one, other, strict=True))


def test_signals_to_the_whole_process_group_leave_the_workers_to_the_training_process(
    small: MakeConfig, root: Path
) -> None:
    config = small(epochs=3)
    config = config.model_copy(update={"data": config.data.model_copy(update={"workers": 1})})
    parts = training_batches(Trainer(config, root / "run", CPU).data, 0, CPU)
    next(parts)
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    assert len(list(parts)) == 5
