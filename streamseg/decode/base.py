"""What every source can do, and the checks that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo

STANDARD_INPUT = "-"
MIN_SIDE_PX = 16
"""Smallest side of a picture: less holds no outline to find."""


class Source(Protocol):
    """A stream of frames.

    Attributes:
        info: what is known before the first frame is used.
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
    """A source that reaches a later frame sooner than by decoding all before it."""

    def skip_to(self, pts: Fraction) -> None:
        """Leave out frames before `pts`, in seconds."""
        ...


class BaseSource(ABC):
    """What every source of ours is: closed at the end of `with`.

    Attributes:
        info: what is known before the first frame is used.
        decode_error: after the last frame, one line on what could not be decoded, or None.
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
        """See `Source`; here nothing is open."""


def check_seekable(path: Path) -> None:
    """Raises InputError for what can be read only once: files are opened several times, for pictures and for sound."""
    try:
        found = path.exists()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    if str(path) == STANDARD_INPUT and not found:
        raise InputError("standard input cannot be gone back in: save it to a file and give its name")
    if found and not (path.is_file() or path.is_dir()):
        raise InputError(
            f"{path} is a pipe or a device and cannot be gone back in: save it to a file and give its name"
        )


def check_size(shape: tuple[int, ...], name: str) -> None:
    """Raises InputError for a picture with a side under 16 px."""
    if min(shape[:2]) < MIN_SIDE_PX:
        smallest = f"{MIN_SIDE_PX}x{MIN_SIDE_PX} px"
        raise InputError(f"{name} is {size_text(shape)}; the smallest picture that can be matted is {smallest}")


def size_text(shape: tuple[int, ...]) -> str:
    """Width by height of an array `(H, W, ...)`, for messages."""
    return f"{shape[1]}x{shape[0]} px"
