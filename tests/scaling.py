"""A cluster on paper: what limits it at 10, 100 and 1,000 workers, and a simulation: `python -m tests.scaling`.

Each worker is one core that does one task at a time, as `streamseg/batch/scaling.md` says; it tells what was found.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias, cast

import simpy

RATE = 30
"""Frames a second of all recordings."""


@dataclass(frozen=True)
class Costs:
    """What matting costs, in seconds of one core.

    Measured in November 2026 with the code of `video --jobs` (commit 3efd084) at 1080p, each process on one core of an
    AMD EPYC with VNNI that other jobs shared: CPU time, not time on the clock. `frame` and `segment` are slope and
    intercept over segments of 1 and 3 or 4 s, of three runs (NANO) or two, the median; the rest once or twice.

    Attributes:
        frame: reading, matting and encoding a frame.
        segment: all that a segment costs beside its frames: opening the source and going to the place (.09 s), and
            40 frames before and after it that are matted for the seams alone.
        written_bytes: of a frame in the output, which is written as segments, read again and written joined.
        start: a new worker process: Ray's own .44, imports .4, plan and engine 1.35, the network's first frames .6.
        plan: looking into a file and cutting it.
        join_frame: copying a frame's packet to the joined file.
        join_segment: opening a segment to be joined.
        driver: seconds of the driver's core for a task: the schedule with its check of the seam 8.7 ms (the same for
            10 and for 1,000 workers, the segments being answered at once), Ray's calls .4 ms.
        read_bytes: of a frame of the source, H.264 at 6.7 Mbit/s.
        extra_frames: frames that a segment reads beside its own.
        seam_bytes: what a segment keeps of its ends for the check.
    """

    frame: float
    segment: float
    written_bytes: float
    start: float = 2.8
    plan: float = 0.026
    join_frame: float = 4e-5
    join_segment: float = 7e-3
    driver: float = 9.1e-3
    read_bytes: float = 27_700
    extra_frames: int = 40
    seam_bytes: float = 364_000


NANO = Costs(frame=0.0686, segment=1.86, written_bytes=16_900)
"""`--model nano --bg blur` to H.264."""

LITE = Costs(frame=0.1343, segment=4.86, written_bytes=16_100)
"""`--model lite --bg blur` to H.264."""

NANO_ALPHA = Costs(frame=0.1321, segment=3.87, written_bytes=1_113_000, join_frame=6.4e-4)
"""`--model nano` to ProRes 4444 with alpha."""

DECODE, ENCODE = 0.007, 0.0244
"""Core seconds of a frame, measured as `Costs`: what a GPU leaves to the CPU; those for data centres do not encode."""

GPU_FPS_ON_PAPER = 3300
"""Not measured: `lite` on an H100 in half precision, eight frames of 320x320 at a time, from its arithmetic."""

COSTS = {"nano, H.264": NANO, "lite, H.264": LITE, "nano, ProRes 4444": NANO_ALPHA}


@dataclass(frozen=True)
class Cluster:
    """A cluster; but for the number of workers all is assumed, and nothing of it was measured.

    Attributes:
        workers: cores, one a worker.
        workers_on_node: that are lost together.
        storage_bytes: a second that the shared storage moves, read and written together.
        link_bytes: a second that one worker moves at most, 10 Gbit/s.
        speed_spread: standard deviation of the logarithm of a worker's speed; its median is that of `Costs`.
        slow_share: of workers that reach only `slow_speed` of their speed.
        slow_speed: their share of it.
        losses_an_hour: of each node.
        noticed_seconds: until the driver knows of a loss; Ray's defaults are five checks of 3 to 10 s.
        replaced_seconds: until there is another node in place of a lost one.
    """

    workers: int
    workers_on_node: int = 16
    storage_bytes: float = 5e9
    link_bytes: float = 1.25e9
    speed_spread: float = 0.1
    slow_share: float = 0.02
    slow_speed: float = 1 / 3
    losses_an_hour: float = 0.1
    noticed_seconds: float = 30.0
    replaced_seconds: float = 120.0

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return math.ceil(self.workers / self.workers_on_node)

    def speeds(self, chance: random.Random) -> list[float]:
        """Draw the workers' speeds."""
        return [
            chance.lognormvariate(0, self.speed_spread) * (self.slow_speed if chance.random() < self.slow_share else 1)
            for _ in range(self.workers)
        ]

    def losses(self, chance: random.Random) -> Iterator[Loss]:
        """Draw when which node is lost, without end."""
        seconds = 0.0
        while self.losses_an_hour:
            seconds += chance.expovariate(self.losses_an_hour * self.nodes / 3600)
            yield seconds, chance.randrange(self.nodes)


