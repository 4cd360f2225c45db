"""The command `streamseg doctor`: examine this machine."""

from __future__ import annotations

from typing import Annotated

import typer

WOULD_NOT_RUN = 1
"""Exit code if neither webcam nor video would run."""


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Examine this machine and tell the command that mends each problem: `streamseg doctor`.

    Exit code 1: the main job, webcam or video, would not run.
    """
    from rich.console import Console

    from streamseg import __version__
    from streamseg.doctor.checks import CHECKS
    from streamseg.doctor.examine import examine
    from streamseg.doctor.machine import Machine
    from streamseg.doctor.report import show, to_json, verdict, would_run

    console, findings = Console(highlight=False), []
    with console.status("", spinner="line") as progress:
        if json:
            progress.stop()
        for finding in examine(CHECKS, Machine(), lambda name: progress.update(name)):
            findings.append(finding)
            if not json:
                show(finding, console)
    print(to_json(findings, __version__) if json else verdict(findings))
    if not would_run(findings):
        raise typer.Exit(WOULD_NOT_RUN)
