"""What a worker does: its tasks one after another, each of which ends with a result or with one line on why not."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from streamseg.batch.join import join_segments
from streamseg.batch.matting import matte_segment, matte_whole
from streamseg.batch.plan import plan_segments
from streamseg.batch.tasks import Failure, Joined, JoinTask, PlanTask, Result, SegmentTask, Task, Tell, WholeTask
from streamseg.errors import OUT_OF_MEMORY, EngineError, StreamsegError, WeightsError

MACHINES_FAULT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""Errors of the system that may not come up on another machine, such as a full disk."""


def run_task(task: Task, tell: Tell) -> Result:
    """Do a task in a worker process.

    Args:
        task: what is to be done.
        tell: called with the number of frames that are finished so far.

    Raises:
        EngineError: no engine opens, for this task or any other.
        WeightsError: the network's weights cannot be read, for this task or any other.
    """
    try:
        return _done(task, tell)
    except (EngineError, WeightsError):
        raise
    except StreamsegError as error:
        return Failure(str(error), _is_machines_fault(error))
    except MemoryError:
        return Failure(OUT_OF_MEMORY, is_machines=True)
    except Exception as error:
        return Failure(bug_message(error))


def _done(task: Task, tell: Tell) -> Result:
    match task:
        case PlanTask(work):
            return plan_segments(work)
        case SegmentTask():
            return matte_segment(task, tell)
        case JoinTask(work, finished):
            return Joined(join_segments(work, finished))
        case WholeTask(work):
            return matte_whole(work, tell)


def bug_message(error: Exception) -> str:
    """Describe an unexpected error with its file and line, for a bug report."""
    origin = traceback.extract_tb(error.__traceback__)[-1]
    reason = " ".join(str(error).split())
    return f"{type(error).__name__}: {reason} ({Path(origin.filename).name}, line {origin.lineno}); this is a bug"


def _is_machines_fault(error: BaseException) -> bool:
    """Whether an error goes back to one of `MACHINES_FAULT`."""
    cause = error.__cause__
    return cause is not None and (getattr(cause, "errno", None) in MACHINES_FAULT or _is_machines_fault(cause))
