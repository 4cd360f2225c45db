"""ONNX Runtime engine: the network on CPUs that OpenVINO does not install on."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor

from streamseg.model.foreign import ForeignNet
from streamseg.model.onnx_graph import SILENT
from streamseg.model.u2net import TRACE_SIZE_PX, FusedU2Net, U2Net
from streamseg.model.weights import Model

OPSET = 17
INPUT, OUTPUT = "frames", "alpha"
SIZES = {name: {0: "n", 2: "h", 3: "w"} for name in (INPUT, OUTPUT)}
"""Dynamic axes of the exported ONNX graph: batch, height and width."""


class OnnxEngine:
    """Runs our network fused in float32, an int8 network, or a third-party graph (through `ForeignEngine`)."""

    name = "onnx"
    device = "cpu"

    def __init__(self, net: Model, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # The threads would spin between two calls, on cores that other stages are waiting for.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = SILENT
        onnxruntime.disable_telemetry_events()
        graph = onnx_graph(net) if isinstance(net, U2Net) else str(net.path)
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[net.output.index if isinstance(net, ForeignNet) else 0].name

    def alpha(self, frames: Tensor) -> Tensor:
        """Compute alpha `(N, 1, h, w)` in [0, 1] for normalised RGB `(N, 3, h, w)`."""
        return torch.from_numpy(self.run(frames.numpy()))

    def run(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the graph's output for its input."""
        result: npt.NDArray[Any]
        (result,) = self._session.run([self._output], {self._input: np.ascontiguousarray(inputs)})
        return result


def onnx_graph(net: U2Net) -> bytes:
    """Export the fused network to ONNX: normalised `(N, 3, h, w)` to alpha `(N, 1, h, w)`; any N, h and w >= 32.

    Raises:
        ImportError: the package onnx is not installed.
    """
    import onnx  # noqa: F401 (PyTorch's exporter needs it, and says so less clearly)

    graph = io.BytesIO()
    example = (torch.zeros(1, 3, TRACE_SIZE_PX, TRACE_SIZE_PX),)
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "dynamic_axes": SIZES}
    with warnings.catch_warnings():
        # The branches that tracing warns about do not depend on the size; the newer exporter needs one more package.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(FusedU2Net(net), example, graph, dynamo=False, opset_version=OPSET, **names)  # type: ignore[arg-type]
    return graph.getvalue()
