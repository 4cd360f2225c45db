"""Video sink that is opened when the first frame shows its kind: composite, foreground or matte."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from streamseg.errors import OutputError
from streamseg.frames import Frame, Kind
from streamseg.sink.base import BaseSink
from streamseg.sink.sidecar import SidecarSink
from streamseg.sink.video import VideoSink


class FirstFrameSink(BaseSink):
    """A video file opened for the kind of its first frame; frames of another kind are refused."""

    def __init__(
        self, path: Path, open_for: Callable[[Kind], VideoSink | SidecarSink], kind: Kind | None, resume_at: Fraction
    ) -> None:
        """Open the file if the kind is known beforehand.

        Args:
            path: the file's name for messages.
            open_for: opens the file for a kind.
            kind: the kind of the frames, if known.
            resume_at: frames before this pts, in seconds, are already written.

        Raises:
            OutputError: the file cannot be written.
        """
        self._path, self._open_for, self._kind, self.resume_at = path, open_for, kind, resume_at
        self._file = open_for(kind) if kind else None

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return self._file.summary if self._file else "nothing was written"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        self._kind = self._kind or frame.kind
        if frame.kind != self._kind:
            raise OutputError(
                f"cannot write {self._path}: frame {frame.index} is a {frame.kind} and the file holds {self._kind}s; "
                f'open the sink with kind="{frame.kind}", or without a kind'
            )
        self._file = self._file or self._open_for(self._kind)
        self._file.write(frame)

    def complete(self) -> None:
        """See `BaseSink`."""
        if self._file:
            self._file.complete()

    def cut_short(self) -> None:
        """See `BaseSink`."""
        if self._file:
            self._file.cut_short()

    def discard(self) -> None:
        """See `BaseSink`."""
        if self._file:
            self._file.discard()
