"""`streamseg bench` at 1080p for every network, on the line of a GPU: the second half of `make gpu-check`.

Without a GPU the same line runs on the CPU at a tiny size. Nothing but the device differs, so that whatever is wrong
with the rest shows before a GPU is paid for.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from streamseg.cli.app import app
from streamseg.hardware import cuda
from streamseg.infer.engines import ENGINES
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.model.u2net import CONFIGS
from streamseg.model.weights import list_weights, save_weights
from tests.synthetic import randomised

NETWORKS = ("lite", "full", "nano")
AT_WORK = ("testsrc=1920x1080", "--frames", "300")
REHEARSAL = ("testsrc=128x96", "--frames", "12", "--input-size", "64")


def main(out: Path) -> None:
    """Prints the figures of each network and writes them to `out`, a folder, as JSON."""
    device = cuda.best_device()
    print(f"PyTorch {torch.__version__} on {cuda.device_name(device)}")
    size = AT_WORK
    if device.type != "cuda":
        print("no CUDA device: a rehearsal on the CPU, whose figures say nothing")
        ENGINES["torch"] = lambda net, threads, _: StreamedEngine(net, device)
        size = REHEARSAL
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            if name not in CONFIGS:
                print(f"{name}: no such network yet")
                continue
            print(f"\n{name}", flush=True)
            figures = str(out / f"{name}.json")
            overrides = ("--model", _weights(name, Path(folder)), "--engine", "torch", "--precision", "fp32")
            app(["bench", *size, *overrides, "--json", figures], standalone_mode=False)


def _weights(name: str, folder: Path) -> str:
    """Packaged ones; else random ones, which take as long."""
    if any(entry.name == name and entry.file for entry in list_weights()):
        return name
    print("not packaged: random weights")
    path = folder / f"{name}.safetensors"
    save_weights(path, randomised(CONFIGS[name]), {})
    return str(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
