"""What every source can do, and the checks that they share."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo

STANDARD_INPUT = "-"
MIN_SIDE_PX = 16
"""Smallest side of a picture: less holds no outline to find."""


class Source(Protocol):
    """A stream of frames: iterate once, inside `with`.

    Attributes:
        info: what is known before the first frame is used.
        decode_error: after the last frame, one line on what could not be decoded, or None.
    """

    info: VideoInfo
    decode_error: str | None

    def __iter__(self) -> Iterator[Frame]:
        """Yields every frame once."""
        ...

    def skip_to(self, time: Fraction) -> None:
        """Leaves out frames before `time`, in seconds, where that is quicker than to pass them over."""
        ...

    def __enter__(self) -> Self:
        """Returns the source itself."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes what the source holds open."""
        ...


class ClosingSource:
    """A source that closes itself at the end of `with`."""

    decode_error: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def skip_to(self, time: Fraction) -> None:
        """Nothing is quicker by default."""

    def close(self) -> None:
        """Nothing to close by default."""


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
