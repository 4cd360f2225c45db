"""Base class and protocol of sinks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from streamseg.frames import Frame

if TYPE_CHECKING:
    from streamseg.sink.lock import Claim


class SinkClosed(Exception):
    """The user closed the preview window: the run ends without an error."""


class Sink(Protocol):
    """An output of finished frames."""

    def write(self, frame: Frame) -> None:
        """Write one frame.

        Raises:
            OutputError: the frame cannot be written.
            SinkClosed: the user ended the output.
        """
        ...

    def complete(self) -> None:
        """Make the output final."""
        ...

    def discard(self) -> None:
        """Remove unfinished output that --resume cannot continue from."""
        ...


class BaseSink(ABC):
    """Base of this package's sinks: completed at the end of `with` and on Ctrl-C, discarded after any other error.

    Attributes:
        claim: lock on the output files; released at the end.
        resume_at: frames before this pts, in seconds, are already written and are skipped.
    """

    claim: Claim | None = None
    resume_at = Fraction(0)

    @property
    @abstractmethod
    def summary(self) -> str:
        """Describe in one line what was written and where."""

    @abstractmethod
    def write(self, frame: Frame) -> None:
        """See `Sink`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.complete()
            elif issubclass(kind, KeyboardInterrupt):
                self.cut_short()
            else:
                self.discard()
        finally:
            if self.claim:
                self.claim.release()

    def complete(self) -> None:
        """Make the output final."""

    def cut_short(self) -> None:
        """Make the output so far final, after the user stopped the run."""
        self.complete()

    def discard(self) -> None:
        """Remove unfinished output that --resume cannot continue from."""
