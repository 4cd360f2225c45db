"""Matting networks from elsewhere: ONNX graphs with one image in and an alpha or saliency map out, run as they are.

What a graph does not say of itself stands in a TOML file beside it, as far as it is not the default; all keys:

    [input]                         # of isnet.onnx, in isnet.toml
    size_px = [1024, 1024]          # height and width, where the graph leaves them open (default: any)
    multiple_of_px = 32             # what its sides must be multiples of, where they may be any
    layout = "NCHW"                 # or "NHWC" (default: by the place of the 3 channels)
    scale = 1.0                     # white, before the mean is taken out: 1 or 255
    mean = [0.5, 0.5, 0.5]          # of red, green and blue, on that scale
    std = [1.0, 1.0, 1.0]           # what is divided by then (default without these three: as ImageNet's pictures)
    [output]
    name = "alpha"                  # or its place from 0 (default: the first that is a map of one channel)
    layout = "NCHW"                 # or "NHWC" (default: by the place of the one channel)
    values = "alpha"                # in [0, 1], or "logits" (default: logits where the last layer is a weighted sum)

A network of one size gets every picture stretched to it, as such networks are trained on; see `ForeignEngine`.
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

RUNNABLE = ("float32", "float16", "uint8")
"""Types of pixels that are made for a network."""


class InputTable(Section):
    """The table `[input]`."""

    size_px: tuple[SidePx, SidePx] | None = None
    multiple_of_px: SidePx | None = None
    layout: Layout | None = None
    scale: Positive | None = None
    mean: Colour | None = None
    std: tuple[Positive, Positive, Positive] | None = None


class OutputTable(Section):
    """The table `[output]`."""

    name: str | int | None = None
    layout: Layout | None = None
    values: Literal["alpha", "logits"] | None = None


class Description(Section):
    """The file beside a graph."""

    input: InputTable = InputTable()
    output: OutputTable = OutputTable()


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What is made of colours in [0, 1]: `(colour * scale - mean) / std`."""

    scale: float = 1.0
    mean: Colour = (0.0, 0.0, 0.0)
    std: Colour = (1.0, 1.0, 1.0)


