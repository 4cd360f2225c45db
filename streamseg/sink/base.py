"""What every sink can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from streamseg.frames import Frame

if TYPE_CHECKING:
    from streamseg.sink.lock import Claim


class SinkClosed(Exception):
    """The viewer closed the window: nobody wants more frames, and nothing is wrong."""


class Sink(Protocol):
    """Takes finished frames."""

    def write(self, frame: Frame) -> None:
        """Take one frame.

        Raises:
            OutputError: it cannot be written.
            SinkClosed: it was the last one that is wanted.
        """
        ...

    def complete(self) -> None:
        """Make the output final."""
        ...

    def discard(self) -> None:
        """Remove what is half written and what --resume cannot continue from."""
        ...


class BaseSink(ABC):
    """What every sink of ours is: completed at the end of `with` and on Ctrl-C, cleaned up after any other error.

    Attributes:
        claim: of what it writes; released at the end.
        resume_at: frames before this pts, in seconds, are there already and will be passed over.
    """

    claim: Claim | None = None
    resume_at = Fraction(0)

    @property
    @abstractmethod
    def summary(self) -> str:
        """One line on what was written and where, for the user."""

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
        """Makes the output final."""

    def cut_short(self) -> None:
        """Makes what there is final; the user stopped the run."""
        self.complete()

    def discard(self) -> None:
        """Removes what is half written and cannot be gone on with."""