Loss: TypeAlias = tuple[float, int]
"""Seconds from the start, and the number of the node."""

Process: TypeAlias = Generator[simpy.Event, object, None]

RECORDING = (3 * 3600.0,)
"""Length in seconds of the one recording."""


def archive(chance: random.Random, clips: int = 1000) -> tuple[float, ...]:
    """Draw lengths of clips in seconds: 5 minutes in the median, at most an hour."""
    return tuple(min(chance.lognormvariate(math.log(300), 0.8), 3600.0) for _ in range(clips))


def cut(length_seconds: float, segment_seconds: float) -> list[int]:
    """Return the number of frames of each segment of a file, cut as `streamseg.batch.cuts` does."""
    frames, wanted = round(length_seconds * RATE), round(segment_seconds * RATE)
    count = max(1, math.floor(frames / wanted + 0.5))
    return [wanted] * (count - 1) + [frames - wanted * (count - 1)]


PLAN, JOIN = -1, 1 << 30


@dataclass(order=True)
class Task:
    """A task; of those that wait, the least is done first: the schedule works for the file that was begun first.

    Attributes:
        file: number of the file.
        place: of the segment in it, or PLAN, or JOIN.
        losses: how often its worker was lost.
    """

    file: int
    place: int
    losses: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        finish_seconds: until the last file was joined.
        spent: seconds of all workers, by what they were spent on.
        frames: number of frames that are in the outputs.
        segments: number of segments that are in the outputs.
        most_losses: largest number of times that one task's worker was lost; streamseg gives a file up at the fourth.
    """

    finish_seconds: float
    spent: Mapping[str, float]
    frames: int
    segments: int
    most_losses: int

    @property
    def paid(self) -> float:
        """Core time from the start to the finish; a node that is gone is not paid for."""
        return sum(self.spent.values()) - self.spent["gone"]

    @property
    def efficiency(self) -> float:
        """Share of the paid time in which frames of the output were matted, each once."""
        return self.spent["useful"] / self.paid

    @property
    def busy_efficiency(self) -> float:
        """The same if workers without a task cost nothing."""
        return self.spent["useful"] / (self.paid - self.spent["idle"])


class Simulation:
    """A job on a cluster."""

    BLOCK_BYTES = 256e6
    """What is moved before others have their turn."""

    def __init__(
        self,
        files: Sequence[Sequence[int]],
        costs: Costs,
        cluster: Cluster,
        speeds: Sequence[float],
        losses: Iterable[Loss] = (),
    ) -> None:
        """Take the job.

        Args:
            files: the number of frames of each segment of each file.
            costs: in core seconds.
            cluster: its workers' speeds and losses are given apart.
            speeds: of the workers.
            losses: in the order of time.
        """
        self.files, self.costs, self.cluster = files, costs, cluster
        self.env = simpy.Environment()
        self.tasks = simpy.PriorityStore(self.env)
        self.tasks.items = [Task(number, PLAN) for number in range(len(files))]
        self.driver = simpy.Resource(self.env)
        self._channels = max(1, round(cluster.storage_bytes / cluster.link_bytes))
        self._storage = simpy.Resource(self.env, self._channels)
        self._open_segments = [len(segments) for segments in files]
        self._open_files = len(files)
        self._frames = self._segments = self._most_losses = 0
        self._done = self.env.event()
        self._workers = [Worker(self, speed) for speed in speeds]
        self.env.process(self._lose_nodes(losses))

    def run(self) -> Outcome:
        """Run it to its end."""
        self.env.run(self._done)
        spent: defaultdict[str, float] = defaultdict(float)
        for worker in self._workers:
            for what, seconds in worker.spent_until_now().items():
                spent[what] += seconds
        return Outcome(self.env.now, spent, self._frames, self._segments, self._most_losses)

    def core_seconds(self, task: Task) -> tuple[float, float]:
        """Return what a task costs for the output's frames, and besides."""
        costs, segments = self.costs, self.files[task.file]
        if task.place == PLAN:
            return 0.0, costs.plan
        if task.place == JOIN:
            return 0.0, costs.join_frame * sum(segments) + costs.join_segment * len(segments)
        return costs.frame * segments[task.place], costs.segment

    def moved_bytes(self, task: Task) -> float:
        """Return what a task reads and writes."""
        costs, segments = self.costs, self.files[task.file]
        if task.place == PLAN:
            return 0.0
        if task.place == JOIN:
            return 2 * costs.written_bytes * sum(segments)
        frames = segments[task.place]
        return costs.read_bytes * (frames + costs.extra_frames) + costs.written_bytes * frames + costs.seam_bytes

    def move(self, size_bytes: float) -> Process:
        """Move bytes from or to the storage, until the worker is lost."""
        try:
            while size_bytes > 0:
                block = min(size_bytes, self.BLOCK_BYTES)
                with self._storage.request() as channel:
                    yield channel
                    yield self.env.timeout(block * self._channels / self.cluster.storage_bytes)
                size_bytes -= block
        except simpy.Interrupt:
            return

    def finish(self, task: Task) -> None:
        """Take a finished task, and have done what it made possible."""
        segments = self.files[task.file]
        if task.place == PLAN:
            for place in range(len(segments)):
                self.tasks.put(Task(task.file, place))
        elif task.place == JOIN:
            self._open_files -= 1
            if not self._open_files:
                self._done.succeed()
        else:
            self._frames += segments[task.place]
            self._segments += 1
            self._open_segments[task.file] -= 1
            if not self._open_segments[task.file]:
                self.tasks.put(Task(task.file, JOIN))

    def do_again(self, task: Task) -> None:
        """Have a task done by another worker."""
        self._most_losses = max(self._most_losses, task.losses + 1)
        self.tasks.put(replace(task, losses=task.losses + 1))

    def _lose_nodes(self, losses: Iterable[Loss]) -> Process:
        for seconds, node in losses:
            yield self.env.timeout(seconds - self.env.now)
            size = self.cluster.workers_on_node
            for worker in self._workers[node * size : (node + 1) * size]:
                worker.lose()