LEVELS = Normalisation(scale=255.0)
"""Of pixels as they are stored."""


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a network wants its pictures.

    Attributes:
        type: of `RUNNABLE`.
        layout: order of its sides.
        one_at_a_time: no batches.
        size_px: height and width, if it takes one size only.
        multiple_of_px: of both sides, if it takes any.
        normalisation: None for that of ImageNet, which all frames come in.
    """

    type: str
    layout: Layout
    one_at_a_time: bool
    size_px: tuple[int, int] | None
    multiple_of_px: int
    normalisation: Normalisation | None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """Of one picture, if it takes one size only."""
        if not self.size_px:
            return None
        return (1, 3, *self.size_px) if self.layout == "NCHW" else (1, *self.size_px, 3)

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """What pictures of a size are resized to."""
        step = self.multiple_of_px
        return self.size_px or (-(-height // step) * step, -(-width // step) * step)


@dataclass(frozen=True, slots=True)
class AlphaOutput:
    """Where a network's alpha is.

    Attributes:
        name: of the output.
        place: among the outputs, from 0.
        layout: order of its sides; None for maps `(N, h, w)`.
        are_logits: its values are still to go through the sigmoid.
    """

    name: str
    place: int
    layout: Layout | None
    are_logits: bool


@dataclass(frozen=True, slots=True)
class ForeignNet:
    """A network on disk that is none of ours; `read_foreign` makes it.

    Attributes:
        path: the ONNX file.
        input: how it wants its pictures.
        output: where its alpha is.
        metadata: what the file tells of itself.
    """

    path: Path
    input: ImageInput
    output: AlphaOutput
    metadata: Mapping[str, str]

    @property
    def description_path(self) -> Path:
        """Where the file beside it is, or would be."""
        return description_path(self.path)

    def facts(self) -> dict[str, str]:
        """What `streamseg weights info` shows."""
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
    """The file that may stand beside a graph."""
    return path.with_suffix(".toml")


def read_foreign(path: Path) -> ForeignNet:
    """What an ONNX file and the TOML beside it say of a network.

    Raises:
        WeightsError: the file is damaged, no runtime reads it, it is no network from one image to one map, or the TOML
            does not fit it.
    """
    graph, said = read_graph(path), _read_description(description_path(path))
    try:
        return ForeignNet(
            path, _image(graph.inputs, said.input), _alpha(graph.outputs, said.output), dict(graph.metadata)
        )
    except _Misfit as misfit:
        where = str(path) if said == Description() else f"{path} with {description_path(path).name}"
        raise WeightsError(f"{where}: {misfit}") from misfit


class _Misfit(Exception):
    """Why a graph cannot be run."""


def _read_description(path: Path) -> Description:
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


def _image(inputs: tuple[Port, ...], said: InputTable) -> ImageInput:
    if len(inputs) > 1:
        raise _Misfit(
            f"it has {len(inputs)} inputs: {', '.join(map(str, inputs))}; only networks whose one input is an image "
            "are run, without a second image, a trimap, recurrent states or parameters"
        )
    (port,) = inputs
    layout = _layout(port, 3, said.layout)
    if port.shape is None or layout is None:
        raise _Misfit(f"its input {port} is no image of 3 channels, (N, 3, h, w) or (N, h, w, 3)")
    if port.type not in RUNNABLE:
        raise _Misfit(f"its input {port} has pixels of a type that is not run; these are: {', '.join(RUNNABLE)}")
    if port.shape[0] not in (None, 1):
        raise _Misfit(f"its input {port} takes {port.shape[0]} images at a time; 1 or any number can be run")
    size_px = _size_px(port, layout, said)
    if size_px and said.multiple_of_px:
        raise _Misfit(f"input.multiple_of_px is for networks of any size, and this one takes {_by(size_px)} px")
    normalisation = _normalisation(port.type, said)
    return ImageInput(port.type, layout, port.shape[0] == 1, size_px, said.multiple_of_px or STRIDE_PX, normalisation)


def _size_px(port: Port, layout: Layout, said: InputTable) -> tuple[int, int] | None:
    assert port.shape
    height, width = port.shape[layout.index("H")], port.shape[layout.index("W")]
    if said.size_px:
        if any(own not in (None, asked) for own, asked in zip((height, width), said.size_px, strict=True)):
            raise _Misfit(f"input.size_px says {_by(said.size_px)} px, and its input is {port}")
        return said.size_px
    if height and width:
        return height, width
    if height or width:
        raise _Misfit(f"its input {port} fixes one side only; give both as input.size_px = [height, width]")
    return None


def _normalisation(kind: str, said: InputTable) -> Normalisation | None:
    given = said.model_dump(include={"scale", "mean", "std"}, exclude_none=True)
    if kind == "uint8":
        if given:
            raise _Misfit(f"input.{min(given)} is for float inputs; this one takes uint8, pixels as they are")
        return LEVELS
    return Normalisation(**given) if given else None


def _alpha(outputs: tuple[Port, ...], said: OutputTable) -> AlphaOutput:
    place = _place(outputs, said)
    port = outputs[place]
    is_flat = port.shape is not None and len(port.shape) == 3
    are_logits = said.values == "logits" if said.values else port.is_linear
    return AlphaOutput(port.name, place, None if is_flat else _layout(port, 1, said.layout), are_logits)


def _place(outputs: tuple[Port, ...], said: OutputTable) -> int:
    """Of the output that was asked for, or of the first that can be a matte."""
    there = ", ".join(map(str, outputs))
    if said.name is None:
        places = [place for place, port in enumerate(outputs) if _is_map(port, said.layout)]
        if not places:
            raise _Misfit(f"it has no output of one channel, (N, 1, h, w), (N, h, w, 1) or (N, h, w): {there}")
        return places[0]
    names = [port.name for port in outputs]
    place = said.name if isinstance(said.name, int) else names.index(said.name) if said.name in names else -1
    if not 0 <= place < len(outputs):
        raise _Misfit(f"output.name = {said.name!r} is none of its outputs: {there}")
    if not _is_map(outputs[place], said.layout):
        raise _Misfit(f"its output {outputs[place]} is no map of one channel, (N, 1, h, w), (N, h, w, 1) or (N, h, w)")
    return place


def _is_map(port: Port, said: Layout | None) -> bool:
    return (port.shape is not None and len(port.shape) == 3) or _layout(port, 1, said) is not None


def _layout(port: Port, channels: int, said: Layout | None) -> Layout | None:
    """The order of a port's sides: what was said, or where so many channels are; None where they cannot be.

    Channels that the graph leaves open are taken for the second side: writers of NHWC tell theirs.
    """
    shape = (None,) * 4 if port.shape is None else port.shape
    if len(shape) != 4:
        return None
    layouts: tuple[Layout, ...] = (said,) if said else ("NCHW", "NHWC")
    for layout in layouts:
        if shape[layout.index("C")] == channels:
            return layout
    return layouts[0] if shape[layouts[0].index("C")] is None else None


def _by(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]} x {size_px[1]}"
