"""The command `streamseg webcam`: matte a camera live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streamseg.cli.errors import errors_reported
from streamseg.cli.options import (
    Bg,
    ConfigFile,
    EngineName,
    Fit,
    InputSize,
    MatteOnly,
    Model,
    Precision,
    Smooth,
    settings_from_flags,
)

if TYPE_CHECKING:
    from streamseg.statistics import Statistics
from streamseg.cli.outputs import output_path, refuse_overwriting, run_into, speed_line


def webcam(
    context: typer.Context,
    camera: Annotated[str, typer.Option(metavar="N|PATH|testsrc", help="Camera, or a file in its place.")] = "0",
    bg: Bg = None,
    fit: Fit = None,
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="window|virtual|FILE", help="Where the image goes.")
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
    """Matte a camera live: `streamseg webcam --bg beach.jpg`.

    Frames that the machine has no time for are dropped, so that the delay stays short.
    """
    with errors_reported():
        from streamseg.decode import open_camera

        settings = settings_from_flags(context)
        refuse_overwriting(output_path(out), camera, settings.composite.bg)
        with open_camera(camera) as opened:
            statistics = run_into(opened, out, settings, frames)
            print(_live_summary(statistics))


def _live_summary(statistics: Statistics) -> str:
    """Format speed, dropped frames, latency and the mattes' age of a live run."""
    dropped = f"{statistics.dropped} dropped to keep the camera's pace" if statistics.dropped else "none dropped"
    latency = f"latency {statistics.latency_ms():.0f} ms (95 %: {statistics.latency_ms(0.95):.0f} ms)"
    age = f"age of the mattes {statistics.matte_age_ms():.0f} ms (95 %: {statistics.matte_age_ms(0.95):.0f} ms)"
    fresh = f"fresh ones for {100 * statistics.fresh_share:.1f} % of the frames"
    return f"{speed_line(statistics)}, {dropped}, {latency}, {age}, {fresh}"
