"""The `streamseg` command line: registers the commands; heavy libraries are imported only when a command runs."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from streamseg.cli.batch import batch
from streamseg.cli.bench import bench
from streamseg.cli.cameras import cameras
from streamseg.cli.doctor import doctor
from streamseg.cli.image import image
from streamseg.cli.probe import probe
from streamseg.cli.qa import qa
from streamseg.cli.video import video
from streamseg.cli.webcam import webcam
from streamseg.cli.weights import weights_app

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
for command in (video, image, webcam, cameras, batch, probe, qa, bench, doctor):
    app.command()(command)
app.add_typer(weights_app, name="weights")


@app.callback()
def streamseg(
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell which engine, codec or precision was fallen back to, and why.")
    ] = False,
) -> None:
    """Remove or replace the background of videos, photos and your webcam."""
    if verbose:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        logger = logging.getLogger("streamseg")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
