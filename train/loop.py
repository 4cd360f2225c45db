"""One training run, from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from streamseg.errors import ConfigError, DataError, OutputError
from train import norms
from train.allowance import Allowance, Clock, Forecast
from train.checkpoint import BEST, LAST, load_checkpoint, save_checkpoint
from train.config import Config
from train.data import find_pairs
from train.distributed import Ranks
from train.evaluate import judged, predict
from train.interrupt import stop_as_event
from train.journal import Journal, Silence, evaluation_line
from train.learner import Learner
from train.loader import Sample, TrainingSet, check_training_set, training_batches, training_sources
from train.metrics import Scores, summarise
from train.pictures import Tile, contact_sheet
from train.provenance import write_run_facts
from train.schedule import Plan, Progress, batches

SETTLE_EVERY_STEPS = 10
"""How often losses are read back: each time a GPU has to be waited for, and processes to agree."""

SAVE_EVERY_SECONDS = 120.0
"""What a crash can cost; by time, since the full network's checkpoint is half a gigabyte."""

SAMPLES = 8
"""Validation pictures on the contact sheet of an evaluation."""


class Trainer:
    """One run: its data, its plan, what it learns and the files in its folder.

    `last.pt` and `best.pt` are the checkpoints, `config.json` the resolved configuration, `environment.json` what each
    sitting ran on; the journal keeps the rest. Of several processes only the first writes.
    """

    def __init__(
        self,
        config: Config,
        run: Path,
        device: torch.device,
        ranks: Ranks | None = None,
        fit_minutes: float | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        """Finds and checks the data and builds the network; nothing is written to the run's folder yet.

        Args:
            config: the settings.
            run: folder of checkpoints and logs; `resume` is to be called where there are some.
            device: where the network trains.
            ranks: this process among several.
            fit_minutes: the run's length in time, from here to the last checkpoint, instead of in epochs.
            clock: what tells the time.

        Raises:
            DataError: a source is missing, damaged or too small.
            ConfigError: the settings do not fit each other, the number of processes or the starting weights.
            WeightsError: a new run's starting weights are missing or damaged.
        """
        self.clock = clock
        self.allowance = Allowance(fit_minutes, clock) if fit_minutes else None
        if self.allowance and ranks and ranks.count > 1:
            raise ConfigError(f"--fit-minutes follows one process's clock, but there are {ranks.count}: start one")
        torch.manual_seed(config.seed)
        torch.backends.cudnn.benchmark = True  # a phase's crops share one shape
        self.config, self.run, self.device, self.ranks = config, run, device, ranks or Ranks()
        self.validation = find_pairs(config.data.root, config.data.validate_on)
        sources = training_sources(config)
        self.plan = Plan.of(config, len(sources.pairs), self.ranks.count)
        self.data = TrainingSet(sources, config, self.plan)
        self.learner = Learner(config, device, self.ranks.count, resumes=(run / LAST).exists())
        self.progress: Progress = (self.allowance or self.plan).progress
        self.forecast = Forecast(config.augment, fit_minutes, clock) if fit_minutes else None
        known_steps = None if self.allowance else self.plan.total_steps
        self.journal = Journal(run, known_steps) if self.ranks.is_main else Silence()
        self.step, self.best_max_f, self.remark = 0, -1.0, ""
        self.unread: list[Tensor] = []
        self.losses: list[float] = []
        self.pace = Pace(clock)

    def resume(self) -> None:
        """Continues from the run's last checkpoint when there is one.

        Raises:
            DataError: the checkpoint is damaged.
            ConfigError: it holds another architecture or optimiser, or its length is the other kind of length.
        """
        path = self.run / LAST
        if not path.exists():
            return
        state = load_checkpoint(path)
        if state["architecture"] != self.config.model.architecture:
            raise ConfigError(f"{path} holds a {state['architecture']} network; choose another folder with --folder")
        optimizer = self.config.optim.optimizer
        if (kind := state.get("optimizer_kind", optimizer)) != optimizer:
            raise ConfigError(
                f"{path} was trained with optim.optimizer={kind}, not {optimizer}: go on likewise, or choose another "
                "folder with --folder"
            )
        if (self.allowance is None) == ("allowance" in state):
            raise ConfigError(
                f"{path} was begun {'with' if 'allowance' in state else 'without'} --fit-minutes: go on likewise, or "
                "choose another folder with --folder"
            )
        self.step = state["step"]
        if state.get("judged_by", self.judged_by) == self.judged_by:
            self.best_max_f = state["best_max_f"]
        else:
            self.remark = f"; judged otherwise than before, so that {BEST} is chosen anew"
        self.losses = state.get("losses", [])
        self.learner.load(state, self.step)
        if self.allowance:
            self.allowance.resume(state["allowance"])

    def fit(self, max_minutes: float = math.inf) -> bool:
        """Trains to the end, judging and saving on the way.

        Args:
            max_minutes: stop after the step that reaches this time.

        Returns:
            Whether the run is over; False after Ctrl-C, SIGTERM or `max_minutes`, with everything up to `step`
            saved.

        Raises:
            DataError: images do not decode, which is found before the first step, or the loss or the weights are no
                longer finite.
            ConfigError: the time that the run is to fit into was over before its first step.
            OutputError: the run folder or a checkpoint cannot be written.
        """
        if self.ranks.is_main:
            if not self.step:
                check_training_set(self.data, self.validation)
            write_run_facts(self.run, self.config)
        deadline = self.clock() + 60 * max_minutes
        if not self.step and self.learner.lacks_norms:
            self.learner.restore_norms(self._first_images())
        data = training_batches(
            self.data, self.step, self.device, self.ranks.rank, self.ranks.count, progress=self.progress
        )
        with self.journal, stop_as_event() as asked, closing(data):
            self._open()
            over = self._train(_in_steps(data, self.plan.accumulate), lambda: asked.is_set() or self.clock() > deadline)
            if self.allowance and not self.step:
                raise ConfigError(
                    f"reading the data took all of --fit-minutes {self.allowance.minutes:g}: give it more"
                )
            if over and self._has_news():
                self._judge()
            self._close()
        return over

    def _train(self, steps: Iterable[list[Sample]], is_wanted: Callable[[], bool]) -> bool:
        """Goes on to the end, or until a stop `is_wanted`; whether it is the end."""
        saved = self.clock()
        for parts in self.pace.timed(steps):
            self._advance(parts)
            over, stops = self.progress(self.step) >= 1, self._stops(is_wanted())
            if self._evaluates():
                self._judge()
            elif stops or self.clock() - saved > SAVE_EVERY_SECONDS:
                self._save(LAST)
                saved = self.clock()
            if over or stops:
                return over
        return True  # none were left, or the time was up between two

    def _first_images(self) -> Tensor:
        """Images for the norms of folded weights, the same for every process: `(N, 3, H, W)`."""
        keys = [key for part in islice(batches(self.plan, self.config.seed, 0), norms.IMAGES) for key in part]
        of_one_step = [keys[0]._replace(pair=key.pair) for key in keys[: norms.IMAGES]]  # whose crops have one shape
        return torch.stack([self.data[key][0] for key in of_one_step])

    def _open(self) -> None:
        self.journal.resume_at(self.step)
        optim, precision = self.config.optim, str(self.learner.amp_dtype or torch.float32).removeprefix("torch.")
        length = f"{self.allowance.minutes:g} minutes" if self.allowance else f"{self.plan.total_steps} steps"
        self.journal.line(
            f"{self.config.name}: {self.plan.images} images, {length} of {optim.batch_size}, "
            f"{self.ranks.count} x {self.device.type} {precision}"
            + (f", resumed after step {self.step}{self.remark}" if self.step else "")
        )
        if self.allowance and not self.step:
            self._judge_the_start()

    def _judge_the_start(self) -> None:
        """What an evaluation takes has to be known before time is shared out, and the start is a candidate too."""
        with self._evaluation():
            scores = self._scores()
            self._keep_if_best(scores)
            self.journal.line(f"start  {scores}")

    def _close(self) -> None:
        if self.pace.images:
            self.journal.line(f"{self._place()}  {self.pace}")

    def _advance(self, parts: list[Sample]) -> None:
        self.unread.append(self.learner.step(parts, self._rate()))
        self.step += 1
        self.pace.images += self.plan.batch_size
        if self.step % SETTLE_EVERY_STEPS == 0:
            self._settle()
            self.journal.step(
                self.step,
                fmean(self.losses[-SETTLE_EVERY_STEPS:]),
                self._rate(),
                self.pace.images_per_second,
                self.pace.waiting,
            )
            self._foretell()

    def _foretell(self) -> None:
        """Tells the pace of a run that is fitted into a time, when it has been measured."""
        if self.forecast and (outlook := self.forecast.after(self.step, self.progress(self.step))):
            self.journal.line(f"{self._place()}  {outlook}")
            self.journal.expect(outlook.expected_steps)

    def _stops(self, wanted: bool) -> bool:
        """Whether to stop here: processes agree from time to time, one alone decides at once."""
        agrees = self.ranks.count == 1 or self.step % SETTLE_EVERY_STEPS == 0
        return agrees and self.ranks.any(wanted)

    def _settle(self) -> None:
        """Reads the losses of the steps since the last time."""
        first = self.step - len(self.unread) + 1
        losses, self.unread = [loss.item() for loss in self.unread], []
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise self._ruined(f"the loss is {loss} at step {step} ({self._names(step)})")
        self.losses += losses

    def _evaluates(self) -> bool:
        """Whether the network is judged now."""
        return self.plan.evaluates_after(self.step) and (not self.allowance or self.allowance.may_evaluate())

    def _names(self, step: int) -> str:
        """The images of this process's share of a step, counted from 1."""
        ranks = self.ranks
        parts = batches(self.plan, self.config.seed, step - 1, ranks.rank, ranks.count, progress=lambda _: 0.0)
        keys = [key for _ in range(self.plan.accumulate) for key in next(parts)]
        return ", ".join(self.data.pairs[key.pair].stem for key in keys)

    def _rate(self) -> float:
        return self.plan.learning_rate(self.progress(self.step), self.config.optim.learning_rate)

    @property
    def place(self) -> str:
        """How far the run is, for people."""
        if self.allowance:
            return f"step {self.step}, {self.progress(self.step):.0%} of {self.allowance.minutes:g} minutes"
        return f"step {self.step} of {self.plan.total_steps}"

    def _has_news(self) -> bool:
        """Whether there were steps since the last evaluation."""
        return bool(self.unread or self.losses)

    def _place(self) -> str:
        return f"{self.place}  epoch {self._epoch():.2f}"

    def _epoch(self) -> float:
        return self.step / self.plan.steps_per_epoch

    def _judge(self) -> None:
        with self._evaluation():
            self._settle()
            self._refuse_ruined_weights()
            scores = self._scores()
            self._keep_if_best(scores)
            # The record first: a resumed run drops what is later than its checkpoint, and does not make it up.
            self._record(scores)
            self._save(LAST)

    @contextmanager
    def _evaluation(self) -> Iterator[None]:
        """Times it for the allowance. Sizes vary in it, and cuDNN is not to look for the fastest kernels of each."""
        started, torch.backends.cudnn.benchmark = self.clock(), False
        yield
        torch.backends.cudnn.benchmark = True
        if self.allowance and self.forecast:
            self.allowance.evaluated(self.clock() - started)
            self.forecast.interrupted()

    @property
    def judged_by(self) -> dict[str, object]:
        """The settings that scores depend on: those of two sittings can be compared if these are equal."""
        settings = self.config.evaluate
        sources = list(self.config.data.validate_on)
        return {"validate_on": sources, "size_px": settings.size_px, "squash": settings.squash}

    def _keep_if_best(self, scores: Scores) -> None:
        best = scores.max_f > self.best_max_f
        self.best_max_f = max(scores.max_f, self.best_max_f)
        if best:
            self._save(BEST, scores=asdict(scores))

    def _scores(self) -> Scores:
        """The judged weights' scores; each process looks at its share of the images, and none twice."""
        net = self.learner.judged.eval()
        self.ranks.share_buffers(net)
        settings = self.config.evaluate
        mine = list(enumerate(self.validation))[self.ranks.rank :: self.ranks.count]
        done = judged(net, mine, settings.size_px, settings.squash, self.device)
        return summarise(self.ranks.gather([scores for scores, _ in done]))

    def _record(self, scores: Scores) -> None:
        record = {"step": self.step, "epoch": self._epoch(), "loss": fmean(self.losses), "lr": self._rate()}
        record |= {"images_seen": self.step * self.plan.batch_size} | asdict(scores)
        self.losses.clear()
        self.journal.line(evaluation_line(record))
        self.journal.evaluation(record)
        if self.ranks.is_main:
            self._show()

    def _show(self) -> None:
        """A full disk must not stop the training for a picture."""
        try:
            contact_sheet(self._samples(), self.run / "samples.png")
        except OutputError as error:
            self.journal.warn(str(error))

    def _samples(self) -> list[Tile]:
        settings, net = self.config.evaluate, self.learner.judged
        tiles = []
        for pair in self.validation[:: max(1, len(self.validation) // SAMPLES)][:SAMPLES]:
            image, mask = pair.load()
            alpha = predict(net, image, settings.size_px, settings.squash, self.device)
            tiles.append(Tile(image, mask, alpha, pair.stem))
        return tiles

    def _save(self, name: str, **more: object) -> None:
        self._settle()
        self._refuse_ruined_weights()
        if self.ranks.is_main:
            state = {"step": self.step, "best_max_f": self.best_max_f, "judged_by": self.judged_by}
            state |= {"losses": self.losses} | self.learner.state()
            timed = {"allowance": self.allowance.state()} if self.allowance else {}
            save_checkpoint(self.run / name, state | timed | more)

    def _refuse_ruined_weights(self) -> None:
        # One step can ruin the weights although its own loss was finite; a good checkpoint must outlive it.
        if not self.learner.is_finite():
            raise self._ruined(f"weights are not finite after step {self.step}")

    def _ruined(self, what: str) -> DataError:
        return DataError(
            f"{what}; {self.run / LAST} keeps the last good state, if one was saved: lower optim.learning_rate, "
            "set optim.amp to bf16 or off, or look for bad masks"
        )


class Pace:
    """How fast a sitting goes, and what share of it is spent waiting for data."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.started, self.waited_seconds, self.images = clock(), 0.0, 0

    def timed(self, steps: Iterable[list[Sample]]) -> Iterator[list[Sample]]:
        """Passes the batches on and adds up the time that each one took to come."""
        before = self.started = self.clock()
        for parts in steps:
            if self.images:  # the first one brings the workers' start with it
                self.waited_seconds += self.clock() - before
            yield parts
            before = self.clock()

    @property
    def images_per_second(self) -> float:
        """Over all processes, evaluations included."""
        return self.images / max(self.clock() - self.started, 1e-9)

    @property
    def waiting(self) -> float:
        """Share of the time in [0, 1]."""
        return self.waited_seconds / max(self.clock() - self.started, 1e-9)

    def __str__(self) -> str:
        return f"{self.images_per_second:.1f} images/s  waiting for data {self.waiting:.1%}"


def _in_steps(parts: Iterable[Sample], accumulate: int) -> Iterator[list[Sample]]:
    """The parts of each step."""
    rest = iter(parts)
    for first in rest:
        yield [first, *(next(rest) for _ in range(accumulate - 1))]
