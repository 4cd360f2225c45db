"""What a run tells: a line an evaluation for people, JSON lines and TensorBoard for programs, curves for the eye."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamseg.errors import DataError, OutputError
from train.charts import EVALUATIONS, STEPS, draw_run
from train.metrics import four_digits, with_nulls

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG = "log.txt"


class Journal:
    """Prints lines and keeps them in `log.txt`; steps and evaluations go to `.jsonl` files and to TensorBoard.

    On a terminal a bar shows where the run is. What cannot be written is reported once and does not stop the training.
    """

    def __init__(self, run: Path, total_steps: int | None, console: Console | None = None) -> None:
        """Writes nothing yet; `total_steps` is None where it is not known before `expect` tells."""
        self.run = run
        self.console = console or Console()
        self.tensorboard: SummaryWriter | None = None
        self.warned = False
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
        self.bar = Progress(*columns, console=self.console, disable=not self.console.is_terminal, transient=True)
        self.task = self.bar.add_task("steps", total=total_steps, state="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if self.tensorboard:
            self.tensorboard.close()

    def resume_at(self, step: int) -> None:
        """Forgets what a killed sitting did after the checkpoint at `step`, since that is done again."""
        for name in (STEPS, EVALUATIONS):
            self._keep_until(self.run / name, step)
        self.tensorboard = _tensorboard(self.run, step)
        self.bar.update(self.task, completed=step)

    def expect(self, total_steps: int) -> None:
        """Takes that many steps for the whole on the bar."""
        self.bar.update(self.task, total=total_steps)

    def line(self, text: str) -> None:
        """Adds a line for people."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._append(LOG, text)

    def step(self, step: int, loss: float, lr: float, images_per_second: float, waiting: float) -> None:
        """Adds the state after `step` steps: mean loss of the last few, learning rate, speed, share spent waiting."""
        facts = {"loss": loss, "lr": lr, "images_per_second": images_per_second, "waiting": waiting}
        self._append(STEPS, json.dumps({"step": step, **facts}))
        self._chart(step, "train", facts)
        state = f"loss {loss:.3f}  {images_per_second:.1f} images/s"
        self.bar.update(self.task, completed=step, state=state)

    def evaluation(self, record: Mapping[str, float]) -> None:
        """Adds the figures of one evaluation and draws the curves anew."""
        figures = with_nulls(record)
        self._append(EVALUATIONS, json.dumps(figures))
        step = int(record["step"])
        known = {key: value for key, value in figures.items() if key != "step" and value is not None}
        self._chart(step, "evaluation", known)
        try:
            draw_run(self.run)
        except (DataError, OutputError) as error:
            self.warn(str(error))

    def warn(self, what: str) -> None:
        """Says once on standard error that something cannot be kept."""
        if not self.warned:
            print(f"warning: {what}; training goes on without it", file=sys.stderr)
        self.warned = True

    def _chart(self, step: int, group: str, facts: Mapping[str, float]) -> None:
        if self.tensorboard:
            for name, value in facts.items():
                self.tensorboard.add_scalar(f"{group}/{name}", value, step)

    def _append(self, name: str, text: str) -> None:
        try:
            with (self.run / name).open("a", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            self.warn(f"cannot write {self.run / name}: {error.strerror}")

    def _keep_until(self, path: Path, step: int) -> None:
        with suppress(FileNotFoundError):
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            path.write_text("".join(line for line in lines if _step_of(line) <= step), encoding="utf-8")


class Silence(Journal):
    """The journal of the processes beside the first: it keeps nothing."""

    def __init__(self) -> None:
        super().__init__(Path(), 0, Console(quiet=True))

    def resume_at(self, step: int) -> None:
        """Keeps no records."""

    def line(self, text: str) -> None:
        """Says nothing."""

    def step(self, step: int, loss: float, lr: float, images_per_second: float, waiting: float) -> None:
        """Keeps nothing."""

    def evaluation(self, record: Mapping[str, float]) -> None:
        """Keeps nothing."""


def evaluation_line(record: Mapping[str, float]) -> str:
    """One line an evaluation: what the published log tells (epoch, loss, learning rate, MAE, max F), IoU and haze."""
    return (
        f"epoch {record['epoch']:6.2f}  step {record['step']:6d}  loss {record['loss']:.4f}  lr {record['lr']:.6f}  "
        f"MAE {record['mae']:.4f}  maxF1 {record['max_f']:.4f}  IoU {record['iou']:.4f}  "
        f"haze {four_digits(record['haze'])}"
    )


def _step_of(line: str) -> float:
    """A record's step; a line that was cut off when the process died belongs to no step."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _tensorboard(run: Path, step: int) -> SummaryWriter | None:
    """Writes `tensorboard/`, where that package is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "tensorboard"), purge_step=step + 1)
