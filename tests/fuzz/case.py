"""One damaged file through the commands, in a process that may be lost."""

from __future__ import annotations

import math
import os
import resource
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Literal

from typer.testing import CliRunner

from streamseg.cli import app as cli
from tests.fuzz.mutations import mutated
from tests.fuzz.seeds import Seed
from tests.synthetic import DiscEngine

MEMORY_BYTES = 2 << 30
"""Beyond what the imports take."""

CPU_SECONDS = 20

VIDEO_OUTPUTS = (
    ("x.mp4", "--bg", "red"),
    ("x.mkv", "--bg", "red", "--stride", "2"),
    ("x.webm", "--matte-only"),
    ("x.mov",),
    ("x_%03d.png",),
)
PICTURE_OUTPUTS = (("x.png",), ("x.jpg", "--bg", "blur"), ("x.webp", "--matte-only"))

Outcome = Literal["done", "damaged", "refused", "traceback", "unclear", "lost", "hang"]
"""Finished; finished with what could be read; refused with one line; and what must not be."""

FAULTS = ("traceback", "unclear", "lost", "hang")

OUTCOMES: dict[int, Outcome] = {0: "done", 2: "refused", 3: "damaged"}


@dataclass(frozen=True)
class Damaged:
    """A file.

    Attributes:
        number: of the case.
        seed: what it was.
        damage: what was done to it.
        data: what it is now.
    """

    number: int
    seed: Seed
    damage: str
    data: bytes


@dataclass(frozen=True)
class Finding:
    """What came of one command.

    Attributes:
        command: its words.
        outcome: how it ended.
        text: what it said, or where it failed.
    """

    command: str
    outcome: Outcome
    text: str = ""


def damaged(seeds: list[Seed], run: int, number: int) -> Damaged:
    """The case of that number; the same in every run of the same number."""
    random = Random(f"{run} {number}")
    seed = random.choice(seeds)
    data, damage = mutated(seed.data, [other.data for other in seeds], random)
    return Damaged(number, seed, damage, data)


def prepare(whole: list[Seed]) -> None:
    """In a new process: imports all that a case needs, by doing `whole` files, and limits what it may take."""
    from streamseg.infer import engines

    engines.load_engine = lambda *_: DiscEngine()  # The network is none of what is tried here, and takes its time.
    for seed in whole:
        for number in range(len(VIDEO_OUTPUTS)):
            try_case(Damaged(number, seed, "", seed.data))
    limit_bytes = _address_space_bytes() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # Where codecs complain past us.


def try_case(case: Damaged) -> list[Finding]:
    """Runs two commands on it: what the file is, and what is made of it."""
    _allow_seconds(CPU_SECONDS)
    as_video = case.seed.is_video or case.number % 4 == 0
    outputs = VIDEO_OUTPUTS if as_video else PICTURE_OUTPUTS
    out, *flags = outputs[case.number % len(outputs)]
    with TemporaryDirectory() as folder:
        path = f"{folder}/in{Path(case.seed.name).suffix}"
        Path(path).write_bytes(case.data)
        return [
            _run("probe", path),
            _run("video" if as_video else "image", path, "-o", f"{folder}/{out}", "--input-size", "64", *flags),
        ]


def _run(*command: str) -> Finding:
    result = CliRunner().invoke(cli.app, command)
    words = " ".join(command)
    if result.exception and not isinstance(result.exception, SystemExit):
        return Finding(words, "traceback", "".join(traceback.format_exception(result.exception)))
    outcome = OUTCOMES.get(result.exit_code)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    if outcome is None or (outcome == "refused" and len(errors) != 1):
        return Finding(words, "unclear", f"exit code {result.exit_code}: {result.stderr}")
    return Finding(words, outcome, "".join(errors))


def _allow_seconds(seconds: int) -> None:
    """Of computing, from now on: on a busy machine the clock says little."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
