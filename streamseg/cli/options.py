"""Command-line options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from streamseg.settings import Settings

Bg = Annotated[
    str | None, typer.Option("--bg", metavar="FILE|COLOR|blur", help="Image, video, colour (green, #00b140) or blur.")
]
Fit = Annotated[
    str | None, typer.Option(metavar="cover|contain", help="How the background fills the frame (default: cover).")
]
MatteOnly = Annotated[bool | None, typer.Option("--matte-only", help="Write the grey matte, white = person.")]
Foreground = Annotated[
    str | None,
    typer.Option(
        metavar="fast|ml", help="Foreground's own colour in soft edges; ml: finer, slow, extra quality (default: fast)."
    ),
]
AlphaPlace = Annotated[
    str | None,
    typer.Option(metavar="embedded|stacked|sidecar", help="Where alpha goes without --bg (default: embedded)."),
]
Quality = Annotated[str | None, typer.Option(metavar="standard|high", help="Better or faster (default: standard).")]
Straight = Annotated[
    bool | None,
    typer.Option("--straight", help="Straight alpha in .exr (default: premultiplied, as its standard says)."),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="auto|NAME|FILE",
        help="Packaged weights, a weights file or any matting network as .onnx; auto: lite, live the best that keeps "
        "the camera's pace (default: auto).",
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="auto|openvino|onnx|torch[-compile]", help="What runs the network (default: auto)."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(metavar="auto|int8|fp32", help="Of packaged weights; auto: int8 on CPUs made for it (default: auto)."),
]
InputSize = Annotated[
    int | None,
    typer.Option(metavar="PX", help="Long side of the network's input; more is finer and slower (default: 320)."),
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Frames in one call of the network (default: 1).")]
Stride = Annotated[
    int | None,
    typer.Option(metavar="N", help="Run the network on every N-th frame; mattes move between (default: 1)."),
]
Refine = Annotated[
    bool | None,
    typer.Option("--refine", help="Run the network again on crops along the boundary: finer, up to 5 times as slow."),
]
Smooth = Annotated[str | None, typer.Option(metavar="one-euro|ema|none", help="Temporal filter (default: one-euro).")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with the same names; flags win over it.")
]


def settings_from_flags(context: typer.Context) -> Settings:
    """Return the settings of the command's flags over those of its configuration file; both use the settings' names."""
    from streamseg.settings import load_settings, setting_names

    given = {name: value for name, value in context.params.items() if name in setting_names()}
    return load_settings(context.params["config"], given)
