"""The command `streamseg image`: matte photos."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from streamseg.cli.errors import USER_ERROR, errors_reported
from streamseg.cli.options import (
    Bg,
    ConfigFile,
    EngineName,
    Feather,
    Fit,
    Foreground,
    InputSize,
    Keep,
    LightWrap,
    MatchColors,
    MatteOnly,
    Model,
    Precision,
    Refine,
    Shadow,
    Subject,
    settings_from_flags,
)
from streamseg.cli.outputs import refuse_standard_output
from streamseg.interrupt import raise_again


def image(
    context: typer.Context,
    photos: Annotated[list[str], typer.Argument(metavar="IN...", help="Photos, or folders of photos.")],
    out: Annotated[
        str, typer.Option("--out", "-o", metavar="OUT.png|DIR", help="An image, .gif too, or a folder for PNGs.")
    ],
    bg: Bg = None,
    fit: Fit = None,
    matte_only: MatteOnly = None,
    foreground: Foreground = None,
    feather: Feather = None,
    light_wrap: LightWrap = None,
    match_colors: MatchColors = None,
    shadow: Shadow = None,
    refine: Refine = None,
    model: Model = None,
    engine: EngineName = None,
    precision: Precision = None,
    input_size: InputSize = None,
    subject: Subject = None,
    keep: Keep = None,
    config: ConfigFile = None,
) -> None:
    """Cut the subject out of photos, each at its own size: `streamseg image photos/ -o out/`."""
    with errors_reported():
        from streamseg.infer.engines import load_engine
        from streamseg.photos import matte_photos, plan_photos
        from streamseg.sink.overwriting import refuse_overwriting

        refuse_standard_output(out)
        settings = settings_from_flags(context)
        pairs = plan_photos(photos, out, transparent=settings.composite.kind == "foreground")
        refuse_overwriting([target for _, target in pairs], settings.composite.bg)
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
