"""Errors that the user can put right, each with a message of one line.

    StreamsegError              one clear line for the user; exit code 2
    ├── InputError              a source, photo, folder or camera that cannot be read
    │   └── CameraError         the camera is missing, busy or was unplugged
    ├── OutputError             a file, window or virtual camera that cannot be written
    ├── WeightsError            network weights that are missing, damaged or do not fit
    ├── EngineError             no inference engine opens, or the one asked for does not
    ├── ConfigError             a setting that is unknown or out of range
    ├── DataError               a training or evaluation set that cannot be used
    └── MissingExtraError       an optional package is needed and not installed

A message states, on one line, the value found, the values allowed and what to do.
"""

from __future__ import annotations

OUT_OF_MEMORY = "there is not enough memory for pictures of this size; close other programs, or make them smaller"
"""Message for Python's MemoryError."""


class StreamsegError(Exception):
    """An error that the user can put right; shown as one line, without a traceback."""


class InputError(StreamsegError):
    """A source, photo, folder or camera cannot be read."""


class CameraError(InputError):
    """The camera is missing, busy or was unplugged.

    Attributes:
        card: words to show in place of the picture until the camera is back.
    """

    def __init__(self, message: str, card: str = "no picture from the camera: waiting for it") -> None:
        super().__init__(message)
        self.card = card


class OutputError(StreamsegError):
    """A file, window or virtual camera cannot be written."""


class WeightsError(StreamsegError):
    """Network weights are missing, damaged or do not fit the network."""


class EngineError(StreamsegError):
    """No inference engine opens, or the one asked for does not."""


class ConfigError(StreamsegError):
    """A setting is unknown or out of range."""


class DataError(StreamsegError):
    """A training or evaluation set cannot be used."""


class MissingExtraError(StreamsegError):
    """An optional package is needed and not installed."""

    def __init__(self, job: str, package: str, extra: str) -> None:
        """Name the package and the extra that installs it.

        Args:
            job: what needs the package.
            package: the missing package.
            extra: streamseg's extra that installs it.
        """
        super().__init__(f"{job} needs the package {package}: pip install 'streamseg[{extra}]'")

    def __reduce__(self) -> tuple[type[StreamsegError], tuple[object, ...]]:
        """Unpickle in another process as a StreamsegError with the same message."""
        return StreamsegError, self.args
