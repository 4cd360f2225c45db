"""The command line: thin commands over the public functions; nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.cli.bench import bench
from streamseg.cli.errors import DAMAGED, USER_ERROR, errors_reported
from streamseg.cli.options import (
    AlphaPlace,
    BatchSize,
    Bg,
    ConfigFile,
    EngineName,
    Fit,
    InputSize,
    KeyframeInterval,
    MatteOnly,
    Model,
    Precision,
    Quality,
    Smooth,
    settings_of,
)
from streamseg.cli.weights import weights_app
from streamseg.errors import InputError, OutputError
from streamseg.interrupt import raise_again
from streamseg.media.atomic import followed
from streamseg.settings import Settings

if TYPE_CHECKING:
    from streamseg.decode import Source
    from streamseg.statistics import Statistics

SOME_FAILED = 1

app = typer.Typer(
    help="Remove or replace the background of videos, photos and your webcam.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(weights_app, name="weights")
app.command()(bench)


@app.command()
def video(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Video, animation, photo, folder of pictures, testsrc=WxH.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="x.mov, .webm, .mkv, .mp4; x.webp, .gif, .apng; x_%05d.png, .exr, .webp; a folder.",
        ),
    ],
    bg: Bg = None,
    fit: Fit = None,
    matte_only: MatteOnly = None,
    alpha: AlphaPlace = None,
    quality: Quality = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="Begin here: 90, 90.5 or 1:30.5.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="End before this.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run left OUT.part.")] = False,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    batch_size: BatchSize = None,
    stride: KeyframeInterval = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
) -> None:
    """Mattes a video; every frame, the times and the sound are kept. Without --bg it has an alpha channel.

    Exit code 0: all is well; 2: it could not be done; 3: written, but the source was damaged.
    """
    with errors_reported():
        from streamseg.decode import TimeRange, open_source

        settings = settings_of(context)
        _refuse_overwriting(_target(out), source, settings.composite.bg)
        with open_source(source, TimeRange.of(start, end)) as opened:
            statistics = _run(opened, out, settings, resume=resume)
            print(_speed(statistics))
            if opened.decode_error:
                print(f"warning: {opened.decode_error}; {out} holds what could be decoded", file=sys.stderr)
                raise typer.Exit(DAMAGED)


@app.command()
def batch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of videos.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where they go, under the same names.")],
    to: Annotated[
        str | None,
        typer.Option(metavar="SUFFIX", help="mp4, mov, mkv, webm, webp, gif or apng (default: mov, with --bg mp4)."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Files at a time, each in its own process.")] = 1,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for more files, until Ctrl-C.")] = False,
    bg: Bg = None,
    fit: Fit = None,
    matte_only: MatteOnly = None,
    alpha: AlphaPlace = None,
    quality: Quality = None,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    batch_size: BatchSize = None,
    stride: KeyframeInterval = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
) -> None:
    """Mattes all videos of a folder; what is there already is left alone.

    Exit code 1: one failed; 3: all were written, but one was damaged.
    """
    with errors_reported():
        from streamseg.batch.jobs import arrivals, plan, run_batch
        from streamseg.batch.report import BatchProgress
        from streamseg.sink.pictures import make_folder

        _refuse_standard_output(str(out))
        settings = settings_of(context)
        suffix = _batch_suffix(to, settings)
        planned = plan(folder, out, suffix)
        if not (planned or watch):
            raise InputError(f"the folder {folder} holds no videos; --watch waits for some")
        make_folder(out)
        work = arrivals(folder, out, suffix) if watch else planned
        raise_again()
        with BatchProgress(out / "report.json", None if watch else len(planned)) as progress:
            for outcome in run_batch(work, settings, jobs):
                progress.add(outcome)
        if progress.failed or progress.damaged:
            raise typer.Exit(SOME_FAILED if progress.failed else DAMAGED)


@app.command()
def probe(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A video, a photo or a folder of photos.")],
    input_size: Annotated[int, typer.Option(metavar="PX", help="Long side of the network's input.")] = 320,
) -> None:
    """Says what a file is (streams, rate, colour, rotation, alpha) and what becomes of it."""
    with errors_reported():
        from streamseg.probe import describe

        for line in describe(file, input_size):
            print(f"{line.name:10} {line.text}")


@app.command()
def image(
    context: typer.Context,
    photos: Annotated[list[str], typer.Argument(metavar="IN...", help="Photos, or folders of photos.")],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT.png|DIR", help="A picture, .gif too, or a folder for PNGs.")
    ],
    bg: Bg = None,
    fit: Fit = None,
    matte_only: MatteOnly = None,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    config: ConfigFile = None,
) -> None:
    """Cuts the subject out of photos, each at its own size."""
    with errors_reported():
        from streamseg.infer.engines import load_engine
        from streamseg.photos import matte_photos, plan_photos

        _refuse_standard_output(out)
        settings = settings_of(context)
        pairs = plan_photos(photos, out, transparent=settings.composite.kind == "foreground")
        for _, target in pairs:
            _refuse_overwriting(target, settings.composite.bg)
        engine_opened = load_engine(settings.infer)
        failed = 0
        raise_again()
        for done in matte_photos(pairs, engine_opened, settings):
            if done.problem:
                failed += 1
                print(f"error: {done.problem}", file=sys.stderr)
            else:
                width, height = done.size_px
                note = f"; {done.note}" if done.note else ""
                print(f"{done.photo} -> {done.out}  {width}x{height} px, inference {done.inference_ms:.0f} ms{note}")
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
    precision: Precision = None,
    input_size: InputSize = None,
    smooth: Smooth = None,
    config: ConfigFile = None,
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N camera frames.")] = None,
) -> None:
    """Mattes a camera live; frames that the machine has no time for are dropped, so that the delay stays short."""
    with errors_reported():
        from streamseg.decode import open_camera

        settings = settings_of(context)
        _refuse_overwriting(_target(out), camera, settings.composite.bg)
        with open_camera(camera) as opened:
            statistics = _run(opened, out, settings, frames)
            print(_live_summary(statistics))


def _batch_suffix(to: str | None, settings: Settings) -> str:
    """The container of a batch: what was asked for, or one that holds what will be written."""
    from streamseg.sink import check_format

    suffix = f".{to.lstrip('.')}" if to else ".mov" if settings.composite.kind == "foreground" else ".mp4"
    check_format(Path(f"x{suffix}"), settings.composite.kind, settings.output)
    return suffix


def _run(
    source: Source, out: str, settings: Settings, frame_limit: int | None = None, resume: bool = False
) -> Statistics:
    from streamseg.cli.progress import RunProgress
    from streamseg.infer.select import engine_for
    from streamseg.pipeline import run
    from streamseg.sink import open_sink
    from streamseg.statistics import Statistics

    chosen = engine_for(settings.infer, source.info)
    if chosen.reason:
        print(chosen.reason)
    total = min(filter(None, (source.info.frame_count, frame_limit)), default=None)
    raise_again()
    statistics = Statistics()
    sink = open_sink(out, source.info, settings.composite.kind, settings.output, resume, statistics.live_text)
    try:
        with sink, RunProgress(total) as progress:
            run(source, chosen.engine, sink, settings, frame_limit, progress.update, statistics=statistics)
    except KeyboardInterrupt:
        print(f"stopped by Ctrl-C; {sink.summary}", file=sys.stderr)
        raise
    print(sink.summary)
    return statistics


def _target(out: str) -> Path:
    """The file that will be written, or the folder of a sequence: its names may be those of the pictures there."""
    from streamseg.sink.pictures import sequence_pattern

    _refuse_standard_output(out)
    pattern = sequence_pattern(out)
    return pattern.parent if pattern else Path(out)


def _refuse_overwriting(target: Path, *inputs: str | None) -> None:
    """Also refuses what is no file, before anything is begun."""
    written = followed(target)
    for name in filter(None, inputs):
        with suppress(OSError):  # What has such a name is no file.
            if written.exists() and Path(name).exists() and written.samefile(name):
                raise OutputError(f"the output {target} is an input too; give another name")


def _refuse_standard_output(out: str) -> None:
    if out == "-":
        raise OutputError("standard output cannot be gone back in, which finishing a file takes: give a name with -o")


def _live_summary(statistics: Statistics) -> str:
    dropped = f"{statistics.dropped} dropped to keep the camera's pace" if statistics.dropped else "none dropped"
    latency = f"latency {statistics.latency_ms():.0f} ms (95 %: {statistics.latency_ms(0.95):.0f} ms)"
    age = f"age of the mattes {statistics.matte_age_ms():.0f} ms (95 %: {statistics.matte_age_ms(0.95):.0f} ms)"
    fresh = f"fresh ones for {100 * statistics.fresh_share:.1f} % of the frames"
    return f"{_speed(statistics)}, {dropped}, {latency}, {age}, {fresh}"


def _speed(statistics: Statistics) -> str:
    return f"{statistics.frames} frames in {statistics.elapsed_seconds:.1f} s, {statistics.fps:.1f} fps"