class Worker:
    """One core; what it does at present is the name under which its time is spent."""

    def __init__(self, simulation: Simulation, speed: float) -> None:
        self._simulation, self._env, self._speed = simulation, simulation.env, speed
        self._spent: defaultdict[str, float] = defaultdict(float)
        self._doing, self._since = "starting", 0.0
        self._next: simpy.resources.store.StoreGet | None = None
        self._transfer: simpy.Process | None = None
        self._process = self._env.process(self._live())

    def lose(self) -> None:
        """Lose it with what it is doing, if it is there."""
        if self._doing != "gone":
            self._process.interrupt()

    def spent_until_now(self) -> Mapping[str, float]:
        """Return its seconds, by what they were spent on."""
        self._begin(self._doing)
        return self._spent

    def _begin(self, what: str) -> None:
        self._spent[self._doing] += self._env.now - self._since
        self._doing, self._since = what, self._env.now

    def _live(self) -> Process:
        while True:
            try:
                self._begin("starting")
                yield self._env.timeout(self._simulation.costs.start / self._speed)
                while True:
                    self._begin("idle")
                    self._next = self._simulation.tasks.get()
                    yield self._next
                    yield from self._do(cast(Task, self._next.value))
                    self._next = None
            except simpy.Interrupt:
                yield from self._be_replaced(self._lost_task())

    def _do(self, task: Task) -> Process:
        self._begin("driver")
        with self._simulation.driver.request() as turn:
            yield turn
            yield self._env.timeout(self._simulation.costs.driver)
        self._begin("lost")  # Until it is known to be of use.
        useful, overhead = (seconds / self._speed for seconds in self._simulation.core_seconds(task))
        self._transfer = self._env.process(self._simulation.move(self._simulation.moved_bytes(task)))
        yield self._env.timeout(useful + overhead) & self._transfer
        all_seconds = self._env.now - self._since
        self._spent["useful"] += useful
        self._spent["overhead"] += overhead
        self._spent["storage"] += max(0.0, all_seconds - useful - overhead)
        self._since = self._env.now
        self._simulation.finish(task)

    def _lost_task(self) -> Task | None:
        """Return the task that it had, and leave all queues."""
        if self._transfer and self._transfer.is_alive:
            self._transfer.interrupt()
        request, self._next = self._next, None
        if request is None:
            return None
        if request.triggered:
            return cast(Task, request.value)
        request.cancel()
        return None

    def _be_replaced(self, task: Task | None) -> Process:
        self._begin("gone")
        noticed, replaced = self._simulation.cluster.noticed_seconds, self._simulation.cluster.replaced_seconds
        yield self._env.timeout(noticed)
        if task:
            self._simulation.do_again(task)
        yield self._env.timeout(max(0.0, replaced - noticed))


