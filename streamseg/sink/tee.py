"""Several sinks side by side: each gets every frame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from streamseg.errors import OutputError
from streamseg.frames import Frame
from streamseg.sink.base import BaseSink

log = logging.getLogger(__name__)


class TeeSink(BaseSink):
    """Writes to several sinks; one that fails is left out while others go on.

    A sink that raises `SinkClosed`, such as a closed window, ends the run.
    """

    def __init__(
        self,
        sinks: Sequence[BaseSink],
        tell: Callable[[str], object] = lambda _: None,
        beside: Sequence[BaseSink] = (),
    ) -> None:
        """Take the sinks.

        Args:
            sinks: at least one; the run ends when the last of them fails.
            tell: is told in one line when a sink fails.
            beside: sinks that a run does not go on for, such as those of snapshots.
        """
        self._sinks, self._tell, self._beside = list(sinks), tell, tuple(beside)
        self._failed: list[str] = []

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return "; ".join(filter(None, [*(sink.summary for sink in self._all), *self._failed]))

    def write(self, frame: Frame) -> None:
        """Write to every sink.

        Raises:
            OutputError: the last sink failed.
            SinkClosed: the user ended an output.
        """
        for sink in tuple(self._sinks):
            try:
                sink.write(frame)
            except OutputError as error:
                if len(self._sinks) == 1:
                    raise
                self._leave_out(sink, error)
        for sink in self._beside:
            sink.write(frame)

    def complete(self) -> None:
        """Complete all sinks, even if one fails; its error is raised at the end."""
        self._end([sink.complete for sink in self._all])

    def cut_short(self) -> None:
        """See `BaseSink`."""
        self._end([sink.cut_short for sink in self._all])

    def discard(self) -> None:
        """See `Sink`."""
        self._end([sink.discard for sink in self._all])

    def _leave_out(self, sink: BaseSink, error: OutputError) -> None:
        self._sinks.remove(sink)
        self._failed.append(str(error))
        log.warning("%s", error)
        self._tell(str(error))
        with ExitStack() as stack:
            stack.callback(_release, sink)
            stack.enter_context(suppress(OutputError))  # A full disk, which has been told, keeps it from its end too.
            sink.cut_short()

    @property
    def _all(self) -> tuple[BaseSink, ...]:
        return *self._sinks, *self._beside

    def _end(self, actions: Sequence[Callable[[], None]]) -> None:
        with ExitStack() as stack:
            for sink in self._all:
                stack.callback(_release, sink)
            for action in reversed(actions):
                stack.callback(action)


def _release(sink: BaseSink) -> None:
    if sink.claim:
        sink.claim.release()
