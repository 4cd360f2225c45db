"""The network on OpenVINO, the fastest way on a CPU."""

from __future__ import annotations

import os
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import openvino as ov
import torch
from platformdirs import user_cache_path
from torch import Tensor

from streamseg.quantised import QuantisedNet
from streamseg.u2net import TRACE_SIZE_PX, FusedU2Net, U2Net


class OpenVinoEngine:
    """Runs the fused network in float32, or an int8 one; compiles once for every input shape.

    What was compiled is kept for the next run in the user's folder for caches.
    """

    name = "openvino"
    device = "cpu"

    def __init__(self, net: U2Net | QuantisedNet, threads: int | None = None) -> None:
        self._threads = threads
        if isinstance(net, QuantisedNet):
            self._model = _core().read_model(net.path)
        else:
            self._net = FusedU2Net(net)  # the model borrows its weights
            self._model = _convert(self._net)
        self._requests: dict[tuple[int, ...], ov.InferRequest] = {}

    def alpha(self, frames: Tensor) -> Tensor:
        """Normalised `(N, 3, h, w)` -> alpha `(N, 1, h, w)` in [0, 1]."""
        request = self._request_for(tuple(frames.shape))
        pixels = np.ascontiguousarray(frames.numpy())  # The request borrows this memory and does not keep it alive.
        request.set_input_tensor(ov.Tensor(pixels, shared_memory=True))
        request.infer()
        # The request writes into the same memory at its next call; a matte outlives that.
        return torch.from_numpy(request.get_output_tensor().data.copy())

    def _request_for(self, shape: tuple[int, ...]) -> ov.InferRequest:
        if shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(shape))
            settings: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
            if self._threads:
                settings["INFERENCE_NUM_THREADS"] = self._threads
            if folder := _cache_folder():
                settings["CACHE_DIR"] = str(folder)
            self._requests[shape] = _core().compile_model(model, "CPU", settings).create_infer_request()
        return self._requests[shape]


@cache
def _core() -> ov.Core:
    """The one of the process, which is never closed.

    Its CPU plugin gives the thread that loads it a stack for signal handlers, and frees that at its end. With two
    of them, or closed by another thread, the thread keeps a stack that is gone: Ctrl-C is then a segmentation fault.
    """
    return ov.Core()


@cache
def _cache_folder() -> Path | None:
    """None where nothing can be kept. OpenVINO compiles anew what it finds damaged there."""
    folder = user_cache_path("streamseg", appauthor=False) / "openvino"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def _convert(net: FusedU2Net) -> ov.Model:
    example = torch.zeros(1, 3, TRACE_SIZE_PX, TRACE_SIZE_PX)
    with warnings.catch_warnings():
        # The branches that tracing warns about do not depend on the size from TRACE_SIZE_PX on.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(net, example, check_trace=False)  # type: ignore[no-untyped-call]
        return ov.convert_model(traced, example_input=example)
