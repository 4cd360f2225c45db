"""What an ONNX file says of its inputs and outputs; read by whichever of the engines' own libraries reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamseg.errors import WeightsError


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output.

    Attributes:
        name: the graph's own.
        type: of its values, such as float32.
        shape: its sides, None where the graph leaves one open; None where it does not even say how many there are.
        is_linear: it comes from a weighted sum, so that nothing bounds its values; False where that is not known.
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
    """A network as a runtime sees it from outside; ports in the file's order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]


def read_graph(path: Path) -> Graph:
    """Reads an ONNX file with OpenVINO, or with ONNX Runtime what OpenVINO does not know.

    Raises:
        WeightsError: neither reads it, with each one's reason.
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
    """The reason in a runtime's message, which may begin with the places in its source that it came through."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    return next(filter(None, reversed(lines)), type(error).__name__)


def _with_openvino(path: Path) -> Graph:
    from openvino.frontend import FrontEndManager

    # Its reader of all formats would try them one after the other on a damaged file, and some of them print.
    onnx = FrontEndManager().load_by_framework("onnx")
    model = onnx.convert(onnx.load(str(path)))

    def port(node: Any, name: str, is_linear: bool = False) -> Port:
        shape, kind = node.get_partial_shape(), node.get_element_type().get_type_name()
        sides = None if shape.rank.is_dynamic else tuple(None if s.is_dynamic else s.get_length() for s in shape)
        return Port(name, _TYPES.get(kind, kind), sides, is_linear)

    rt_info = model.get_rt_info()
    card = rt_info["framework"].items() if "framework" in rt_info else ()
    return Graph(
        tuple(port(each, each.get_any_name()) for each in model.inputs),
        tuple(port(each, _output_name(each), _is_linear(each.get_node())) for each in model.outputs),
        {key: str(value.value) for key, value in card},
    )


def _output_name(output: Any) -> str:
    """The file's own: a result is called after it, and the tensor behind may have other names as well."""
    name = str(output.get_node().get_friendly_name()).removesuffix("/sink_port_0")
    return name if name in output.get_names() else str(output.get_any_name())


def _is_linear(node: Any) -> bool:
    """Whether what a node hands on is a weighted sum."""
    while node.get_type_name() in _PASSES_ON:
        node = node.input_value(0).get_node()
    return node.get_type_name() in _LINEAR


def _with_onnx_runtime(path: Path) -> Graph:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def port(told: Any) -> Port:
        kind = told.type.removeprefix("tensor(").removesuffix(")")
        sides = tuple(side if isinstance(side, int) else None for side in told.shape)
        return Port(told.name, _TYPES.get(kind, kind), sides)

    inputs, outputs = session.get_inputs(), session.get_outputs()
    card = session.get_modelmeta().custom_metadata_map
    return Graph(tuple(map(port, inputs)), tuple(map(port, outputs)), card)


SILENT = 4
"""ONNX Runtime would print what it raises, too."""

_READERS: dict[str, Callable[[Path], Graph]] = {"openvino": _with_openvino, "onnx": _with_onnx_runtime}

_TYPES = {"f32": "float32", "f16": "float16", "u8": "uint8", "i64": "int64", "i32": "int32", "float": "float32"}
"""The runtimes' names of types -> those that everyone knows."""

_PASSES_ON = {
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
_LINEAR = {"Add", "Convolution", "ConvolutionBackpropData", "GroupConvolution", "MatMul"}
