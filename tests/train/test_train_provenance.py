from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamseg.errors import OutputError
from train import provenance
from train.config import Config, load_run_config
from train.provenance import ENVIRONMENT_FILE, git_state, write_run_facts

MakeConfig = Callable[..., Config]


def test_a_run_keeps_its_configuration_and_an_entry_a_sitting(small: MakeConfig, tmp_path: Path) -> None:
    for epochs in (1, 2):
        write_run_facts(tmp_path / "run", small(epochs=epochs))
    assert load_run_config(tmp_path / "run") == small(epochs=2)
    sittings = json.loads((tmp_path / "run" / ENVIRONMENT_FILE).read_text())
    assert len(sittings) == 2
    assert sittings[0]["packages"]["torch"] == torch.__version__
    assert sittings[0].keys() >= {"started", "python", "system", "gpu", "threads"}


def test_the_commit_and_changes_since_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    assert git_state() == {}
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    (tmp_path / "file").write_text("one")
    for command in (("init", "-q"), ("add", "file"), (*author, "commit", "-qm", "first")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    clean = git_state()
    assert len(str(clean["git_commit"])) == 40
    assert clean["git_changes"] is False
    (tmp_path / "file").write_text("two")
    assert git_state() == {**clean, "git_changes": True}


def test_a_damaged_list_of_sittings_is_begun_anew(small: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / ENVIRONMENT_FILE).write_text("{")
    write_run_facts(tmp_path, small())
    assert len(json.loads((tmp_path / ENVIRONMENT_FILE).read_text())) == 1


def test_a_folder_that_cannot_be_made_is_named(small: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot use .*file as a run folder.*--folder"):
        write_run_facts(tmp_path / "file", small())
