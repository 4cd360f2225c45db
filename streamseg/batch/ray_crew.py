"""A crew on a Ray cluster: a worker for each core, or each share of a GPU, of each of its nodes."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streamseg.batch.folder import Finished
from streamseg.batch.local import core_sets, nothing, pin_to_cores
from streamseg.batch.tasks import Result, Task, Work
from streamseg.batch.visible import look, needs_of
from streamseg.batch.worker import Lost
from streamseg.errors import ConfigError, EngineError, MissingExtraError, OutputError, StreamsegError
from streamseg.settings import AUTO

CONNECT_SECONDS = 5.0
"""Longest wait for an answer from a cluster's address."""

LOOK_SECONDS = 120.0
"""Longest wait for the nodes' look at what they have; each starts a process and imports streamseg for it."""

OBJECT_STORE_BYTES = 128 << 20
"""Ray's shared memory where Ray is started here: tasks and results are small, and frames never pass through it."""

JOINING = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_NUM_REDIS_GET_RETRIES": "3",
}
"""Ray's variables where a cluster is joined, unless they are set: nothing is reported to Ray's makers, and a cluster
that refuses is asked three times in place of twenty."""

STARTING = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_worker_niceness": "0",
}
"""Those where one is started: it listens on 127.0.0.1 alone, on Linux too in spite of the name, and its workers have
the driver's priority, as the processes of `--jobs` have."""

COUNTED = {
    "frames": "Frames finished.",
    "segments": "Segments finished.",
    "lost": "Tasks whose worker was lost, and which are done again.",
}
"""What Ray's dashboard can show, beside the tasks by name: counters that it calls streamseg_frames and so on."""

TOKEN = "RAY_AUTH_TOKEN"

LOCAL = "local"
"""RAY_ADDRESS for a cluster of one's own, whatever else there is."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker can be.

    Attributes:
        node: Ray's name of the node.
        host: the node's name, for people.
        number: number of the worker on the node, from 0 on.
        count: number of workers on the node.
    """

    node: str
    host: str
    number: int
    count: int


@dataclass(slots=True, eq=False)
class _Hired:
    """A worker, and what it does.

    Attributes:
        place: where it is.
        actor: Ray's handle of it.
        task: what it does now.
        answer: what will come of it.
        told: the next word on its frames.
        frames: frames of the task that were finished at the last word.
    """

    place: Place
    actor: Any
    task: Task | None = None
    answer: Any = None
    told: Any = None
    frames: int = 0


