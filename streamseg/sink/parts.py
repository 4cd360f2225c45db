"""Parts of an output that were written apart, each with some of its frames, and the sink that joins them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

from streamseg.media.storage import AnyPath


@dataclass(frozen=True, slots=True)
class Part:
    """A finished file with consecutive frames of a video, or a folder of images.

    Attributes:
        path: the file, or the folder with images named by their number within the part.
        frames: number of frames.
        last_pts: pts of the last frame in seconds.
        end: end of the last frame in seconds, which not every container keeps.
        first_number: number of the first image in the whole sequence.
    """

    path: AnyPath
    frames: int
    last_pts: Fraction
    end: Fraction
    first_number: int = 0


@runtime_checkable
class JoiningSink(Protocol):
    """A sink that takes parts in place of frames; they must be written in the same format."""

    def take(self, part: Part) -> None:
        """Write the next part's frames as they are, without encoding them again.

        Raises:
            OutputError: the part cannot be read, or the output not written.
        """
        ...
