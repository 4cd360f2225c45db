"""The command `streamseg webcam`: matte a camera live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.cli.errors import errors_reported
from streamseg.cli.options import (
    Bg,
    Blur,
    CameraFps,
    CameraSize,
    CameraSpec,
    EngineName,
    Feather,
    Fit,
    Gate,
    InputSize,
    Keep,
    LightWrap,
    MatchColors,
    MatteOnly,
    Model,
    Precision,
    Shadow,
    Smooth,
    Subject,
    settings_from_flags,
)
from streamseg.cli.outputs import refuse_standard_output, speed_line

if TYPE_CHECKING:
    from streamseg.statistics import Statistics


def webcam(
    context: typer.Context,
    camera: CameraSpec = None,
    size: CameraSize = None,
    fps: CameraFps = None,
    bg: Bg = None,
    blur: Blur = None,
    backgrounds: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Backgrounds to choose from while the camera runs.")
    ] = None,
    fit: Fit = None,
    mirror: Annotated[
        bool | None,
        typer.Option("--mirror/--no-mirror", show_default=False, help="Mirror the camera, not the background."),
    ] = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="window|http|virtual[:NAME]|FILE",
            help="Where the image goes; may be given several times (default: window).",
        ),
    ] = None,
    on_demand: Annotated[
        bool | None,
        typer.Option(
            "--on-demand/--no-on-demand",
            show_default=False,
            help="Open the camera only while a program reads the virtual one.",
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Serve the page to others too (default: 127.0.0.1).")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            envvar="STREAMSEG_TOKEN",
            help="What opens the page; better in the variable, which others cannot read (default: made at random).",
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Port of the page (default: 8765).")] = None,
    matte_only: MatteOnly = None,
    feather: Feather = None,
    light_wrap: LightWrap = None,
    match_colors: MatchColors = None,
    shadow: Shadow = None,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    smooth: Smooth = None,
    gate: Gate = None,
    subject: Subject = None,
    keep: Keep = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file with the same names (--out is outputs; no token, no frames), followed while the camera "
            "runs; flags win over it.",
        ),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after N camera frames.")] = None,
) -> None:
    """Matte a camera live: `streamseg webcam --bg beach.jpg`.

    In the window, h shows the keys: backgrounds, blur, mirror, pause, snapshot, recording. Frames that the machine has
    no time for are dropped, so that the delay stays short; a busy machine gets a smaller network for as long.
    """
    with errors_reported():
        from streamseg.hardware.memory import tune_allocator

        tune_allocator()
        from streamseg.cli.progress import RunProgress
        from streamseg.interrupt import raise_again
        from streamseg.live.run import run_live
        from streamseg.sink.overwriting import outputs_of, refuse_overwriting

        settings = settings_from_flags(context)
        for out in settings.live.outputs:
            refuse_standard_output(out)
            written = outputs_of(out, settings.composite.kind, settings.output)
            refuse_overwriting(written, settings.live.camera, settings.composite.bg)
        raise_again()
        with RunProgress(frames, is_live=True) as progress:
            statistics, summary = run_live(
                settings, config, lambda: settings_from_flags(context), frames, token, print, progress.update
            )
        print(summary)
        print(_live_summary(statistics))


def _live_summary(statistics: Statistics) -> str:
    """Format speed, dropped frames, latency and the mattes' age of a live run."""
    dropped = f"{statistics.dropped} dropped to keep the camera's pace" if statistics.dropped else "none dropped"
    latency = f"latency {statistics.latency_ms():.0f} ms (95 %: {statistics.latency_ms(0.95):.0f} ms)"
    age = f"age of the mattes {statistics.matte_age_ms():.0f} ms (95 %: {statistics.matte_age_ms(0.95):.0f} ms)"
    fresh = f"fresh ones for {100 * statistics.fresh_share:.1f} % of the frames"
    return f"{speed_line(statistics)}, {dropped}, {latency}, {age}, {fresh}"
