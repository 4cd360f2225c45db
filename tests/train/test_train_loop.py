from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamseg.errors import ConfigError, DataError, OutputError
from streamseg.u2net import LITE, U2Net
from streamseg.weights import save_weights
from tests.train.conftest import interrupt_after, write_pair
from train import loop
from train.checkpoint import BEST, KEYS, LAST, load_checkpoint, save_checkpoint
from train.config import Config, Model, load_run_config
from train.loader import TrainingSet, training_batches
from train.loop import Trainer

CPU = torch.device("cpu")
MakeConfig = Callable[..., Config]


def test_the_loss_falls_on_eight_images(small: MakeConfig, tmp_path: Path) -> None:
    trainer = Trainer(small(epochs=15, learning_rate=3e-3), tmp_path / "run", CPU)
    assert trainer.fit()
    records = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert len(records) == 1
    record = json.loads(records[0])
    assert record.keys() == {"step", "epoch", "loss", "lr", "images", "mae", "max_f", "iou"}
    assert (record["step"], record["epoch"], record["images"], record["lr"]) == (30, 15, 8, 0)
    images, alphas = next(iter(training_batches(trainer.data, 29)))
    trainer.net.train()
    with torch.no_grad():
        final = float(loop.deep_supervision_loss(trainer.net(images), alphas))
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
    for index, moments in straight["optimizer"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(tensor, halves["optimizer"]["state"][index][name])


def test_the_files_of_a_run(small: MakeConfig, tmp_path: Path) -> None:
    config = small(epochs=1)
    Trainer(config, tmp_path / "run", CPU).fit()
    assert load_run_config(tmp_path / "run") == config
    assert load_checkpoint(tmp_path / "run" / LAST).keys() == KEYS
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert best.keys() == KEYS | {"scores"}
    assert best["best_max_f"] == best["scores"]["max_f"]


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
    real_loss = loop.deep_supervision_loss

    def loss(logits: object, alpha: torch.Tensor) -> torch.Tensor:
        return real_loss(logits, alpha) * (value if trainer.step == 1 else 1)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "deep_supervision_loss", loss)
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(DataError, match=f"the loss is {value} at step 2"):
        trainer.fit()
    state = load_checkpoint(tmp_path / "run" / LAST)
    assert state["step"] == 1
    assert all(bool(tensor.isfinite().all()) for tensor in state["model"].values())


def test_ruined_weights_never_replace_a_checkpoint(
    small: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(small(), tmp_path / "run", CPU)
    step = Trainer._train_step

    def ruin(self: Trainer, *batch: torch.Tensor) -> float:
        loss = step(self, *batch)
        if self.step == 2:
            self.net.fuse.weight.data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(Trainer, "_train_step", ruin)
    monkeypatch.setattr(loop, "SAVE_EVERY_SECONDS", 0.0)
    with pytest.raises(DataError, match="weights are not finite after step 2"):
        trainer.fit()
    assert load_checkpoint(tmp_path / "run" / LAST)["step"] == 1


def test_bfloat16_trains_and_fp16_falls_back_on_a_cpu(small: MakeConfig, tmp_path: Path) -> None:
    trainer = Trainer(small(epochs=0.5, amp="bf16"), tmp_path / "run", CPU)
    assert trainer.amp_dtype == torch.bfloat16
    assert trainer.fit()
    assert Trainer(small(amp="fp16"), tmp_path / "run", CPU).amp_dtype is None


def test_a_run_can_start_from_weights(small: MakeConfig, root: Path) -> None:
    given = U2Net(LITE)
    save_weights(root / "given.safetensors", given, {})
    config = small().model_copy(update={"model": Model(start_from=str(root / "given.safetensors"))})
    trainer = Trainer(config, root / "run", CPU)
    for name, tensor in given.state_dict().items():
        assert torch.equal(trainer.net.state_dict()[name], tensor)
    assert trainer.fit()
    assert not torch.equal(trainer.net.fuse.weight, given.fuse.weight)


def test_weights_of_another_architecture_are_no_start(small: MakeConfig, root: Path) -> None:
    save_weights(root / "given.safetensors", U2Net(LITE), {})
    model = Model(architecture="full", start_from=str(root / "given.safetensors"))
    with pytest.raises(ConfigError, match=r"start_from: .*holds a lite network, not full"):
        Trainer(small().model_copy(update={"model": model}), root / "run", CPU)


def test_another_architecture_is_not_resumed(small: MakeConfig, tmp_path: Path) -> None:
    trainer = Trainer(small(), tmp_path / "run", CPU)
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / LAST, trainer._state() | {"architecture": "full"})
    with pytest.raises(ConfigError, match=r"last\.pt holds a full network; choose another folder"):
        trainer.resume()


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
    broken = TrainingSet(
        [*theirs.pairs[:4], *Trainer(config, root / "run", CPU).data.pairs[-4:]], with_worker, ours.plan
    )
    with pytest.raises(DataError, match=r"shape9\.png.* does not decode") as caught:
        list(training_batches(broken, 0))
    assert "\n" not in str(caught.value)
    batches = list(zip(training_batches(ours, 0), training_batches(theirs, 0), strict=True))
    assert len(batches) == 2
    assert all(torch.equal(a, b) for one, other in batches for a, b in zip(one, other, strict=True))
