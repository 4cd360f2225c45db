"""Ctrl-C before the work begins is silent: whatever is being imported, and in worker processes too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamseg.interrupt import INTERRUPTED
from tests.synthetic import Clip

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent another way there")


def interrupted(after: str, *arguments: object) -> tuple[int, str, list[str]]:
    """Sends Ctrl-C to a command and all its processes when a module has been imported.

    Returns:
        Exit code, standard output, and the lines of standard error that are not Python's about its imports.
    """
    command = [sys.executable, "-X", "importtime", "-m", "streamseg", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stderr
        said = []
        for line in process.stderr:
            said.append(line)
            if line.rpartition("|")[2].strip() == after:
                os.killpg(process.pid, signal.SIGINT)
                break
        else:
            pytest.fail(f"{after} was never imported: {said[-5:]}")
        said += process.stderr.readlines()
        output = process.stdout.read()
    return process.returncode, output, [line for line in said if not line.startswith("import time:")]


@pytest.mark.parametrize("after", ["typer", "pydantic_core", "numpy", "av", "torch.types"])
def test_amid_imports(after: str, clip: Clip, tmp_path: Path) -> None:
    found = interrupted(after, "video", clip.path, "-o", tmp_path / "out.mp4", "--bg", "red")
    assert found == (INTERRUPTED, "", [])
    assert list(tmp_path.iterdir()) == []


def test_amid_a_workers_imports(clip: Clip, tmp_path: Path) -> None:
    """The batch ends with its table and report, the worker without a word."""
    code, output, said = interrupted("torch.types", "batch", clip.path.parent, "-o", tmp_path / "out", "--bg", "red")
    assert (code, said) == (INTERRUPTED, [])
    assert "report: " in output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.json"]
