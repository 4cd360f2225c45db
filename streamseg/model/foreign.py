"""Third-party matting networks: ONNX graphs with one image input and one alpha or saliency output, run unchanged.

Properties that a graph does not state, and that differ from the defaults, stand in a TOML file beside it. All its keys:

    [input]                         # of isnet.onnx, in isnet.toml
    size_px = [1024, 1024]          # height and width, if the graph leaves them open (default: any)
    multiple_of_px = 32             # what both sides must be multiples of, if the network takes any size
    layout = "NCHW"                 # or "NHWC" (default: by the position of the 3 channels)
    scale = 1.0                     # value of white, before the mean is subtracted: 1 or 255
    mean = [0.5, 0.5, 0.5]          # of red, green and blue, on that scale
    std = [1.0, 1.0, 1.0]           # divides the difference (default without these three: ImageNet's normalisation)
    [output]
    name = "alpha"                  # or its index from 0 (default: the first output with one channel)
    layout = "NCHW"                 # or "NHWC" (default: by the position of the one channel)
    values = "alpha"                # in [0, 1], or "logits" (default: logits if the last layer is a weighted sum)

A network of one size gets every image stretched to it, as such networks are trained; see `ForeignEngine`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from streamseg.errors import WeightsError
from streamseg.model.onnx_graph import Port, read_graph
from streamseg.model.u2net import STRIDE_PX
from streamseg.settings import Section

Layout = Literal["NCHW", "NHWC"]
Colour = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
SidePx = Annotated[int, Field(ge=1, le=8192)]

INPUT_TYPES = ("float32", "float16", "uint8")
"""Input dtypes that images can be converted to."""


class InputTable(Section):
    """The table `[input]` of a description."""

    size_px: tuple[SidePx, SidePx] | None = None
    multiple_of_px: SidePx | None = None
    layout: Layout | None = None
    scale: Positive | None = None
    mean: Colour | None = None
    std: tuple[Positive, Positive, Positive] | None = None


class OutputTable(Section):
    """The table `[output]` of a description."""

    name: str | int | None = None
    layout: Layout | None = None
    values: Literal["alpha", "logits"] | None = None


class Description(Section):
    """The TOML file beside an ONNX graph."""

    input: InputTable = InputTable()
    output: OutputTable = OutputTable()


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Normalisation of RGB in [0, 1]: `(rgb * scale - mean) / std`."""

    scale: float = 1.0
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)