def simulate(
    lengths_seconds: Sequence[float], segment_seconds: float, costs: Costs, cluster: Cluster, seed: int = 1
) -> Outcome:
    """Simulate a job; a seed stands for the workers' speeds and for the moments of losses."""
    files = [cut(length, segment_seconds) for length in lengths_seconds]
    speeds = cluster.speeds(random.Random(f"speeds {seed}"))
    return Simulation(files, costs, cluster, speeds, cluster.losses(random.Random(f"losses {seed}"))).run()


def limits(length_seconds: float, segment_seconds: float, costs: Costs, cluster: Cluster) -> dict[str, float]:
    """Return the seconds that a recording takes by each limit alone; the last two come after the others."""
    segments = cut(length_seconds, segment_seconds)
    frames, count = sum(segments), len(segments)
    written = costs.written_bytes * frames
    read = costs.read_bytes * (frames + costs.extra_frames * count)
    join_cores = costs.join_frame * frames + costs.join_segment * count
    return {
        "matting": (costs.frame * frames + costs.segment * count) / min(cluster.workers, count),
        "driver": costs.driver * (count + 2),
        "storage": (read + written + costs.seam_bytes * count) / cluster.storage_bytes,
        "slow worker's segment": (costs.frame * segments[0] + costs.segment) / cluster.slow_speed,
        "join": max(join_cores, 2 * written / cluster.link_bytes),
    }


WORKERS = (10, 100, 1000)
LENGTHS_SECONDS = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0)
LOSSES_AN_HOUR = (0.0, 0.1, 1.0, 5.0)
STORAGES_BYTES = (1.25e9, 5e9, 20e9)
SPENT = ("overhead", "driver", "storage", "lost", "starting", "idle")

Row: TypeAlias = tuple[str, float, Outcome]
"""A job's name, the length of its segments in seconds, and what became of it."""


def segment_seconds(length_seconds: float, workers: int) -> float:
    """Return the length that streamseg takes: four segments a worker, of 20 to 60 s."""
    return min(max(length_seconds / (4 * workers), 20.0), 60.0)


def by_length(name: str, lengths: Sequence[float], cluster: Cluster, seed: int) -> list[Row]:
    """Simulate a job of `NANO` with segments of each length."""
    return [(name, seconds, simulate(lengths, seconds, NANO, cluster, seed)) for seconds in LENGTHS_SECONDS]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def limits_table() -> str:
    """Return what a recording of three hours takes by each limit alone, in segments of streamseg's choice."""
    rows = []
    for name, costs in COSTS.items():
        for workers in WORKERS:
            seconds = segment_seconds(RECORDING[0], workers)
            found = limits(RECORDING[0], seconds, costs, Cluster(workers))
            heads = ["", "workers", "segment, s", *(f"{limit}, s" for limit in found)]
            rows.append([name, f"{workers:,}", f"{seconds:g}", *(f"{each:,.0f}" for each in found.values())])
    return table(heads, rows)


