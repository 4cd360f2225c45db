"""`python -m tests.fuzz --files 10000 --seed 1 --jobs 2`: what was tried before under this seed is not tried again."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.case import FAULTS, Damaged, Finding
from tests.fuzz.run import run
from tests.fuzz.seeds import all_seeds

FILES_BETWEEN_LINES = 100


def main() -> None:
    """Tries what is left, and tells of all that were tried; exit code 1 if there is a fault."""
    options = _options()
    options.folder.mkdir(exist_ok=True)
    journal = options.folder / f"{options.seed}.jsonl"
    tried = {row["number"]: row for row in _rows(journal)}
    left = [number for number in range(options.first, options.first + options.files) if number not in tried]
    with journal.open("a") as file:
        for case, findings in run(all_seeds(), options.seed, left, options.jobs):
            tried[case.number] = _row(case, findings)
            file.write(json.dumps(tried[case.number]) + "\n")
            file.flush()
            _tell(case, findings, options.folder, options.seed)
            if len(tried) % FILES_BETWEEN_LINES == 0:
                print(f"{len(tried)} files", flush=True)
    counts = Counter(
        (finding["command"].split(" ")[0], finding["outcome"]) for row in tried.values() for finding in row["findings"]
    )
    print(f"{len(tried)} files under seed {options.seed}, in {journal}")
    for (command, outcome), count in sorted(counts.items()):
        print(f"{command or 'process':8} {outcome:10} {count:6}")
    sys.exit(any(outcome in FAULTS for _, outcome in counts))


def _tell(case: Damaged, findings: list[Finding], folder: Path, seed: int) -> None:
    """Shows faults, and keeps the file that they come from."""
    for finding in findings:
        if finding.outcome in FAULTS:
            path = folder / f"{seed}-{case.number}{Path(case.seed.name).suffix}"
            path.write_bytes(case.data)
            last_line = finding.text.strip().splitlines()[-1]
            print(
                f"{path}: {case.seed.name}, {case.damage}: {finding.command} {finding.outcome}: {last_line}", flush=True
            )


def _row(case: Damaged, findings: list[Finding]) -> dict[str, object]:
    return {
        "number": case.number,
        "seed": case.seed.name,
        "damage": case.damage,
        "findings": [asdict(finding) for finding in findings],
    }


def _rows(journal: Path) -> list[dict]:
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many (default: 10000)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one (default: 0)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--folder", type=Path, default=Path("fuzz"), help="for the journal and faulty files")
    return parser.parse_args()


if __name__ == "__main__":
    main()