LEVELS = Normalisation(scale=255.0)
"""Normalisation of networks that take RGB in [0, 255]."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """Image input of a network.

    Attributes:
        type: one of `INPUT_TYPES`.
        layout: order of the axes.
        one_at_a_time: the batch size is 1.
        size_px: height and width, if the network takes only one size.
        multiple_of_px: divisor of both sides, if the network takes any size.
        normalisation: None for ImageNet's, which the stages use.
    """

    type: str
    layout: Layout
    one_at_a_time: bool
    size_px: tuple[int, int] | None
    multiple_of_px: int
    normalisation: Normalisation | None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Shape of a batch of one image, if the network takes only one size."""
        if not self.size_px:
            return None
        return (1, 3, *self.size_px) if self.layout == "NCHW" else (1, *self.size_px, 3)

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that images of a size are resized to."""
        step = self.multiple_of_px
        return self.size_px or (-(-height // step) * step, -(-width // step) * step)


@dataclass(frozen=True, slots=True)
class AlphaOutput:
    """Alpha output of a network.

    Attributes:
        name: of the output.
        index: among the graph's outputs, from 0.
        layout: order of the axes; None for `(N, h, w)`.
        are_logits: the values need a sigmoid.
    """

    name: str
    index: int
    layout: Layout | None
    are_logits: bool


@dataclass(frozen=True, slots=True)
class ForeignNet:
    """A third-party network on disk, as `read_foreign` describes it.

    Attributes:
        path: the ONNX file.
        input: its image input.
        output: its alpha output.
        metadata: the file's own metadata.
    """

    path: Path
    input: ImageInput
    output: AlphaOutput
    metadata: Mapping[str, str]

    @property
    def description_path(self) -> Path:
        """Path of the TOML file beside the network, which need not exist."""
        return description_path(self.path)

    def facts(self) -> dict[str, str]:
        """Return what `streamseg weights info` prints, by name."""
        image, alpha, beside = self.input, self.output, self.description_path
        size = "{} x {} px (height, width)".format(*image.size_px) if image.size_px else "any size"
        steps = "" if image.size_px else f" in multiples of {image.multiple_of_px} px"
        batches = ", one at a time" if image.one_at_a_time else ""
        norm = image.normalisation
        facts = {
            "file": str(self.path),
            "size": f"{self.path.stat().st_size / 1e6:.1f} MB",
            "input": f"{image.layout}, {image.type}, {size}{steps}{batches}",
            "normalisation": f"scale {norm.scale:g}, mean {norm.mean}, std {norm.std}"
            if norm
            else "ImageNet's mean and deviation",
            "output": f"{alpha.name}, {alpha.layout or 'NHW'}, {'logits' if alpha.are_logits else 'alpha in [0, 1]'}",
            "description": str(beside) if beside.exists() else f"none; {beside} can change the above",
        }
        return facts | {key: text for key, text in self.metadata.items() if key not in facts}


def description_path(path: Path) -> Path:
    """Return the path of the TOML file beside a graph, which need not exist."""
    return path.with_suffix(".toml")


def read_foreign(path: Path) -> ForeignNet:
    """Describe a network by its ONNX file and the TOML file beside it.

    Raises:
        WeightsError: the file is damaged, no runtime reads it, the graph does not map one image to one map, or the TOML
            does not fit the graph.
    """
    graph, description = read_graph(path), _read_description(description_path(path))
    try:
        return ForeignNet(
            path,
            _image_input(graph.inputs, description.input),
            _alpha_output(graph.outputs, description.output),
            dict(graph.metadata),
        )
    except _UnsupportedGraph as error:
        where = str(path) if description == Description() else f"{path} with {description_path(path).name}"
        raise WeightsError(f"{where}: {error}") from error


class _UnsupportedGraph(Exception):
    """The graph cannot be run; the message says why."""


def _read_description(path: Path) -> Description:
    """Read and validate a TOML description; return the defaults if there is none."""
    if not path.exists():
        return Description()
    try:
        return Description.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        raise WeightsError(f"{path}: {_first_problem(error)}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"cannot read {path}, which describes the network beside it: {error}") from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        tables = {"input": InputTable.model_fields, "output": OutputTable.model_fields}
        known = [f"{table}.{key}" for table, keys in tables.items() for key in keys]
        return f"unknown key {where}; known are {', '.join(known)}"
    return f"{where}: {problem['msg']} (got {problem['input']!r})"


def _image_input(inputs: tuple[Port, ...], table: InputTable) -> ImageInput:
    """Describe the graph's only input; raise _UnsupportedGraph if it is no image."""
    if len(inputs) > 1:
        raise _UnsupportedGraph(
            f"it has {len(inputs)} inputs: {', '.join(map(str, inputs))}; only networks whose one input is an image "
            "are run, without a second image, a trimap, recurrent states or parameters"
        )
    (port,) = inputs
    layout = _layout(port, 3, table.layout)
    if port.shape is None or layout is None:
        raise _UnsupportedGraph(f"its input {port} is no image of 3 channels, (N, 3, h, w) or (N, h, w, 3)")
    if port.type not in INPUT_TYPES:
        raise _UnsupportedGraph(
            f"its input {port} has pixels of a type that is not run; these are: {', '.join(INPUT_TYPES)}"
        )
    if port.shape[0] not in (None, 1):
        raise _UnsupportedGraph(f"its input {port} takes {port.shape[0]} images at a time; 1 or any number can be run")
    size_px = _size_px(port, layout, table)
    if size_px and table.multiple_of_px:
        raise _UnsupportedGraph(
            f"input.multiple_of_px is for networks of any size, and this one takes {_size_text(size_px)} px"
        )
    normalisation = _normalisation(port.type, table)
    return ImageInput(port.type, layout, port.shape[0] == 1, size_px, table.multiple_of_px or STRIDE_PX, normalisation)


