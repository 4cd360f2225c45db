"""What every sink can do."""

from __future__ import annotations

from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from streamseg.frames import Frame

if TYPE_CHECKING:
    from streamseg.sink.lock import Claim


class Sink(Protocol):
    """Takes finished frames, inside `with`; leaving it without an error completes the output.

    Attributes:
        closed: the viewer closed the window; nobody wants more frames.
        summary: one line on what was written, for the user.
        resume_at: frames before this time, in seconds, are there already and will be passed over.
    """

    closed: bool
    resume_at: Fraction

    @property
    def summary(self) -> str:
        """One line on where the frames went."""
        ...

    def write(self, frame: Frame) -> None:
        """Take one frame.

        Raises:
            OutputError: it cannot be written.
        """
        ...

    def __enter__(self) -> Self:
        """Returns the sink itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Completes the output; after an error other than Ctrl-C, leaves only what can be gone on with."""
        ...


class CompletingSink:
    """A sink that completes on success and Ctrl-C, and cleans up after any other error.

    Attributes:
        claim: of what it writes; given back at the end.
    """

    claim: Claim | None = None
    closed = False
    resume_at = Fraction(0)

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
