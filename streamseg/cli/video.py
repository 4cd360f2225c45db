"""The command `streamseg video`: matte a video."""

from __future__ import annotations

import sys
from typing import Annotated

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
    Straight,
    Stride,
    Subject,
    check_cluster_flags,
    settings_from_flags,
)
from streamseg.cli.outputs import refuse_standard_output, run_into, speed_line


def video(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN", help="Video, animation, photo, folder of images, by path or s3:// address; testsrc=WxH."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="x.mov, .webm, .mkv, .mp4; x.webp, .gif, .apng; x_%05d.png, .exr, .webp; a folder; or s3:// and any.",
        ),
    ],
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
    straight: Straight = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="Begin here: 90, 90.5 or 1:30.5.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="End before this.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run left OUT.part.")] = False,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Segments of a long video at a time, each in its own process.")
    ] = 1,
    cluster: Cluster = None,
    gpus_per_task: GpusPerTask = None,
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
    """Matte a video, without --bg with alpha: `streamseg video talk.mp4 -o cut.mov`.

    Every frame, the times and the sound are kept.

    Exit code 0: all is well; 2: it could not be done; 3: written, but the source was damaged.
    """
    with errors_reported():
        from streamseg.decode import TimeRange, open_source
        from streamseg.sink.made_from import made_from
        from streamseg.sink.overwriting import outputs_of, refuse_overwriting

        check_cluster_flags(cluster, gpus_per_task, jobs)
        settings = settings_from_flags(context)
        refuse_standard_output(out)
        outputs = outputs_of(out, settings.composite.kind, settings.output)
        refuse_overwriting(outputs, source, settings.composite.bg)
        time_range = TimeRange.of(start, end)
        if cluster:
            from streamseg.cli.crew import run_on_cluster

            run_on_cluster(source, out, settings, time_range, cluster, gpus_per_task or 0)
            return
        if jobs > 1 or resume:
            from streamseg.cli.crew import parted, run_parted

            work = parted(source, out, settings, time_range, jobs, resume)
            if work:
                run_parted(work, jobs)
                return
        with open_source(source, time_range) as opened:
            given = made_from(source, settings, time_range)
            statistics = run_into(opened, out, settings, resume=resume, made_from=given)
            print(speed_line(statistics))
            if opened.decode_error:
                print(f"warning: {opened.decode_error}; {out} holds what could be decoded", file=sys.stderr)
                raise typer.Exit(DAMAGED)
