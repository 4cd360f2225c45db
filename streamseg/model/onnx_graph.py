"""Inputs, outputs and metadata of an ONNX file, read with OpenVINO or ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamseg.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        type: dtype of its values, such as float32.
        shape: sides, None for each that the graph leaves open; None if even their number is open.
        is_linear: it is a weighted sum, so its values are unbounded; False if unknown.
    """

    name: str
    type: str
    shape: tuple[int | None, ...] | None
    is_linear: bool = False

    def __str__(self) -> str:
        sides = "?" if self.shape is None else ", ".join("?" if side is None else str(side) for side in self.shape)
        return f"{self.name} ({sides}) {self.type}"


@dataclass(frozen=True, slots=True)
class Graph:
    """Inputs and outputs of a network, in the file's order, and the file's metadata."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]


def read_graph(path: Path) -> Graph:
    """Read an ONNX file with OpenVINO, or else with ONNX Runtime.

    Raises:
        WeightsError: neither reads it; with the reason of each.
    """
    reasons = []
    for engine, read in _READERS.items():
        try:
            graph = read(path)
        except ImportError as error:
            reasons.append(f"{engine}: {error.name} is not installed")
        except Exception as error:  # the runtimes' own errors share no other base
            reasons.append(f"{engine}: {last_line(error)}")
        else:
            if graph.inputs and graph.outputs:
                return graph
            reasons.append(f"{engine}: it is empty")
    raise WeightsError(f"{path} is not an ONNX graph, or a damaged one, or none that runs here: {'; '.join(reasons)}")


def last_line(error: Exception) -> str:
    """Return the reason in a runtime's error message, which may begin with positions in its own source."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    return next(filter(None, reversed(lines)), type(error).__name__)


def _read_with_openvino(path: Path) -> Graph:
    from openvino.frontend import FrontEndManager

    # Its reader of all formats would try them one after the other on a damaged file, and some of them print.
    onnx = FrontEndManager().load_by_framework("onnx")
    model = onnx.convert(onnx.load(str(path)))

    def port(node: Any, name: str, is_linear: bool = False) -> Port:
        shape, kind = node.get_partial_shape(), node.get_element_type().get_type_name()
        sides = None if shape.rank.is_dynamic else tuple(None if s.is_dynamic else s.get_length() for s in shape)
        return Port(name, _TYPE_NAMES.get(kind, kind), sides, is_linear)

    rt_info = model.get_rt_info()
    metadata = rt_info["framework"].items() if "framework" in rt_info else ()
    return Graph(
        tuple(port(each, each.get_any_name()) for each in model.inputs),
        tuple(port(each, _output_name(each), _is_linear(each.get_node())) for each in model.outputs),
        {key: str(value.value) for key, value in metadata},
    )


def _output_name(output: Any) -> str:
    """Return the output's name in the file: its result node has it, while the tensor may have several names."""
    name = str(output.get_node().get_friendly_name()).removesuffix("/sink_port_0")
    return name if name in output.get_names() else str(output.get_any_name())


def _is_linear(node: Any) -> bool:
    """Return whether a node passes on a weighted sum."""
    while node.get_type_name() in _SHAPE_OPS:
        node = node.input_value(0).get_node()
    return node.get_type_name() in _LINEAR_OPS


def _read_with_onnx_runtime(path: Path) -> Graph:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def port(argument: Any) -> Port:
        kind = argument.type.removeprefix("tensor(").removesuffix(")")
        sides = tuple(side if isinstance(side, int) else None for side in argument.shape)
        return Port(argument.name, _TYPE_NAMES.get(kind, kind), sides)

    inputs, outputs = session.get_inputs(), session.get_outputs()
    metadata = session.get_modelmeta().custom_metadata_map
    return Graph(tuple(map(port, inputs)), tuple(map(port, outputs)), metadata)


SILENT = 4
"""Log level at which ONNX Runtime does not also print what it raises."""

_READERS: dict[str, Callable[[Path], Graph]] = {"openvino": _read_with_openvino, "onnx": _read_with_onnx_runtime}

_TYPE_NAMES = {"f32": "float32", "f16": "float16", "u8": "uint8", "i64": "int64", "i32": "int32", "float": "float32"}
"""The runtimes' names of dtypes -> NumPy's."""

_SHAPE_OPS = {
    "Result",
    "Convert",
    "Identity",
    "Interpolate",
    "Reshape",
    "Slice",
    "Squeeze",
    "StridedSlice",
    "Transpose",
    "Unsqueeze",
}
"""Operations that change no values except by interpolation."""
_LINEAR_OPS = {"Add", "Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul"}
