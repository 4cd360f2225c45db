"""The command `streamseg bench`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamseg.cli_errors import errors_reported
from streamseg.cli_options import (
    BatchSize,
    Bg,
    ConfigFile,
    EngineName,
    InputSize,
    Model,
    Smooth,
    engine_of,
    settings_of,
)
from streamseg.config import Settings, load_settings

if TYPE_CHECKING:
    from streamseg.bench import Ratio

TURN_FRAMES = 3
"""Turns of a comparison share the frames: so many times fewer in each."""


def bench(
    context: typer.Context,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="A video, or testsrc=WxH.")] = "testsrc=1920x1080",
    frames: Annotated[int, typer.Option(min=10, metavar="N", help="Frames to take of it.")] = 120,
    encode: Annotated[bool, typer.Option("--encode", help="Encode to a file that is thrown away.")] = False,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A.toml B.toml", help="Run two configurations in turns.")
    ] = None,
    baseline: Annotated[
        Literal["seed"] | None, typer.Option(help="Run the way that the project began from in turns with ours.")
    ] = None,
    turns: Annotated[int, typer.Option(min=1, metavar="N", help="Turns of a comparison.")] = 5,
    json: Annotated[Path, typer.Option("--json", metavar="FILE", help="Where all figures go.")] = Path("bench.json"),
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="A picture of them.")] = None,
    bg: Bg = None,
    model: Model = None,
    engine: EngineName = None,
    input_size: InputSize = None,
    batch_size: BatchSize = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
) -> None:
    """Measures the whole line: frames a second, latency, where the time goes, memory; or two ways in turns."""
    with errors_reported():
        from rich.console import Console

        from streamseg.bench import measure
        from streamseg.bench_report import draw, show, show_ratio, write_json

        settings, console = _with_background(settings_of(context)), Console()
        measured = measure(clip, settings, engine_of(settings), frames, encode)
        show(measured, console)
        ratio, what = _compared(clip, settings, frames, encode, compare, baseline, turns)
        if ratio:
            show_ratio(ratio, what, console)
        write_json(json, measured, ratio, clip=clip, encode=encode, settings=settings.model_dump(), compared=what)
        print(f"all figures: {json}")
        if png:
            draw(png, measured)


def _with_background(settings: Settings) -> Settings:
    """What most people run: a background, blurred if none is named."""
    composite = settings.composite.model_copy(update={"bg": settings.composite.bg or "blur"})
    return settings.model_copy(update={"composite": composite})


def _compared(
    clip: str,
    settings: Settings,
    frames: int,
    encode: bool,
    compare: tuple[Path, Path] | None,
    baseline: str | None,
    turns: int,
) -> tuple[Ratio | None, str]:
    """The ratio that was asked for, and of what to what."""
    from streamseg.bench import in_turns, measure
    from streamseg.bench_seed import seeds_fps
    from streamseg.weights import load_weights

    few = max(10, frames // TURN_FRAMES)

    def ours(wanted: Settings) -> float:
        return measure(clip, wanted, engines[id(wanted)], few, encode).fps

    if compare:
        first, second = map(load_settings, compare)
        engines = {id(one): engine_of(one) for one in (first, second)}
        return in_turns(lambda: ours(first), lambda: ours(second), turns), f"{compare[0]} against {compare[1]}"
    if baseline:
        engines = {id(settings): engine_of(settings)}
        net = load_weights(settings.infer.model).eval()
        seed = in_turns(lambda: ours(settings), lambda: seeds_fps(clip, settings, net, few, encode), turns)
        return seed, "against the seed's way"
    return None, ""
