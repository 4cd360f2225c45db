"""The public face: light to import, complete, and independent of `train`."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import streamseg

PACKAGE = Path(streamseg.__file__).parent
HEAVY = ["torch", "cv2", "av", "numpy", "openvino"]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=PACKAGE.parent
    )


def test_import_loads_nothing_heavy() -> None:
    found = run_python(f"import sys, streamseg; print([m for m in {HEAVY} if m in sys.modules])")
    assert found.stdout.strip() == "[]", found.stderr


def test_files_are_opened_without_pytorch(tmp_path: Path) -> None:
    """Importing it takes longer than to read or write a short clip."""
    code = (
        "import sys, numpy\n"
        "from fractions import Fraction\n"
        "from streamseg.decode import open_source\n"
        "from streamseg.frames import Frame\n"
        "from streamseg.sink import open_sink\n"
        "with open_source('testsrc=64x48') as source, open_sink(sys.argv[1], source.info) as sink:\n"
        "    sink.write(next(iter(source)))\n"
        "with open_source(sys.argv[1]) as source: print(len(list(source)))\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code, str(tmp_path / "x.mp4")).stdout.split() == ["1", "False"]


def test_nothing_is_reported_to_anyone(tmp_path: Path) -> None:
    """OpenVINO's converter would make an identity for the user and send what it does to Google Analytics."""
    code = (
        "import os, sys; os.environ['HOME'] = sys.argv[1]; os.environ.pop('CI', None)\n"
        "from streamseg.infer.engines import open_engine\n"
        "from streamseg.model.weights import load_model\n"
        "open_engine('openvino', load_model('lite'))\n"
        "print(sys.modules['openvino_telemetry'], os.listdir(sys.argv[1]))"
    )
    assert run_python(code, str(tmp_path)).stdout.splitlines()[-1] == "None []"


def test_a_signal_after_engines_were_closed() -> None:
    """OpenVINO's CPU plugin gives the thread that loads it a stack for signal handlers, and frees it at its end."""
    code = (
        "import gc, signal, torch\n"
        "from streamseg.infer.engines import open_engine\n"
        "from streamseg.model.weights import load_model\n"
        "engines = [open_engine('openvino', load_model('lite')) for _ in range(2)]\n"
        "for engine in engines: engine.alpha(torch.zeros(1, 3, 64, 64))\n"
        "engine = None\n"
        "while engines: engines.pop(0)\n"
        "gc.collect()\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('stopped')"
    )
    found = run_python(code)
    assert (found.returncode, found.stdout) == (0, "stopped\n"), found.stderr


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['streamseg', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('streamseg', run_name='__main__')\n"
        "except SystemExit as end:\n"
        f"    print('exit', end.code or 0, [m for m in {[*HEAVY, 'streamseg.settings']} if m in sys.modules])\n"
    )
    for arguments in (["--help"], ["video", "--help"]):
        found = run_python(code, *arguments)
        assert found.stdout.splitlines()[-1] == "exit 0 []", found.stderr
        assert "Usage" in found.stdout


def test_all_lists_exactly_what_is_found_lazily() -> None:
    assert sorted(streamseg.__all__) == streamseg.__all__
    assert set(streamseg.__all__) == set(streamseg._HOME)


@pytest.mark.parametrize("name", sorted(streamseg._HOME))
def test_public_names_are_those_of_their_modules(name: str) -> None:
    expected = getattr(import_module(f"streamseg.{streamseg._HOME[name]}"), name)
    # Twice: importing a submodule binds its name in the package, which must not hide a function of the same name.
    assert getattr(streamseg, name) is expected
    assert getattr(streamseg, name) is expected


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if node.module.startswith("streamseg")
    }
    assert seen == {name: f"streamseg.{home}" for name, home in streamseg._HOME.items()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'streamseg' has no attribute 'mattes'"):
        _ = streamseg.mattes


def test_the_version_is_the_projects() -> None:
    project = PACKAGE.parent / "pyproject.toml"
    assert f'\nversion = "{streamseg.__version__}"\n' in project.read_text(encoding="utf-8")


def test_the_wheel_carries_the_licence_and_the_notice() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license-files"] == ["LICENSE", "NOTICE"]
    assert all((PACKAGE.parent / name).is_file() for name in project["license-files"])


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_streamseg_never_imports_train(path: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module or "")
    assert not {name for name in imported if name.split(".")[0] == "train"}
