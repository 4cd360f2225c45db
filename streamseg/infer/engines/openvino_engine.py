"""OpenVINO engine: the fastest way to run the network on a CPU."""

from __future__ import annotations

import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from platformdirs import user_cache_path
from torch import Tensor

from streamseg.fallback import log_fallback
from streamseg.model.foreign import ForeignNet
from streamseg.model.u2net import TRACE_SIZE_PX, FusedU2Net, U2Net
from streamseg.model.weights import Model


class OpenVinoEngine:
    """Runs our network fused in float32, an int8 network, or a third-party graph (through `ForeignEngine`).

    Compiles once for every input shape. The compiled form of our own networks is cached in the user's cache folder;
    third-party networks, which may take a gigabyte each, are not cached.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, net: Model, threads: int | None = None) -> None:
        self._threads = threads
        self._caches_compiled = not isinstance(net, ForeignNet)
        self._requests: dict[tuple[int, ...], ov.InferRequest] = {}
        if isinstance(net, U2Net):
            self._net = FusedU2Net(net)  # the model borrows its weights
            self._model = _convert(self._net)
        else:
            self._model = _core().read_model(net.path)
        if isinstance(net, ForeignNet):
            # Of several outputs one is wanted; what only the others need is left out.
            self._model = ov.Model([self._model.get_results()[net.output.index]], self._model.get_parameters())
            if net.input.shape:  # what does not compile then shows while there may be another engine to try
                self._request_for(net.input.shape)

    def alpha(self, frames: Tensor) -> Tensor:
        """Compute alpha `(N, 1, h, w)` in [0, 1] for normalised RGB `(N, 3, h, w)`."""
        return torch.from_numpy(self.run(frames.numpy()))

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the graph's output for its input."""
        request = self._request_for(inputs.shape)
        pixels = np.ascontiguousarray(inputs)  # The request borrows this memory and does not keep it alive.
        request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
        request.infer()
        # The request writes into the same memory at its next call; a matte outlives that.
        result: npt.NDArray[Any] = request.get_output_tensor().data.copy()
        return result

    def _request_for(self, shape: tuple[int, ...]) -> ov.InferRequest:
        """Return the inference request for an input shape, compiled at its first use."""
        if shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(shape))
            settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
            if self._threads:
                settings["INFERENCE_NUM_THREADS"] = self._threads
            if self._caches_compiled and (folder := _cache_folder()):
                settings["CACHE_DIR"] = str(folder)
            self._requests[shape] = _core().compile_model(model, "CPU", settings).create_infer_request()
        return self._requests[shape]


@cache
def _core() -> ov.Core:
    """Return the process's only OpenVINO core, which is never closed.

    Its CPU plugin gives the thread that loads it a stack for signal handlers, and frees it with the core. With two
    cores, or one closed by another thread, the thread keeps a freed stack, and Ctrl-C is a segmentation fault.
    """
    return ov.Core()


@cache
def _cache_folder() -> Path | None:
    """Return the folder for compiled networks, or None if it is not writable; OpenVINO recompiles damaged files."""
    folder = user_cache_path("streamseg", appauthor=False) / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
        reason = "it cannot be written to"
    except OSError as error:
        reason = str(error.strerror)
    log_fallback(__name__, f"compiled networks are not kept in {folder}: {reason}")
    return None


def _convert(net: FusedU2Net) -> ov.Model:
    """Trace the fused network and convert it to an OpenVINO model."""
    example = torch.zeros(1, 3, TRACE_SIZE_PX, TRACE_SIZE_PX)
    with warnings.catch_warnings():
        # The branches that tracing warns about do not depend on the size from TRACE_SIZE_PX on.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, example, check_trace=False)  # type: ignore[no-untyped-call]
        return ov.convert_model(traced, example_input=example)
