"""The command `streamseg batch`: matte a folder of videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.cli.errors import DAMAGED, errors_reported
from streamseg.cli.options import (
    AlphaPlace,
    BatchSize,
    Bg,
    BgSound,
    Cluster,
    ConfigFile,
    EngineName,
    Feather,
    Fit,
    Foreground,
    Gate,
    GpusPerTask,
    InputSize,
    Keep,
    LightWrap,
    MatchColors,
    MatteOnly,
    Model,
    Precision,
    Quality,
    Refine,
    Shadow,
    Smooth,
    Stride,
    Subject,
    check_cluster_flags,
    settings_from_flags,
)
from streamseg.cli.outputs import refuse_standard_output
from streamseg.errors import ConfigError, InputError
from streamseg.interrupt import raise_again

if TYPE_CHECKING:
    from streamseg.batch.jobs import Job
    from streamseg.media.storage import AnyPath
    from streamseg.settings import Settings

SOME_FAILED = 1
"""Exit code if at least one file failed."""


def batch(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of videos, or s3://bucket/folder.")],
    out: Annotated[str, typer.Option("--out", "-o", metavar="DIR", help="Where they go, under the same names.")],
    to: Annotated[
        str | None,
        typer.Option(metavar="SUFFIX", help="mp4, mov, mkv, webm, webp, gif or apng (default: mov, with --bg mp4)."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Files at a time, each in its own process.")] = 1,
    cluster: Cluster = None,
    gpus_per_task: GpusPerTask = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for more files, until Ctrl-C.")] = False,
    bg: Bg = None,
    bg_sound: BgSound = None,
    fit: Fit = None,
    matte_only: MatteOnly = None,
    foreground: Foreground = None,
    feather: Feather = None,
    light_wrap: LightWrap = None,
    match_colors: MatchColors = None,
    shadow: Shadow = None,
    refine: Refine = None,
    alpha: AlphaPlace = None,
    quality: Quality = None,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    batch_size: BatchSize = None,
    stride: Stride = None,
    smooth: Smooth = None,
    gate: Gate = None,
    subject: Subject = None,
    keep: Keep = None,
    config: ConfigFile = None,
) -> None:
    """Matte a folder of videos: `streamseg batch talks/ -o cut/ --jobs 2`.

    What is there already is left alone; what was interrupted goes on, unless the settings differ.

    Exit code 1: one failed; 3: all were written, but one was damaged.
    """
    with errors_reported():
        from streamseg.batch.jobs import arrivals, plan, run_batch, videos_in
        from streamseg.batch.report import BatchProgress
        from streamseg.media.storage import path_of
        from streamseg.sink.images import make_folder

        refuse_standard_output(out)
        check_cluster_flags(cluster, gpus_per_task, jobs)
        if cluster and watch:
            raise ConfigError("--watch is for this machine alone, and --cluster for what is there: choose one")
        settings = settings_from_flags(context)
        suffix = _batch_suffix(to, settings)
        source, target = path_of(folder), path_of(out)
        planned = videos_in(source, target, suffix) if watch else plan(source, target, suffix, settings)
        if not (planned or watch):
            raise InputError(f"the folder {folder} holds no videos; --watch waits for some")
        make_folder(target)
        raise_again()
        if cluster:
            failed, damaged = _on_cluster(planned, settings, target / "report.json", cluster, gpus_per_task or 0)
            if failed or damaged:
                raise typer.Exit(SOME_FAILED if failed else DAMAGED)
            return
        work = arrivals(source, target, suffix, settings=settings) if watch else planned
        with BatchProgress(target / "report.json", None if watch else len(planned)) as progress:
            for outcome in run_batch(work, settings, jobs):
                progress.add(outcome)
        if progress.failed or progress.damaged:
            raise typer.Exit(SOME_FAILED if progress.failed else DAMAGED)


def _on_cluster(
    planned: list[Job], settings: Settings, report: AnyPath, address: str, gpus_per_task: float
) -> tuple[int, int]:
    """Run the jobs on a cluster; return the numbers of failed and damaged files."""
    from streamseg.batch.files import run_on_cluster
    from streamseg.batch.ray_crew import RayCrew
    from streamseg.batch.report import BatchProgress
    from streamseg.cli.progress import CrewProgress

    with (
        RayCrew(address, gpus_per_task) as crew,
        BatchProgress(report, len(planned)) as progress,
        CrewProgress(len(planned)) as bar,
    ):
        for outcome in run_on_cluster(planned, settings, crew, bar.show):
            progress.add(outcome)
    return progress.failed, progress.damaged


def _batch_suffix(to: str | None, settings: Settings) -> str:
    """Return the suffix asked for, else .mov for foregrounds and .mp4; raise StreamsegError if it does not fit."""
    from streamseg.sink import check_format
    from streamseg.sink.animation import ANIMATIONS
    from streamseg.sink.mix import background_sound, check_holds_sound

    suffix = f".{to.lstrip('.')}" if to else ".mov" if settings.composite.kind == "foreground" else ".mp4"
    check_format(Path(f"x{suffix}"), settings.composite.kind, settings.output)
    sound = background_sound(settings.composite)
    if suffix.lower() in ANIMATIONS:
        check_holds_sound(f"x{suffix}", sound)
    return suffix
