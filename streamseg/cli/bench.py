"""The command `streamseg bench`: measure the pipeline."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from streamseg.cli.errors import errors_reported
from streamseg.cli.options import (
    BatchSize,
    Bg,
    ConfigFile,
    EngineName,
    InputSize,
    Model,
    Precision,
    Smooth,
    Stride,
    settings_from_flags,
)
from streamseg.errors import ConfigError
from streamseg.interrupt import raise_again

if TYPE_CHECKING:
    from streamseg.bench.benchmark import Speedup, Workload
    from streamseg.infer.engines.base import Engine
    from streamseg.settings import Settings

TURN_FRACTION = 3
"""Divisor of the frames of a run that each turn of a comparison takes."""


def bench(
    context: typer.Context,
    clip: Annotated[str, typer.Argument(metavar="CLIP", help="A video, or testsrc=WxH.")] = "testsrc=1920x1080",
    frames: Annotated[int, typer.Option(min=10, metavar="N", help="Frames to take of it.")] = 120,
    encode: Annotated[bool, typer.Option("--encode", help="Encode to a file that is thrown away.")] = False,
    live: Annotated[bool, typer.Option("--live", help="At the clip's own pace, as from a camera.")] = False,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="A.toml B.toml", help="Run two configurations in turns.")
    ] = None,
    baseline: Annotated[
        Literal["seed"] | None, typer.Option(help="Run the way that the project began from in turns with ours.")
    ] = None,
    turns: Annotated[int, typer.Option(min=1, metavar="N", help="Turns of a comparison.")] = 5,
    json: Annotated[Path, typer.Option("--json", metavar="FILE", help="Where all figures go.")] = Path("bench.json"),
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="A plot of them.")] = None,
    bg: Bg = None,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    batch_size: BatchSize = None,
    stride: Stride = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
) -> None:
    """Measure the whole pipeline: `streamseg bench talk.mp4`.

    Frames a second, latency, where the time goes, memory; or two ways in turns.
    """
    with errors_reported():
        if live:  # As `webcam` does.
            from streamseg.hardware.memory import tune_allocator

            tune_allocator()
        from rich.console import Console

        from streamseg.bench.benchmark import Workload, measure
        from streamseg.bench.report import draw, show, show_ratio, write_json
        from streamseg.model.precision import chosen_model
        from streamseg.settings import load_settings

        _check_figures(json, png)
        workload, console = (
            Workload(clip, _with_background(settings_from_flags(context)), frames, encode, live),
            Console(),
        )
        compared = [_with_background(load_settings(path)) for path in compare or ()]
        workload, opened = _with_engine(workload)
        network = f"{chosen_model(workload.settings.infer)} on {opened.name}, {opened.device}"
        print(network)
        raise_again()
        result = measure(workload, opened)
        show(result, console)
        turn, ratio, what = replace(workload, frames=max(10, frames // TURN_FRACTION)), None, ""
        if compare:
            ratio, what = _compare(turn, compared, turns), f"{compare[0]} against {compare[1]}"
        elif baseline:
            ratio, what = _compare_with_seed(turn, opened, turns), "against the seed's way"
        if ratio:
            show_ratio(ratio, what, console)
        about = {
            "clip": clip,
            "network": network,
            "encode": encode,
            "live": live,
            "settings": workload.settings.model_dump(),
        }
        write_json(json, result, ratio, **about, compared=what)
        print(f"all figures: {json}")
        if png:
            draw(png, result)


def _check_figures(json: Path, png: Path | None) -> None:
    """Refuse what the figures cannot be written to, before they are measured."""
    from streamseg.sink.video import check_folder

    if png and png.suffix.lower() != ".png":
        raise ConfigError(f"--png {png} must end in .png")
    for path in filter(None, (json, png)):
        check_folder(path)


def _with_background(settings: Settings) -> Settings:
    """Set the background to `blur` if the settings name none, since most runs have a background."""
    composite = settings.composite.model_copy(update={"bg": settings.composite.bg or "blur"})
    return settings.model_copy(update={"composite": composite})


def _with_engine(workload: Workload) -> tuple[Workload, Engine]:
    """Open the engine, print how its network keeps pace, and name the network in the workload."""
    from streamseg.infer.select import engine_for

    with workload.open() as source:
        chosen = engine_for(workload.settings.infer, source.info)
    if chosen.pace:
        print(chosen.pace)
    return replace(workload, settings=workload.settings.model_copy(update={"infer": chosen.settings})), chosen.engine


def _compare(workload: Workload, pair: list[Settings], turns: int) -> Speedup:
    """Run two configurations in turns."""
    from streamseg.bench.benchmark import in_turns, pipeline_fps

    first, second = (partial(pipeline_fps, *_with_engine(replace(workload, settings=settings))) for settings in pair)
    return in_turns(first, second, turns)


def _compare_with_seed(workload: Workload, engine: Engine, turns: int) -> Speedup:
    """Run the pipeline and the baseline in turns."""
    from streamseg.bench.baseline import BASELINE_MODEL, baseline_fps
    from streamseg.bench.benchmark import in_turns, pipeline_fps
    from streamseg.model.weights import load_weights

    return in_turns(
        partial(pipeline_fps, workload, engine), partial(baseline_fps, workload, load_weights(BASELINE_MODEL)), turns
    )
