"""Checks of files: network weights with their hashes, the cache of compiled networks, and space for temporary files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from streamseg.doctor.finding import Finding, Status
from streamseg.doctor.machine import Machine, pip_install

if TYPE_CHECKING:
    from streamseg.model.weights import RegistryEntry

NEEDED_BYTES = 1_000_000_000
"""Free space for temporary files below which there is a warning."""


def check_weights(machine: Machine) -> Iterator[Finding]:
    """Compare the sha256 of packaged and downloaded weights with the known ones."""
    from streamseg.model.precision import AUTO_MODELS, INT8_NAME
    from streamseg.model.weights import list_weights, sha256_of

    whole = []
    for entry in list_weights():
        if not entry.is_there and entry.url:
            continue
        is_default = entry.name.removesuffix(INT8_NAME) in AUTO_MODELS
        status: Status = "problem" if is_default else "warning"
        if not entry.is_there:
            yield Finding(f"weights {entry.name}", status, f"{entry.path} is missing", _restore(entry))
        elif (digest := sha256_of(entry.path)) != entry.sha256:
            detail = f"{entry.path} is damaged: its sha256 begins with {digest[:8]}, not {entry.sha256[:8]}"
            yield Finding(f"weights {entry.name}", status, detail, _restore(entry))
        else:
            whole.append(f"{entry.name} {digest[:8]}")
    if whole:
        yield Finding("weights", "ok", f"sha256 as known: {', '.join(whole)}")


def check_cache(machine: Machine) -> Iterator[Finding]:
    """Write a file into the folder where OpenVINO keeps compiled networks."""
    from platformdirs import user_cache_path

    folder = user_cache_path("streamseg", appauthor=False) / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        detail = f"{folder} cannot be written to ({error.strerror}), so that each start compiles the network again"
        take_over = f'sudo mkdir -p "{folder}" && sudo chown -R "$USER" "{folder.parent}"'
        yield Finding(
            "cache", "warning", detail, f"# delete {folder.parent}" if machine.platform == "win32" else take_over
        )
    else:
        yield Finding("cache", "ok", f"{folder} can be written to")


def check_temporary(machine: Machine) -> Iterator[Finding]:
    """Tell the free space in the folder for temporary files."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB are free in {folder}"
    if free >= NEEDED_BYTES:
        yield Finding("temporary files", "ok", detail)
    else:
        variable = "TEMP" if machine.platform == "win32" else "TMPDIR"
        yield Finding("temporary files", "warning", detail, f"# free some, or name a larger folder in {variable}")


def _restore(entry: RegistryEntry) -> str:
    """Return the command that brings back the file of a registry entry."""
    if entry.url:
        return f"streamseg weights download {entry.name}"
    source = entry.path.parents[3]
    if (source / ".git").exists():
        return f'git -C "{source}" checkout -- "{entry.path.relative_to(source).as_posix()}"'
    return f"{pip_install('.')} --force-reinstall --no-deps  # in the folder of streamseg's source"
