"""Many cases, in processes that are limited, and replaced when they are lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import wait
from tempfile import TemporaryDirectory
from typing import TypeAlias

from streamseg.batch.worker import Lost, Worker
from tests.fuzz.case import Damaged, Finding, damaged, prepare, try_case
from tests.fuzz.seeds import Seed

WAITED_SECONDS = 120.0
"""On a process that does not compute either: it waits for itself."""

Result: TypeAlias = tuple[Damaged, list[Finding]]
Hand: TypeAlias = Worker[Damaged, list[Finding]]


def run(seeds: list[Seed], run_number: int, numbers: Iterable[int], jobs: int) -> Iterator[Result]:
    """Tries the cases of these numbers, `jobs` at a time; they come as they are done."""
    whole = [next(seed for seed in seeds if seed.is_video == is_video) for is_video in (True, False)]
    with _surroundings(), ExitStack() as hired:
        idle = [hired.enter_context(Worker(try_case, partial(prepare, whole))) for _ in range(jobs)]
        busy: list[tuple[Hand, Damaged, float]] = []
        for number in numbers:
            case, hand = damaged(seeds, run_number, number), idle.pop()
            hand.give(case)
            busy.append((hand, case, time.monotonic()))
            if not idle:
                yield from _finished(busy, idle)
        while busy:
            yield from _finished(busy, idle)


def _finished(busy: list[tuple[Hand, Damaged, float]], idle: list[Hand]) -> Iterator[Result]:
    """Waits for the next ones and moves them from `busy` to `idle`."""
    ready = wait([hand.pipe for hand, _, _ in busy], WAITED_SECONDS)
    for hand, case, begun_seconds in tuple(busy):
        waited = time.monotonic() - begun_seconds > WAITED_SECONDS
        if hand.pipe in ready:
            try:
                findings = hand.result()
            except Lost as lost:
                findings = [Finding("", "hang" if "SIGXCPU" in str(lost) else "lost", str(lost))]
        elif waited:
            hand.end()
            findings = [Finding("", "hang", "waits without an end")]
        else:
            continue
        busy.remove((hand, case, begun_seconds))
        idle.append(hand)
        yield case, findings


@contextmanager
def _surroundings() -> Iterator[None]:
    """For the processes: memory that threads reserve and do not use does not count, and lost files lie together."""
    with TemporaryDirectory() as folder:
        own = {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1", "TMPDIR": folder}
        before = os.environ.copy()
        os.environ.update(own)
        try:
            yield
        finally:
            for name in own:
                os.environ.pop(name)
            os.environ.update({name: before[name] for name in own if name in before})
