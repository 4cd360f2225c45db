"""Examination: run checks one after another, each within a time limit, and turn failures into findings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from streamseg.doctor.finding import Finding, Status
from streamseg.doctor.machine import Machine

LIMIT_SECONDS = 10.0


@dataclass(frozen=True)
class Check:
    """A question to the machine.

    Attributes:
        name: of its finding if it fails.
        find: yields findings; may raise anything.
        essential: webcam and video need what it looks at, so that its failure is a problem.
        limit_seconds: time after which it is left alone.
    """

    name: str
    find: Callable[[Machine], Iterable[Finding]]
    essential: bool = False
    limit_seconds: float = LIMIT_SECONDS


@dataclass
class _Run:
    """A check under way on a thread of its own; None marks its end."""

    check: Check
    machine: Machine
    found: SimpleQueue[Finding | None] = field(default_factory=SimpleQueue)

    def __call__(self) -> None:
        try:
            for finding in self.check.find(self.machine):
                self.found.put(finding)
        except BaseException as error:  # A broken library may raise anything, SystemExit too.
            self.found.put(_failed(self.check, f"this check failed: {_in_one_line(error)}"))
        self.found.put(None)


def examine(
    checks: Iterable[Check], machine: Machine, begun: Callable[[str], None] = lambda name: None
) -> Iterator[Finding]:
    """Yield the findings of checks as they come.

    A check that hangs, such as on a stuck camera driver, keeps what it has found and is left behind on its thread.

    Args:
        checks: in the order in which they run.
        machine: is asked.
        begun: called with the name of each check.
    """
    for check in checks:
        begun(check.name)
        run = _Run(check, machine)
        threading.Thread(target=run, name=f"doctor-{check.name}", daemon=True).start()
        try:
            while (finding := run.found.get(timeout=check.limit_seconds)) is not None:
                yield finding
        except Empty:
            yield _failed(check, f"no answer within {check.limit_seconds:.0f} s; a driver or a device may hang")


def _failed(check: Check, detail: str) -> Finding:
    status: Status = "problem" if check.essential else "warning"
    return Finding(check.name, status, detail)


def _in_one_line(error: BaseException) -> str:
    first_line = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__
