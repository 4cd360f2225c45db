"""Command-line options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.errors import ConfigError

if TYPE_CHECKING:
    from streamseg.settings import Settings

Bg = Annotated[
    str | None,
    typer.Option(
        "--bg",
        metavar="FILE|COLOR|blur",
        help="Image, video, colour (green, #00b140), gradient:#102030,#405060, or blur.",
    ),
]
Fit = Annotated[
    str | None, typer.Option(metavar="cover|contain", help="How the background fills the frame (default: cover).")
]
BgSound = Annotated[
    float | None,
    typer.Option(
        metavar="0-1",
        help="Level of a background video's sound, beside the source's (default: 0, left out).",
        show_default=False,
    ),
]
MatteOnly = Annotated[
    bool | None,
    typer.Option("--matte-only/--no-matte-only", show_default=False, help="Write the grey matte, white = person."),
]
Foreground = Annotated[
    str | None,
    typer.Option(
        metavar="fast|ml", help="Foreground's own colour in soft edges; ml: finer, slow, extra quality (default: fast)."
    ),
]
Feather = Annotated[
    int | None, typer.Option(metavar="PX", help="Soften hard edges over so many pixels, inwards (default: 0).")
]
LightWrap = Annotated[
    float | None,
    typer.Option(
        metavar="0-1", help="The background's light on the foreground's edge (default: 0).", show_default=False
    ),
]
MatchColors = Annotated[
    bool | None,
    typer.Option(
        "--match-colors/--no-match-colors",
        show_default=False,
        help="Move the foreground's colours towards the background's.",
    ),
]
Shadow = Annotated[
    bool | None, typer.Option("--shadow/--no-shadow", show_default=False, help="Cast a soft shadow on the background.")
]
AlphaPlace = Annotated[
    str | None,
    typer.Option(metavar="embedded|stacked|sidecar", help="Where alpha goes without --bg (default: embedded)."),
]
Quality = Annotated[str | None, typer.Option(metavar="standard|high", help="Better or faster (default: standard).")]
Straight = Annotated[
    bool | None,
    typer.Option(
        "--straight/--no-straight",
        show_default=False,
        help="Straight alpha in .exr (default: premultiplied, as its standard says).",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="auto|NAME|FILE",
        help="Packaged weights, a weights file or any matting network as .onnx; auto: lite for files and photos, "
        "nano for cameras (default: auto).",
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
Smooth = Annotated[
    str | None, typer.Option(metavar="motion|one-euro|ema|none", help="Temporal filter (default: motion).")
]
Gate = Annotated[
    bool | None,
    typer.Option(
        "--gate/--no-gate",
        help="Leave out what the network is sure of nowhere (default: gate).",
        show_default=False,
    ),
]
Subject = Annotated[
    str | None,
    typer.Option(metavar="all|largest|centre", help="Who stays, chosen at a scene's start (default: all)."),
]
Keep = Annotated[
    str | None,
    typer.Option(metavar="X,Y", help="Who or what stays: what is nearest to this place, such as 0.3,0.5."),
]
CameraSpec = Annotated[
    str | None,
    typer.Option(
        "--camera",
        metavar="auto|N|NAME|PATH|URL",
        help="Of `streamseg cameras`, an rtsp:// or http:// address, or a file in its place (default: auto).",
    ),
]
CameraSize = Annotated[
    str | None, typer.Option("--size", metavar="WxH", help="Size to ask the camera for (default: 1280x720).")
]
CameraFps = Annotated[
    float | None, typer.Option("--fps", metavar="N", help="Frame rate to ask the camera for (default: 30).")
]
Blur = Annotated[
    float | None, typer.Option(metavar="0.25-4", help="Strength of --bg blur (default: 1).", show_default=False)
]
Refine = Annotated[
    bool | None,
    typer.Option(
        "--refine/--no-refine",
        show_default=False,
        help="Run the network again on crops along the boundary: finer, up to 5 times as slow.",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="auto|HOST:PORT",
        help="Segments of long videos on a Ray cluster; auto: this machine's cluster or its cores (extra cluster).",
    ),
]
GpusPerTask = Annotated[
    float | None,
    typer.Option(
        min=0.01, max=1, metavar="0.01-1", help="Share of a GPU for each worker of --cluster (default: none)."
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML file with the settings among the flags, by name; flags win over it."
    ),
]


def settings_from_flags(context: typer.Context) -> Settings:
    """Return the settings of the command's flags over those of its configuration file; both use the settings' names."""
    from streamseg.settings import changed_settings, load_settings, setting_names

    given = {name: value for name, value in context.params.items() if name in setting_names() and value not in ([], ())}
    settings = load_settings(context.params["config"], given)
    if given.get("subject") and not given.get("keep"):
        return changed_settings(settings, {"keep": None})  # The file's place would win over the flag.
    return settings


def check_cluster_flags(cluster: str | None, gpus_per_task: float | None, jobs: int) -> None:
    """Raise ConfigError if flags of a cluster do not go with the others."""
    if cluster and jobs > 1:
        raise ConfigError(
            "--jobs is for this machine alone, and --cluster has as many workers as its nodes: choose one"
        )
    if gpus_per_task and not cluster:
        raise ConfigError("--gpus-per-task is for the workers of --cluster; give both, or neither")