class RayCrew:
    """Workers on the nodes of a Ray cluster; see `Crew`.

    Each is an actor that is bound to its node and keeps its engine. Ray itself repeats nothing: the schedule gives out
    again what a lost worker did, and a worker is begun at another place. Nodes that join are used as they come.
    """

    def __init__(self, address: str, gpus_per_task: float = 0.0, prepare: Callable[[], None] = nothing) -> None:
        """Join the cluster; begin no worker yet.

        Args:
            address: HOST:PORT; or `auto`: the cluster of RAY_ADDRESS or of this machine, or else one of its own cores.
            gpus_per_task: share of a GPU for each worker; 0 for a core and no GPU.
            prepare: called in each new worker first.

        Raises:
            MissingExtraError: Ray is not installed.
            ConfigError: it is no address.
            EngineError: there is no cluster, or none of its nodes has what a worker needs.
        """
        self._ray, self._is_own = _joined(address)
        self._gpus_per_task, self._prepare = gpus_per_task, prepare
        self._idle: list[_Hired] = []
        self._busy: list[_Hired] = []
        self._losses: Counter[str] = Counter()
        self._lost = counter("lost")
        if not self._places():
            self.end()
            raise EngineError(f"no node of the cluster has {self._share()} for a worker")

    @property
    def size(self) -> int:
        """See `Crew`."""
        return len(self._places())

    @property
    def has_room(self) -> bool:
        """See `Crew`."""
        places = self._places()
        self._idle = [one for one in self._idle if one.place in places]  # The others went with their node.
        return bool(self._idle or self._free())

    @property
    def frames(self) -> int:
        """See `Crew`."""
        return sum(one.frames for one in self._busy)

    def check(self, works: Iterable[Work]) -> None:
        """Check that all nodes have the driver's versions and weights, and see the files.

        A cluster that was started here is this machine, and is not asked.

        Raises:
            EngineError: a node has other versions or no streamseg.
            WeightsError: there are no such weights here.
            OutputError: a node does not see a source or cannot write where the output goes.
        """
        if self._is_own:
            return
        remote = self._ray.remote(num_cpus=0, max_retries=0)(look)
        nodes = {place.node: place.host for place in self._places()}
        with needs_of(works) as needs:
            own = look(needs)
            asked = {
                remote.options(name=f"look on {host}", scheduling_strategy=_bound_to(node)).remote(needs): host
                for node, host in nodes.items()
            }
            for answer, host in asked.items():
                try:
                    seen = self._ray.get(answer, timeout=LOOK_SECONDS)
                except self._ray.exceptions.RayError as error:
                    raise EngineError(
                        f"the node {host} cannot begin streamseg: {_reason(error)}; install the same there"
                    ) from error
                for name, version in own.versions.items():
                    if seen.versions.get(name) != version:
                        theirs = seen.versions.get(name, "none")
                        raise EngineError(
                            f"the node {host} has {name} {theirs}, not {version} as here; install the same everywhere"
                        )
                if seen.problems:
                    raise OutputError(f"on the node {host}: {seen.problems[0]}")

    def give(self, task: Task) -> None:
        """See `Crew`."""
        one = self._idle.pop() if self._idle else self._hired(self._free()[0])
        one.task, one.frames = task, 0
        one.answer = one.actor.do.options(name=task.name).remote(task)
        one.told = one.actor.frames.remote()
        self._busy.append(one)

    def results(self, timeout_seconds: float) -> Sequence[tuple[Task, Result | Lost]]:
        """See `Crew`; raises EngineError too if no node is left."""
        if not self._busy:
            if not self.has_room:
                raise EngineError(f"no node of the cluster with {self._share()} is left; run the same command again")
            return []
        self._ray.wait([one.answer for one in self._busy], timeout=timeout_seconds)
        ready = set(self._ready(one.answer for one in self._busy))
        found = [self._result(one) for one in self._busy.copy() if one.answer in ready]
        self._listen()
        return found

    def end(self) -> None:
        """See `Crew`; leave the cluster, and end it if it was started here."""
        for one in (*self._idle, *self._busy):
            with suppress(Exception):
                self._ray.kill(one.actor)
        self._idle, self._busy = [], []
        self._ray.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _result(self, one: _Hired) -> tuple[Task, Result | Lost]:
        """Take what became of a worker's task; a worker that is lost is forgotten."""
        self._busy.remove(one)
        task, one.task = one.task, None
        assert task is not None
        try:
            result, error = self._ray.get(one.answer)
        except self._ray.exceptions.RayError as lost:
            self._losses[one.place.node] += 1
            self._lost.inc()
            with suppress(Exception):
                self._ray.kill(one.actor)
            return task, Lost(f"on {one.place.host}: {_reason(lost)}")
        self._idle.append(one)
        if error:
            raise error
        return task, result

    def _listen(self) -> None:
        """Take what workers have told of their frames, and ask again."""
        ready = set(self._ready(one.told for one in self._busy))
        for one in self._busy:
            if one.told in ready:
                with suppress(self._ray.exceptions.RayError):  # Its answer will tell.
                    one.frames = self._ray.get(one.told)
                    one.told = one.actor.frames.remote()

    def _ready(self, answers: Iterable[Any]) -> list[Any]:
        asked = list(answers)
        return list(self._ray.wait(asked, num_returns=len(asked), timeout=0)[0]) if asked else []

    def _places(self) -> list[Place]:
        """List where workers can be on the nodes that are alive."""
        places = []
        for node in self._ray.nodes():
            resources = node["Resources"] if node["Alive"] else {}
            count = int(resources.get("CPU", 0))
            if self._gpus_per_task:
                count = min(count, int(resources.get("GPU", 0) / self._gpus_per_task + 1e-6))
            places += [Place(node["NodeID"], node["NodeManagerHostname"], number, count) for number in range(count)]
        return places

    def _free(self) -> list[Place]:
        """List the places without a worker, first those of nodes that have lost the fewest and have the fewest."""
        taken = {one.place for one in (*self._idle, *self._busy)}
        workers = Counter(place.node for place in taken)
        free = [place for place in self._places() if place not in taken]
        return sorted(free, key=lambda place: (self._losses[place.node], workers[place.node], place.number))

    def _hired(self, place: Place) -> _Hired:
        """Begin a worker."""
        remote = self._ray.remote(concurrency_groups={"frames": 1})(RayWorker)
        actor = remote.options(
            num_cpus=1,
            num_gpus=self._gpus_per_task,
            max_restarts=0,
            scheduling_strategy=_bound_to(place.node),
        ).remote(place, self._prepare)
        return _Hired(place, actor)

    def _share(self) -> str:
        return f"a core and {self._gpus_per_task:g} of a GPU" if self._gpus_per_task else "a core"


