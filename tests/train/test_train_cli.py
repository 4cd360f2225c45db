from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch

from streamseg.model.u2net import LITE, U2Net
from streamseg.model.weights import load_weights, read_info, save_weights
from tests.train.conftest import interrupt_after, write_pair
from train.__main__ import main
from train.checkpoint import BEST, LAST, load_checkpoint
from train.config import Config
from train.loop import Trainer
from train.report import report_folder

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


@pytest.mark.parametrize(("optimizer", "name"), [("adam", "Adam"), ("adamw", "AdamW"), ("muon", "Muon")])
def test_the_card_names_the_optimizer(optimizer: str, name: str, run: Path, root: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["optim"]["optimizer"] = optimizer
    (run / "config.json").write_text(json.dumps(config))
    assert exit_code("export", run, "-o", root / "x.safetensors") == 0
    assert f"; {name}, learning rate" in read_info(root / "x.safetensors").metadata["recipe"]


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
    starts = {"lite": "u2netp: ", str(root / "gone.safetensors"): str(root / "gone.safetensors")}
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


def test_eval_prints_a_table_and_writes_a_report(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(root / "w.safetensors", U2Net(LITE), {})
    settings = ("--weights", root / "w.safetensors", "--size", 64, "--keep-aspect", "--out", root / "report")
    assert exit_code("eval", *settings, "--data", root / "set.tar") == 0
    told = capsys.readouterr().out
    assert "(8 images)" in told
    record = json.loads((root / "report" / "scores.json").read_text())
    assert (record["images"], record["size_px"], record["squash"]) == (8, 64, False)
    for line in ("MAE", "S-measure", "relaxed boundary F", "weighted F", "IoU"):
        assert line in told
    assert f"{record['mae']:.4f}" in told
    header, *lines = (root / "report" / "scores.csv").read_text().splitlines()
    assert header == "stem,mae,max_f,weighted_f,s_measure,boundary_f,iou,haze,holes"
    assert [line.split(",")[0] for line in lines] == [f"shape{index}" for index in range(8)]
    assert sum(float(line.split(",")[1]) for line in lines) / 8 == pytest.approx(record["mae"], abs=1e-6)
    assert cv2.imread(str(root / "report" / "worst.png")).shape[0] > 4 * 100  # eight mattes, two abreast


def test_eval_tells_mixed_sets_apart(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(root / "w.safetensors", U2Net(LITE), {})
    for index in range(3):
        write_pair(root / "mixed", f"{'ab'[index % 2]}__{index}", seed=index)
    arguments = ("eval", "--weights", root / "w.safetensors", "--size", 64, "--out", root / "report", "--data")
    assert exit_code(*arguments, root / "mixed") == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    record = json.loads((root / "report" / "scores.json").read_text())
    assert [sets["images"] for sets in record["by_prefix"].values()] == [2, 1]
    for prefix, sets in record["by_prefix"].items():
        row = next(words for words in told if words[1:2] == [prefix])
        assert row[3::2] == [
            str(sets["images"]),
            *(f"{sets[name]:.4f}" for name in ("max_f", "mae", "iou", "haze", "holes")),
        ]
    assert exit_code(*arguments, root / "set") == 0
    assert "(no prefix)" not in capsys.readouterr().out  # one set needs no table of sets


def test_eval_of_empty_rooms(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(root / "w.safetensors", U2Net(LITE), {})
    shutil.rmtree(root / "set" / "masks")
    arguments = ("eval", "--weights", root / "w.safetensors", "--size", 64, "--out", root / "report")
    assert "8 files lack a partner" in the_error(capsys, *arguments, "--data", root / "set")
    assert exit_code(*arguments, "--data", root / "set", "--empty", "--every", 3) == 0
    assert "one image in 3 (3 images)" in capsys.readouterr().out
    record = json.loads((root / "report" / "scores.json").read_text())
    assert (record["images"], record["empty"], record["every"], record["holes"]) == (3, True, 3, None)
    assert 0 < record["mae"] == pytest.approx(record["haze"], abs=1e-6)
    lines = (root / "report" / "scores.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["shape0", "shape3", "shape6"]
    assert all(line.endswith(",") for line in lines[1:])


def test_the_smallest_input_is_one_that_every_network_takes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--weights", "nano", "--data", root / "set", "--out")
    for command, out in (("eval", root / "report"), ("teach", root / "soft.tar")):
        assert exit_code(command, *arguments, out, "--size", 63) == 2
        told = capsys.readouterr().err
        assert "--size" in told and "64" in told
        assert exit_code(command, *arguments, out, "--size", 64) == 0


def test_the_default_folder_of_a_report_tells_what_was_judged(
    run: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    options = ("--size", 96, "--keep-aspect", "--empty", "--every", 4)
    assert exit_code("eval", "--weights", run / BEST, "--data", "set.tar", *options) == 0
    assert [path.name for path in (root / "eval").iterdir()] == ["run-best-set-96px-aspect-empty-every4"]
    monkeypatch.chdir(run)
    assert report_folder(LAST, root / "set", ["64px"]) == Path("eval", "run-last-set-64px")
    assert report_folder("lite-int8", Path("v1.5"), []) == Path("eval", "lite-int8-v1.5")
    settings = ["smooth=ema", "bg=a b/c.png"]
    assert report_folder("truth", Path("clips.tar"), settings) == Path("eval", "truth-clips-smooth=ema-bg=a_b_c.png")


def test_eval_errors(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(root / "w.safetensors", U2Net(LITE), {})
    weights = ("eval", "--weights", root / "w.safetensors")
    assert "no/weights" in the_error(capsys, "eval", "--weights", "no/weights", "--data", root / "set")
    assert "neither a folder nor" in the_error(capsys, *weights, "--data", root / "none.tar")
    (root / "file").write_text("")
    assert exit_code(*weights, "--size", 64, "--data", root / "set", "--out", root / "file") == 2
    assert "file for the report: File exists; choose another with --out" in capsys.readouterr().err


def test_curves_of_runs_become_a_picture(run: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("curves", run, "-o", root / "both.png") == 0
    assert cv2.imread(str(root / "both.png")).shape[1] > 1000
    assert "holds no evaluations" in the_error(capsys, "curves", root / "set", "-o", root / "none.png")
    assert not (root / "none.png").exists()


def test_curves_that_cannot_be_drawn_are_told_before_anything_is(
    run: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("c.foo", "c"):
        told = the_error(capsys, "curves", root / "set", "-o", root / name)
        assert told.endswith(f"{name}: the name must end in .png or .svg")
    older = root / "older"
    older.mkdir()
    for line, missing in (('{"step": 1, "loss": 2, "max_f": 0.5}', "images_seen, mae"), ("3", "images_seen, loss")):
        (older / "evaluations.jsonl").write_text(line + "\n")
        told = the_error(capsys, "curves", run, older, "-o", root / "c.png")
        assert f"older/evaluations.jsonl: line 1 has no {missing}" in told
    assert not (root / "c.png").exists()
    assert exit_code("curves", run, "-o", root / "c.SVG") == 0
    assert b"<svg" in (root / "c.SVG").read_bytes()


def test_export_errors(run: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "w.safetensors"
    assert "cannot read the checkpoint" in the_error(capsys, "export", root / "none.pt", "-o", out)
    assert "has no best.pt yet" in the_error(capsys, "export", root, "-o", out)
    assert "cannot export to" in the_error(capsys, "export", run, "-o", root / "w.pt")
    assert "--half is for .safetensors files" in the_error(capsys, "export", run, "-o", root / "w.onnx", "--half")
    assert "int8 needs training images" in the_error(capsys, "export", run, "-o", root / "w.int8.onnx")
    (run / "config.json").unlink()
    assert "config.json" in the_error(capsys, "export", run, "-o", out)
    assert not out.exists()


def test_train_errors(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.toml" in the_error(capsys, root / "none.toml")
    (root / "c.toml").write_text('name = "x"')
    run = root / "runs"
    assert "optim.lr" in the_error(capsys, root / "c.toml", "optim.lr=1", "--folder", run)
    assert "no data" in the_error(capsys, "--folder", run, root / "c.toml")
    assert not run.exists()


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_saves_and_says_how_to_go_on(
    small: MakeConfig,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    by: signal.Signals,
) -> None:
    (root / "c.toml").write_text('name = "x"')
    config, handler = small(), signal.getsignal(by)
    monkeypatch.setattr("train.__main__.load_config", lambda path, overrides: config)
    monkeypatch.setattr("sys.argv", ["-m", "c.toml", "optim.epochs=3", "--folder", "my run"])
    interrupt_after(monkeypatch, step=2, by=by)
    assert exit_code(root / "c.toml", "--folder", root / "run") == 0
    told = "stopped after step 2 of 6; to go on: python -m train c.toml optim.epochs=3 --folder 'my run'"
    assert told in capsys.readouterr().out
    assert load_checkpoint(root / "run" / LAST)["step"] == 2
    assert signal.getsignal(by) is handler


def test_a_time_budget_stops_at_a_step_boundary(
    small: MakeConfig, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "c.toml").write_text('name = "x"')
    config = small()
    monkeypatch.setattr("train.__main__.load_config", lambda path, overrides: config)
    assert exit_code(root / "c.toml", "--folder", root / "run", "--max-minutes", 0) == 0
    assert "stopped after step 1 of 6" in capsys.readouterr().out
    assert load_checkpoint(root / "run" / LAST)["step"] == 1