def _size_px(port: Port, layout: Layout, table: InputTable) -> tuple[int, int] | None:
    """Return height and width if the graph or its description fixes them, else None."""
    assert port.shape
    height, width = port.shape[layout.index("H")], port.shape[layout.index("W")]
    if table.size_px:
        if any(own not in (None, asked) for own, asked in zip((height, width), table.size_px, strict=True)):
            raise _UnsupportedGraph(f"input.size_px says {_size_text(table.size_px)} px, and its input is {port}")
        return table.size_px
    if height and width:
        return height, width
    if height or width:
        raise _UnsupportedGraph(f"its input {port} fixes one side only; give both as input.size_px = [height, width]")
    return None


def _normalisation(kind: str, table: InputTable) -> Normalisation | None:
    """Return the described normalisation, or `LEVELS` for uint8 inputs; None for ImageNet's."""
    keys = table.model_dump(include={"scale", "mean", "std"}, exclude_none=True)
    if kind == "uint8":
        if keys:
            raise _UnsupportedGraph(f"input.{min(keys)} is for float inputs; this one takes uint8, pixels as they are")
        return LEVELS
    return Normalisation(**keys) if keys else None


def _alpha_output(outputs: tuple[Port, ...], table: OutputTable) -> AlphaOutput:
    """Describe the alpha output; raise _UnsupportedGraph if the graph has none."""
    index = _output_index(outputs, table)
    port = outputs[index]
    is_flat = port.shape is not None and len(port.shape) == 3
    are_logits = table.values == "logits" if table.values else port.is_linear
    return AlphaOutput(port.name, index, None if is_flat else _layout(port, 1, table.layout), are_logits)


def _output_index(outputs: tuple[Port, ...], table: OutputTable) -> int:
    """Return the index of the described output, or else of the first with one channel."""
    listed = ", ".join(map(str, outputs))
    if table.name is None:
        indices = [index for index, port in enumerate(outputs) if _is_alpha_map(port, table.layout)]
        if not indices:
            raise _UnsupportedGraph(
                f"it has no output of one channel, (N, 1, h, w), (N, h, w, 1) or (N, h, w): {listed}"
            )
        return indices[0]
    names = [port.name for port in outputs]
    index = table.name if isinstance(table.name, int) else names.index(table.name) if table.name in names else -1
    if not 0 <= index < len(outputs):
        raise _UnsupportedGraph(f"output.name = {table.name!r} is none of its outputs: {listed}")
    if not _is_alpha_map(outputs[index], table.layout):
        raise _UnsupportedGraph(
            f"its output {outputs[index]} is no map of one channel, (N, 1, h, w), (N, h, w, 1) or (N, h, w)"
        )
    return index


def _is_alpha_map(port: Port, stated: Layout | None) -> bool:
    """Return whether an output is `(N, h, w)` or has one channel."""
    return (port.shape is not None and len(port.shape) == 3) or _layout(port, 1, stated) is not None


def _layout(port: Port, channels: int, stated: Layout | None) -> Layout | None:
    """Return the stated layout, or the one with `channels` channels; None if neither fits the shape.

    Channels that the graph leaves open are taken for the second axis, since writers of NHWC state theirs.
    """
    shape = (None,) * 4 if port.shape is None else port.shape
    if len(shape) != 4:
        return None
    layouts: tuple[Layout, ...] = (stated,) if stated else ("NCHW", "NHWC")
    for layout in layouts:
        if shape[layout.index("C")] == channels:
            return layout
    return layouts[0] if shape[layouts[0].index("C")] is None else None


def _size_text(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"
