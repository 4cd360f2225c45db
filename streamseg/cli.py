"""The command line: thin commands over the public functions; nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.config import Settings, load_settings, setting_names
from streamseg.errors import InputError, OutputError, StreamsegError

if TYPE_CHECKING:
    from streamseg.decode import Source
    from streamseg.infer import Engine
    from streamseg.pipeline import Statistics

USER_ERROR = 2
INTERRUPTED = 130

app = typer.Typer(
    help="Remove or replace the background of videos, photos and your webcam.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
weights_app = typer.Typer(help="List, describe and import network weights.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")

Bg = Annotated[
    str | None, typer.Option("--bg", metavar="FILE|COLOR|blur", help="Picture, video, colour (green, #00b140) or blur.")
]
Fit = Annotated[str | None, typer.Option(metavar="cover|contain", help="How the background fills the frame [cover].")]
MatteOnly = Annotated[bool | None, typer.Option("--matte-only", help="Write the grey matte, white = person.")]
Model = Annotated[str | None, typer.Option(metavar="NAME|FILE", help="Packaged weights or a weights file [lite].")]
EngineName = Annotated[
    str | None, typer.Option("--engine", metavar="auto|torch|openvino", help="What runs the network [auto].")
]
InputSize = Annotated[
    int | None, typer.Option(metavar="PX", help="Long side of the network's input; more is finer and slower [320].")
]
BatchSize = Annotated[int | None, typer.Option(metavar="N", help="Frames in one call of the network [1].")]
Smooth = Annotated[str | None, typer.Option(metavar="one-euro|ema|none", help="Temporal filter [one-euro].")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file with the same names; flags win over it.")
]


@app.command()
def video(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="Video, folder of pictures, or testsrc=WxH.")],
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="OUT", help="x.mov, .webm, .mkv, .mp4, x_%05d.png, .exr, .webp, a folder."),
    ],
    bg: Bg = None,
    fit: Fit = None,
    matte_only: MatteOnly = None,
    alpha: Annotated[
        str | None, typer.Option(metavar="embedded|stacked|sidecar", help="Where alpha goes without --bg [embedded].")
    ] = None,
    quality: Annotated[str | None, typer.Option(metavar="standard|high", help="Better or faster [standard].")] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="Begin here: 90, 90.5 or 1:30.5.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="End before this.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run left OUT.part.")] = False,
    model: Model = None,
    engine: EngineName = None,
    input_size: InputSize = None,
    batch_size: BatchSize = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
) -> None:
    """Mattes a video; every frame, the times and the sound are kept. Without --bg it has an alpha channel."""
    with _errors_reported():
        from streamseg.decode import Stretch, open_source

        settings = _settings(context)
        _refuse_overwriting(out, source, settings.composite.bg)
        with open_source(source, Stretch.of(start, end)) as opened:
            statistics = _run(opened, out, settings, resume=resume)
            print(_speed(statistics))
            if opened.damage:
                raise InputError(f"{opened.damage}; {out} holds what could be decoded")


@app.command()
def image(
    context: typer.Context,
    photos: Annotated[list[str], typer.Argument(metavar="IN...", help="Photos, or folders of photos.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT.png|DIR", help="A picture, or a folder for PNGs.")],
    bg: Bg = None,
    fit: Fit = None,
    matte_only: MatteOnly = None,
    model: Model = None,
    engine: EngineName = None,
    input_size: InputSize = None,
    config: ConfigFile = None,
) -> None:
    """Cuts the subject out of photos, each at its own size."""
    with _errors_reported():
        from streamseg.photos import matte_photos, plan_photos

        settings = _settings(context)
        pairs = plan_photos(photos, out, transparent=settings.composite.kind == "cut-out")
        for _, target in pairs:
            _refuse_overwriting(str(target), settings.composite.bg)
        failed = 0
        for done in matte_photos(pairs, _open_engine(settings), settings):
            if done.problem:
                failed += 1
                print(f"error: {done.problem}", file=sys.stderr)
            else:
                width, height = done.size_px
                print(f"{done.photo} -> {done.out}  {width}x{height} px, inference {done.inference_ms:.0f} ms")
        if failed:
            raise typer.Exit(USER_ERROR)


@app.command()
def webcam(
    context: typer.Context,
    camera: Annotated[str, typer.Option(metavar="N|PATH|testsrc", help="Camera, or a file in its place.")] = "0",
    bg: Bg = None,
    fit: Fit = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="window|virtual|FILE", help="Where the picture goes.")
    ] = "window",
    matte_only: MatteOnly = None,
    model: Model = None,
    engine: EngineName = None,
    input_size: InputSize = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N camera frames.")] = None,
) -> None:
    """Mattes a camera live; frames that the machine has no time for are dropped, so that the delay stays short."""
    with _errors_reported():
        from streamseg.decode import open_camera

        settings = _settings(context)
        _refuse_overwriting(out, camera, settings.composite.bg)
        with open_camera(camera) as opened:
            statistics = _run(opened, out, settings, frames)
            print(_live_summary(statistics))


@weights_app.command("list")
def list_command() -> None:
    """Lists the weights that are known by name."""
    with _errors_reported():
        from streamseg.weights import list_weights

        for entry in list_weights():
            state = "packaged" if entry.file else "not packaged"
            print(f"{entry.name:10} {state:13} {entry.licence:12} {entry.description}")


@weights_app.command("info")
def info_command(
    weights: Annotated[str, typer.Argument(metavar="NAME|FILE", help="Packaged weights or a weights file.")],
) -> None:
    """Describes weights: architecture, training data, metrics, licence."""
    with _errors_reported():
        from streamseg.weights import read_info

        info = read_info(weights)
        print(f"{'name':14} {info.name}\n{'file':14} {info.path}\n{'architecture':14} {info.architecture}")
        print(f"{'parameters':14} {info.parameters:,}\n{'size':14} {info.size_bytes / 1e6:.1f} MB")
        for key, value in info.metadata.items():
            print(f"{key:14} {value}")


@weights_app.command("import")
def import_command(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="u2net.pth, u2netp.pth, u2net_human_seg.pth, or .onnx.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.safetensors", help="The file to write.")],
) -> None:
    """Converts official U²-Net weights, or a checkpoint of `train`, to safetensors."""
    with _errors_reported():
        from streamseg.weights import import_weights

        info = import_weights(source, out)
        print(f"{out}: {info.architecture}, {info.parameters:,} parameters, from {source}")


def main() -> None:
    """Runs the command line."""
    app()


@contextmanager
def _errors_reported() -> Iterator[None]:
    """One line and exit code 2 for what the user can put right, 130 for Ctrl-C; anything else is our bug."""
    try:
        yield
    except StreamsegError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(USER_ERROR) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt


def _settings(context: typer.Context) -> Settings:
    """The command's flags over its configuration file; both use the settings' own names."""
    given = {name: value for name, value in context.params.items() if name in setting_names()}
    return load_settings(context.params["config"], given)


def _run(
    source: Source, out: str, settings: Settings, frame_limit: int | None = None, resume: bool = False
) -> Statistics:
    from streamseg.pipeline import run
    from streamseg.progress import RunProgress
    from streamseg.sink import open_sink

    engine = _open_engine(settings)
    total = min(filter(None, (source.info.frame_count, frame_limit)), default=None)
    sink = open_sink(out, source.info, settings.composite.kind, settings.output, resume)
    try:
        with sink, RunProgress(total) as progress:
            statistics = run(source, engine, sink, settings, frame_limit, progress.update)
    except KeyboardInterrupt:
        print(f"stopped by Ctrl-C; {sink.written}", file=sys.stderr)
        raise
    print(sink.written)
    return statistics


def _open_engine(settings: Settings) -> Engine:
    from streamseg.infer import open_engine
    from streamseg.weights import load_model

    return open_engine(settings.infer.engine, load_model(settings.infer.model))


def _refuse_overwriting(out: str, *inputs: str | None) -> None:
    """A numbered sequence counts as the folder that it goes to: its names may be those of the pictures there."""
    target = Path(out).parent if "%" in Path(out).name else Path(out)
    for name in inputs:
        if name and target.exists() and Path(name).exists() and target.samefile(name):
            raise OutputError(f"the output {out} is an input too; give another name")


def _live_summary(statistics: Statistics) -> str:
    dropped = f"{statistics.dropped} dropped to keep the camera's pace" if statistics.dropped else "none dropped"
    latency = f"latency {statistics.latency_ms():.0f} ms (95 %: {statistics.latency_ms(0.95):.0f} ms)"
    return f"{_speed(statistics)}, {dropped}, {latency}"


def _speed(statistics: Statistics) -> str:
    return f"{statistics.frames} frames in {statistics.elapsed_seconds:.1f} s, {statistics.fps:.1f} fps"
