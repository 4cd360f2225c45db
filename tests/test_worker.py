"""A process that does tasks: what it returns, what it raises, and how it is lost and replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from streamseg.batch.worker import Lost, Worker
from streamseg.errors import MissingExtraError, StreamsegError

Task: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]


def do(task: Task) -> Any:
    function, arguments = task
    return function(*arguments)


def without_its_package() -> None:
    raise MissingExtraError("drawing", "pen", "art")


def be_killed_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        signal.raise_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker[Task, Any]]:
    with Worker(do) as worker:
        yield worker


def result_of(worker: Worker[Task, Any], function: Callable[..., Any], *arguments: Any) -> Any:
    worker.give((function, arguments))
    return worker.result()


def test_one_process_does_all(worker: Worker[Task, Any]) -> None:
    assert result_of(worker, divmod, 7, 3) == (2, 1)
    assert result_of(worker, os.getpid) == result_of(worker, os.getpid) != os.getpid()


def test_what_it_raises_is_raised_here(worker: Worker[Task, Any]) -> None:
    with pytest.raises(ZeroDivisionError):
        result_of(worker, divmod, 1, 0)


def test_our_own_errors_keep_their_message(worker: Worker[Task, Any]) -> None:
    with pytest.raises(StreamsegError, match=r"drawing needs the package pen: pip install 'streamseg\[art\]'"):
        result_of(worker, without_its_package)


@pytest.mark.skipif(os.name == "nt", reason="there are no signals there")
def test_it_is_lost_and_replaced(worker: Worker[Task, Any]) -> None:
    first = result_of(worker, os.getpid)
    with pytest.raises(Lost, match="SIGSEGV, a crash"):
        result_of(worker, signal.raise_signal, signal.SIGSEGV)
    with pytest.raises(Lost, match="SIGKILL, perhaps for want of memory"):
        result_of(worker, signal.raise_signal, signal.SIGKILL)
    with pytest.raises(Lost, match="exit code 3"):
        result_of(worker, os._exit, 3)
    assert result_of(worker, os.getpid) != first


@pytest.mark.skipif(os.name == "nt", reason="there are no signals there")
def test_a_kill_between_tasks_costs_none(worker: Worker[Task, Any]) -> None:
    first = result_of(worker, os.getpid)
    os.kill(first, signal.SIGKILL)
    wait([worker.pipe])
    assert result_of(worker, os.getpid) != first


@pytest.mark.skipif(os.name == "nt", reason="there are no signals there")
def test_a_kill_at_the_start_costs_one(tmp_path: Path) -> None:
    with Worker(do, partial(be_killed_once, tmp_path / "killed")) as worker:
        with pytest.raises(Lost, match="SIGKILL"):
            result_of(worker, abs, -1)
        assert result_of(worker, abs, -1) == 1


@pytest.mark.skipif(os.name == "nt", reason="there are no signals there")
def test_ctrl_c_is_for_those_who_own_it(worker: Worker[Task, Any]) -> None:
    assert result_of(worker, signal.raise_signal, signal.SIGINT) is None


def test_it_ends_amid_a_task() -> None:
    worker = Worker(do)
    worker.give((signal.pause, ()))
    worker.end()
    assert result_of(worker, abs, -1) == 1
    worker.end()
