"""Report of an examination: a list for people, and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from streamseg.doctor.finding import Finding

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
STATUS_WIDTH, NAME_WIDTH = 7, 16
REMEDY_INDENT = " " * (STATUS_WIDTH + 2)


def show(finding: Finding, console: Console) -> None:
    """Print a finding, and its remedy beneath in lines that can be copied whole."""
    row = Table.grid(padding=(0, 2))
    row.add_column(width=STATUS_WIDTH)
    row.add_column(width=NAME_WIDTH)
    row.add_column()
    row.add_row(Text(finding.status, STYLES[finding.status]), Text(finding.name, "bold"), Text(finding.detail))
    console.print(row)
    for line in finding.remedy.splitlines():
        console.print(Text(REMEDY_INDENT + line, "cyan"), soft_wrap=True)


def verdict(findings: Sequence[Finding]) -> str:
    """Return the last line: whether the main job would run, and how much is amiss."""
    problems, warnings = (sum(f.status == status for f in findings) for status in ("problem", "warning"))
    runs = "streamseg would not run as it should" if problems else "streamseg runs here"
    counts = [
        f"{number} {word}{'s' * (number != 1)}" for number, word in ((problems, "problem"), (warnings, "warning"))
    ]
    return f"{runs}: {', '.join(counts)}"


def would_run(findings: Iterable[Finding]) -> bool:
    """Return whether the main job, webcam or video, would run."""
    return all(finding.status != "problem" for finding in findings)


def to_json(findings: Sequence[Finding], version: str) -> str:
    """Return an object with `version`, `would_run` and `findings`, each with the fields of `Finding`."""
    told = {"version": version, "would_run": would_run(findings), "findings": [asdict(f) for f in findings]}
    return json.dumps(told, indent=2, ensure_ascii=False)
