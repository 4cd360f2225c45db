"""Base class and protocols of sources, and input checks that all sources share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo
from streamseg.media.storage import AnyPath, RemotePath

STANDARD_INPUT = "-"
MIN_SIDE_PX = 16
"""Shortest side of an image that can be matted: a smaller one shows no outline."""


class Source(Protocol):
    """A stream of frames.

    Attributes:
        info: size, rate and clock of the stream, known before the first frame is used.
    """

    info: VideoInfo

    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame once."""
        ...

    def close(self) -> None:
        """Release what the source holds open."""
        ...


@runtime_checkable
class SeekableSource(Protocol):
    """A source that can seek to a later frame without decoding all frames before it.

    Attributes:
        first_pts: pts of its first frame, wherever it is read from.
    """

    first_pts: Fraction

    def skip_to(self, pts: Fraction) -> None:
        """Continue with the first frame at or after `pts`, in seconds."""
        ...


class BaseSource(ABC):
    """Base of this package's sources: a context manager that closes the source.

    Attributes:
        info: size, rate and clock of the stream, known before the first frame is used.
        decode_error: after the last frame, one line on the frames that could not be decoded, or None.
    """

    info: VideoInfo
    decode_error: str | None = None

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield every frame once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release nothing; sources that hold files or devices override this."""

    def damage_within(self, begin: Fraction | None = None, end: Fraction | None = None) -> str | None:
        """Describe in one line what could not be decoded of a stretch that has been read; None if nothing is missing.

        Args:
            begin: pts from which on frames count, in seconds; None for all that were read.
            end: pts from which on they do not.
        """
        return self.decode_error


def check_seekable(path: AnyPath) -> None:
    """Check that a path can be read more than once: files are opened separately for video and for sound.

    Raises:
        InputError: it is standard input, a pipe or a device, or may not be accessed.
    """
    if isinstance(path, RemotePath):
        return
    try:
        exists = path.exists()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if str(path) == STANDARD_INPUT and not exists:
        raise InputError("standard input cannot be gone back in: save it to a file and give its name")
    if exists and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path} is a pipe or a device and cannot be gone back in: save it to a file and give its name"
        )


def check_size(shape: tuple[int, ...], name: str) -> None:
    """Check that an image `(H, W, ...)` is large enough to be matted.

    Args:
        shape: shape of the image.
        name: the file's name, for the message.

    Raises:
        InputError: a side is shorter than 16 px.
    """
    if min(shape[:2]) < MIN_SIDE_PX:
        smallest = f"{MIN_SIDE_PX}x{MIN_SIDE_PX} px"
        raise InputError(f"{name} is {size_text(shape)}; the smallest image that can be matted is {smallest}")


def size_text(shape: tuple[int, ...]) -> str:
    """Return `WIDTHxHEIGHT px` of an array `(H, W, ...)`, for messages."""
    return f"{shape[1]}x{shape[0]} px"
