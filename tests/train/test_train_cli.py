from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamseg.u2net import LITE, U2Net
from streamseg.weights import load_weights, read_info, save_weights
from tests.train.conftest import interrupt_after
from train.__main__ import main
from train.checkpoint import BEST, LAST, load_checkpoint
from train.config import Config
from train.loop import Trainer

MakeConfig = Callable[..., Config]


@pytest.fixture
def run(small: MakeConfig, tmp_path: Path) -> Path:
    """The folder of a finished run."""
    Trainer(small(epochs=0.5), tmp_path / "run", torch.device("cpu")).fit()
    return tmp_path / "run"


def exit_code(*args: object) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        main([str(arg) for arg in args])
    return caught.value.code


def the_error(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one line that a failing command prints."""
    assert exit_code(*args) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_exported_weights_give_identical_mattes(run: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "lite.safetensors"
    assert exit_code("export", run, "-o", out) == 0
    trained = U2Net(LITE)
    trained.load_state_dict(load_checkpoint(run / BEST)["model"])
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(trained.eval()(frames), load_weights(out)(frames))
    info = read_info(out)
    assert info.name == "small"
    metadata = info.metadata
    assert metadata["training_data"] == ("set (8 images); the collections are for research use or state no terms")
    assert "lite, 1 steps of 4 crops of 32 px" in metadata["recipe"]
    assert "max_f" in metadata["metrics"]
    assert metadata["licence"].startswith("Apache-2.0")


def test_sharpness_multiplies_the_fused_logits_and_is_recorded(run: Path, root: Path) -> None:
    plain, sharp = root / "plain.safetensors", root / "sharp.safetensors"
    assert exit_code("export", run, "-o", plain) == 0
    assert exit_code("export", run, "-o", sharp, "--sharpness", 1.5) == 0
    frames = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        logits, sharper = (torch.logit(load_weights(path)(frames)) for path in (plain, sharp))
    assert torch.allclose(sharper, 1.5 * logits, atol=1e-4)
    assert read_info(sharp).metadata["recipe"].endswith("fused logits times 1.5")


def test_export_tells_what_the_run_started_from(run: Path, root: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    starts = {"lite": "lite: ", str(root / "gone.safetensors"): str(root / "gone.safetensors")}
    for start, told in starts.items():
        config["model"]["start_from"] = start
        (run / "config.json").write_text(json.dumps(config))
        assert exit_code("export", run, "-o", root / "w.safetensors") == 0
        assert read_info(root / "w.safetensors").metadata["started_from"].startswith(told)


def test_export_of_a_checkpoint_whose_data_are_gone(run: Path, root: Path) -> None:
    (root / "set").rename(root / "elsewhere")
    assert exit_code("export", run / LAST, "-o", root / "w.safetensors", "--metrics", "maxF .9 on mine") == 0
    metadata = read_info(root / "w.safetensors").metadata
    assert metadata["metrics"] == "maxF .9 on mine"
    assert "number of images not known" in metadata["training_data"]


def test_eval_prints_and_writes_the_scores(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(root / "w.safetensors", U2Net(LITE), {})
    settings = ("--weights", root / "w.safetensors", "--size", 64, "--keep-aspect", "--json", root / "scores.json")
    assert exit_code("eval", *settings, "--data", root / "set.tar") == 0
    assert "(8 images)" in capsys.readouterr().out
    record = json.loads((root / "scores.json").read_text())
    assert record["images"] == 8
    assert record["size_px"] == 64
    assert record["squash"] is False
    assert 0 <= record["max_f"] <= 1


def test_eval_errors(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(root / "w.safetensors", U2Net(LITE), {})
    weights = ("eval", "--weights", root / "w.safetensors")
    assert "no/weights" in the_error(capsys, "eval", "--weights", "no/weights", "--data", root / "set")
    assert "neither a folder nor" in the_error(capsys, *weights, "--data", root / "none.tar")
    unwritable = root / "no" / "folder.json"
    assert exit_code(*weights, "--size", 32, "--data", root / "set", "--json", unwritable) == 2
    assert f"error: cannot write {unwritable}" in capsys.readouterr().err


def test_export_errors(run: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "w.safetensors"
    assert "cannot read the checkpoint" in the_error(capsys, "export", root / "none.pt", "-o", out)
    assert "has no best.pt yet" in the_error(capsys, "export", root, "-o", out)
    capsys.readouterr()
    assert ".safetensors" in the_error(capsys, "export", run, "-o", root / "w.pt")
    (run / "config.json").unlink()
    assert "config.json" in the_error(capsys, "export", run, "-o", out)
    assert not out.exists()


def test_train_errors(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.toml" in the_error(capsys, root / "none.toml")
    (root / "c.toml").write_text('name = "x"')
    run = root / "runs"
    assert "optim.lr" in the_error(capsys, root / "c.toml", "optim.lr=1", "--run", run)
    assert "no data" in the_error(capsys, "--run", run, root / "c.toml")
    assert not run.exists()


def test_ctrl_c_saves_and_says_how_to_go_on(
    small: MakeConfig, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "c.toml").write_text('name = "x"')
    config = small()
    monkeypatch.setattr("train.__main__.load_config", lambda path, overrides: config)
    interrupt_after(monkeypatch, step=2)
    assert exit_code(root / "c.toml", "--run", root / "run") == 130
    assert "interrupted after step 2 of 6; the same command continues" in capsys.readouterr().err
    assert load_checkpoint(root / "run" / LAST)["step"] == 2
