"""Finding: the answer of a check, and the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warning", "problem"]
"""`warning`: something beside the main job is not to be had; `problem`: neither webcam nor video would run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found.

    Attributes:
        name: what was looked at.
        status: see `Status`.
        detail: what is there, or what is amiss and what it stops.
        remedy: commands to copy, one a line, with comments after `#`; empty if there is nothing to mend.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