def outcomes_table(rows: Iterable[Row]) -> str:
    """Return outcomes: time to finish, efficiencies, and in percent for what else the time was paid."""
    heads = ["", "segment, s", "segments", "finish, s", "efficiency", "without idle", *(f"{what}, %" for what in SPENT)]
    cells = []
    for name, seconds, outcome in rows:
        efficiencies = [f"{each:.2f}" for each in (outcome.efficiency, outcome.busy_efficiency)]
        shares = [f"{100 * outcome.spent[what] / outcome.paid:.1f}" for what in SPENT]
        facts = [f"{seconds:g}", f"{outcome.segments:,}", f"{outcome.finish_seconds:,.0f}"]
        cells.append([name, *facts, *efficiencies, *shares, f"{outcome.most_losses}"])
    return table([*heads, "most losses of a task"], cells)


def gpu_on_paper(cores: int) -> str:
    """Return what one GPU would do; not measured."""
    fps = min(GPU_FPS_ON_PAPER, cores / (DECODE + ENCODE))
    needed = math.ceil(GPU_FPS_ON_PAPER * (DECODE + ENCODE))
    megabytes = fps * (LITE.read_bytes + LITE.written_bytes) / 1e6
    return (
        f"On paper, not measured: a GPU at {GPU_FPS_ON_PAPER:,} fps takes {needed} cores to decode and encode H.264; "
        f"with {cores} it does {fps:,.0f} fps and moves {megabytes:.0f} MB a second."
    )


def plot(rows: Iterable[Row], path: str) -> None:
    """Draw efficiency and time to finish against the length of the segments."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "scaling"})
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6.5), layout="constrained")
    for number, (name, group) in enumerate(groupby(rows, lambda row: row[0])):
        outcomes = [outcome for _, _, outcome in group]
        above.plot(LENGTHS_SECONDS, [one.efficiency for one in outcomes], f"C{number}o-", label=name)
        above.plot(LENGTHS_SECONDS, [one.busy_efficiency for one in outcomes], f"C{number}:")
        below.plot(LENGTHS_SECONDS, [one.finish_seconds for one in outcomes], f"C{number}o-")
    above.set(ylabel="efficiency (dotted: idle workers not paid)", ylim=(0, 1))
    below.set(ylabel="time to finish, s", yscale="log", xscale="log", xlabel="length of a segment, s")
    below.set_xticks(LENGTHS_SECONDS, [f"{seconds:g}" for seconds in LENGTHS_SECONDS])
    below.minorticks_off()
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize="small")
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


def main() -> None:
    """Print the tables of `streamseg/batch/scaling.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", metavar="FILE", help="draw efficiency against segment length into an SVG or PNG file")
    parser.add_argument("--seed", type=int, default=1, help="other workers are slow, and other nodes lost")
    arguments = parser.parse_args()
    clips = archive(random.Random("archive"))
    cluster, seed = Cluster(1000), arguments.seed
    evenly = replace(cluster, slow_share=0.0)
    print(f"A recording of three hours by each limit alone\n\n{limits_table()}\n\n{gpu_on_paper(16)}", flush=True)

    rows = [
        *by_length("3 h", RECORDING, cluster, seed),
        *by_length("3 h, no slow workers", RECORDING, evenly, seed),
        *by_length("archive", clips, cluster, seed),
        *by_length("archive, no slow workers", clips, evenly, seed),
    ]
    print(
        f"\n1,000 workers, nano, H.264; the archive is {sum(clips) / 3600:.0f} h\n\n{outcomes_table(rows)}", flush=True
    )
    if arguments.plot:
        plot(rows, arguments.plot)

    others = {f"{count:,} workers": (NANO, Cluster(count)) for count in WORKERS}
    others |= {f"losses: {each:g}": (NANO, replace(cluster, losses_an_hour=each)) for each in LOSSES_AN_HOUR}
    for name, costs in (("H.264", NANO), ("ProRes", NANO_ALPHA)):
        for each in STORAGES_BYTES:
            others[f"{name}, {each / 1e9:g} GB/s"] = costs, replace(cluster, storage_bytes=each)
    rows = [(name, 20.0, simulate(clips, 20.0, costs, each, seed)) for name, (costs, each) in others.items()]
    print(f"\nThe archive, 1,000 workers unless said, losses a node and hour\n\n{outcomes_table(rows)}")


if __name__ == "__main__":
    main()
