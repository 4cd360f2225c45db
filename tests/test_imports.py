"""Imports go one way, down this list, and neither at the top of a file nor inside a function back up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import streamseg

PACKAGE = Path(streamseg.__file__).parent
LAYERS = (
    "__main__",
    "cli",
    "live",
    "batch bench doctor probe qa photos matting",
    "pipeline",
    "gpu",
    "sink",
    "composite",
    "infer",
    "smooth",
    "decode statistics",
    "model",
    "controls",
    "settings",
    "frames",
    "yuv hardware workspace",
    "media",
    "image interrupt fallback",
    "errors",
)
"""Parts of the package, the users before what they use; those of one line do not know each other."""


@cache
def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }


def imported(path: Path) -> Iterator[str]:
    """Modules of streamseg that a file names, wherever in it."""
    known = modules()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("streamseg.") in known else node.module for name in names]
        yield from (name.removeprefix("streamseg.") for name in names if name.startswith("streamseg."))


def layer(module: str) -> int:
    part = module.partition(".")[0]
    return next(number for number, parts in enumerate(LAYERS) if part in parts.split())


def test_every_part_has_its_place() -> None:
    parts = {module.partition(".")[0] for module in modules()}
    assert parts == {part for parts in LAYERS for part in parts.split()}


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_go_down(module: str) -> None:
    for other in imported(modules()[module]):
        same_part = other.partition(".")[0] == module.partition(".")[0]
        assert same_part or layer(other) > layer(module), f"{module} imports {other}"


def test_no_two_files_import_each_other() -> None:
    try:
        list(TopologicalSorter({module: set(imported(path)) for module, path in modules().items()}).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")
