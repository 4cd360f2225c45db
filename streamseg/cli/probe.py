"""The command `streamseg probe`: describe a file."""

from __future__ import annotations

from typing import Annotated

import typer

from streamseg.cli.errors import errors_reported


def probe(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A video, a photo or a folder of photos.")],
    input_size: Annotated[int, typer.Option(metavar="PX", help="Long side of the network's input.")] = 320,
) -> None:
    """Tell what a file is and what becomes of it: `streamseg probe talk.mp4`."""
    with errors_reported():
        from streamseg.probe import describe

        for line in describe(file, input_size):
            print(f"{line.name:10} {line.text}")
