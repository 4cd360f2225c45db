"""What a run was made with: the configuration, the code, the packages and the machine."""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from streamseg.errors import OutputError
from streamseg.media.atomic import atomic_write
from train.config import CONFIG_FILE, Config

ENVIRONMENT_FILE = "environment.json"
PACKAGES = ("streamseg", "torch", "torchvision", "numpy", "opencv-python", "kornia")
REPOSITORY = Path(__file__).parents[1]

Facts = dict[str, object]


def write_run_facts(run: Path, config: Config) -> None:
    """Makes the run folder; writes `config.json` as it is now and adds this sitting to `environment.json`.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot use {run} as a run folder: {error.strerror}; choose another with --folder"
        ) from error
    atomic_write(run / CONFIG_FILE, (config.model_dump_json(indent=2) + "\n").encode())
    sittings = [*_sittings(run / ENVIRONMENT_FILE), _facts()]
    atomic_write(run / ENVIRONMENT_FILE, (json.dumps(sittings, indent=2) + "\n").encode())


def git_state() -> Facts:
    """The commit that runs and whether files differ from it; nothing outside a git checkout."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_changes": bool(changes)} if commit else {}


def _facts() -> Facts:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **git_state(),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "system": platform.system(),
        "gpu": gpu,
        "threads": torch.get_num_threads(),
    }


def _sittings(path: Path) -> list[Facts]:
    try:
        sittings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the first sitting, or a file that was edited: not worth losing a run for
        return []
    return sittings if isinstance(sittings, list) else []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*command: str) -> str:
    try:
        done = subprocess.run(["git", *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
