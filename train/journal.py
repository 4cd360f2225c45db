"""What a run tells: lines for people, evaluations for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


class Journal:
    """Prints each line and appends it to `log.txt`; evaluations go to `evaluations.jsonl`, one a line."""

    def __init__(self, run: Path) -> None:
        self.log, self.evaluations = run / "log.txt", run / "evaluations.jsonl"

    def line(self, text: str) -> None:
        """Adds a line for people."""
        print(text, flush=True)
        _append(self.log, text)

    def evaluation(self, record: Mapping[str, float]) -> None:
        """Adds the figures of one evaluation."""
        _append(self.evaluations, json.dumps(record))


def _append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
