"""Seams: what two stretches of a video that are matted apart have in common at the cut between them.

The temporal filter forgets, so that a stretch which is begun a little earlier has the same mattes as one run over all.
Gate and choice of a subject may remember the beginning of a scene. So the stretch before runs one frame past the cut:
if its matte differs from the later stretch's first one, that stretch is run again with what the earlier one knew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from streamseg.smooth.gate import GateMemory
from streamseg.smooth.motion import Alpha
from streamseg.smooth.subject import SubjectMemory

if TYPE_CHECKING:
    from torch import Tensor

ONE_LEVEL = 1 / 255
"""Difference of alpha at a seam that is not seen."""


@dataclass(frozen=True, slots=True)
class SceneMemory:
    """What gate and choice of a subject know before a frame; None for what is not in use."""

    gate: GateMemory | None = None
    subject: SubjectMemory | None = None

    def arrays(self) -> dict[str, Any]:
        """Return what `of` takes, as arrays by name."""
        known: dict[str, Any] = {}
        if self.gate:
            known |= {"held_seconds": self.gate.held_seconds, "gain": self.gate.gain}
        if self.subject:
            known |= {"lost_seconds": np.float64(self.subject.lost_seconds)}
            known |= {} if self.subject.kept is None else {"kept": self.subject.kept}
            known |= {} if self.subject.others is None else {"others": self.subject.others}
        return known

    @classmethod
    def of(cls, known: Mapping[str, Any]) -> Self:
        """Make what `arrays` returned into a memory again."""
        gate = GateMemory(known["held_seconds"], known["gain"]) if "gain" in known else None
        subject = None
        if "lost_seconds" in known:
            subject = SubjectMemory(known.get("kept"), known.get("others"), float(known["lost_seconds"]))
        return cls(gate, subject)


class Seams:
    """The two ends of a stretch `[begin, end)` of a video that is matted from before `begin` to after `end`.

    Attributes:
        first: matte `(h, w)` of the first frame at or after `begin`, once it is known.
        following: matte of the first frame at or after `end`.
        memory: what is known before that frame.
    """

    def __init__(self, begin: Fraction | None, end: Fraction | None, known: SceneMemory | None = None) -> None:
        """Take the stretch, by pts in seconds; None is the beginning or the end of the video.

        Args:
            begin: pts from which on frames belong to the stretch.
            end: pts from which on they belong to the next one.
            known: what the stretch before knows at `begin`, in place of what was seen before it here.
        """
        self._begin, self._end, self._known = begin, end, known
        self._has_begun = begin is None
        self.first: Alpha | None = None
        self.following: Alpha | None = None
        self.memory: SceneMemory | None = None

    def memory_at(self, pts: Fraction, memory: SceneMemory) -> SceneMemory:
        """Return what is to be known before the frame at `pts`, given what its stretch knows."""
        if not self._has_begun and self._begin is not None and pts >= self._begin:
            self._has_begun = True
            memory = self._known or memory
        if self.memory is None and self._is_after(pts):
            self.memory = memory
        return memory

    def note(self, pts: Fraction, alpha: Tensor) -> None:
        """Keep the smoothed matte `(1, h, w)` of a frame if the frame is at one of the ends."""
        if self.first is None and (self._begin is None or pts >= self._begin):
            self.first = alpha[0].numpy().copy()
        if self.following is None and self._is_after(pts):
            self.following = alpha[0].numpy().copy()

    def _is_after(self, pts: Fraction) -> bool:
        return self._end is not None and pts >= self._end


def is_seamless(before: Alpha | None, after: Alpha | None) -> bool:
    """Return whether two mattes of one frame are the same to one level of 255; also if there are none to compare."""
    if before is None or after is None:
        return True
    return before.shape == after.shape and bool(np.abs(before - after).max(initial=0) <= ONE_LEVEL)