class RayWorker:
    """What runs in a worker's process."""

    def __init__(self, place: Place, prepare: Callable[[], None]) -> None:
        """Keep to the worker's share of the node's cores."""
        pin_to_cores(core_sets(place.count)[place.number])
        prepare()
        self._frames = 0
        self._matted, self._segments = counter("frames"), counter("segments")

    def do(self, task: Task) -> tuple[Result | None, StreamsegError | None]:
        """Do a task; return its result, or the error that ends all work."""
        from streamseg.batch.work import run_task

        self._frames = 0
        try:
            result = run_task(task, self._tell)
        except StreamsegError as error:
            return None, error
        if isinstance(result, Finished):
            self._segments.inc()
        return result, None

    def frames(self) -> int:
        """Return the number of frames that the task has finished, while it is done."""
        return self._frames

    frames.__ray_concurrency_group__ = "frames"  # type: ignore[attr-defined]

    def _tell(self, frames: int) -> None:
        if frames > self._frames:
            self._matted.inc(frames - self._frames)
        self._frames = frames


def counter(name: str) -> Any:
    """Return one of Ray's counters, of what `COUNTED` says, from 0 on in each process."""
    from ray.util.metrics import Counter

    return Counter(f"streamseg_{name}", COUNTED[name])


def _joined(address: str) -> tuple[Any, bool]:
    """Return the module `ray`, once it is connected, and whether the cluster was started here; raise as `RayCrew`."""
    host, _, port = address.rpartition(":")
    if address != AUTO and not (host and "/" not in host and port.isdecimal()):
        raise ConfigError(f"--cluster {address} is no address: give auto, or HOST:PORT such as 10.0.0.1:6379")
    given = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    given = "" if given == LOCAL else given
    if given:
        _check_answers(given)
    for name, value in (JOINING if given else STARTING).items():
        os.environ.setdefault(name, value)  # Read when Ray is imported.
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("--cluster", "ray", "cluster") from error
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with _without_stderr():
            if given:
                ray.init(address=given, **quiet)
                return ray, False
            return ray, _started(ray, quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(_refusal(given, error)) from error


def _started(ray: Any, quiet: dict[str, Any]) -> bool:
    """Start a cluster that ends with this process, and return True; or join the one that `ray start` began here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    is_own_token = TOKEN not in os.environ and "RAY_AUTH_TOKEN_PATH" not in os.environ
    if is_own_token:  # Ray would leave one in ~/.ray, and `ray start` ask for it ever after.
        os.environ[TOKEN] = secrets.token_hex(32)
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES, "num_cpus": cores}
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS") or None, **own, **quiet)
    except ValueError:  # There is a cluster, which has cores and memory of its own.
        if is_own_token:
            del os.environ[TOKEN]
        ray.init(address=AUTO, **quiet)
        return False
    return True


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Keep what Ray's core writes to standard error, before it has a log, off the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _refusal(given: str, error: Exception) -> str:
    """Say in one line why Ray could not be joined or started, and what to do."""
    if "InvalidAuthToken" in f"{error} {error.__context__}":
        return (
            f"the cluster at {given or 'this machine'} asks for a token: set RAY_AUTH_MODE=token, "
            "and copy ~/.ray/auth_token from its first machine"
        )
    if given:
        remedy = f"this machine must be one of its nodes: ray start --address={given}"
        return f"cannot join the cluster at {given}: {_reason(error)}; {remedy}"
    return f"cannot start Ray here, or join what runs here: {_reason(error)}; what was left over is ended by: ray stop"


def _check_answers(address: str) -> None:
    """Raise EngineError if nothing answers at HOST:PORT; Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EngineError(
            f"there is no cluster at {address} ({reason}); start one with: ray start --head --port={port or 6379}"
        ) from error


def _bound_to(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _reason(error: BaseException) -> str:
    """Return the first line of an error of Ray, or the last one of a traceback from a worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback") or "traceback" in line for line in lines[:2]) or "ray::" in lines[0]:
        return lines[-1]
    return lines[0] if lines else type(error).__name__
