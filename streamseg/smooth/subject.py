"""Who stays: one subject of a scene, chosen at its start and followed by where it was a frame before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from streamseg.smooth.motion import Alpha
from streamseg.smooth.parts import Mask, Parts, parts_of, pixels_by_part

Point = tuple[float, float]
"""Fractions of the frame's width and height, from the upper left corner."""

CENTRE: Point = (0.5, 0.5)

SOLID = 0.5
"""Alpha from which on pixels belong to a body; bodies are connected parts."""

LEAST_SHARE = 5e-4
"""Share of the frame that a body has to fill to be chosen."""

LOST_SECONDS = 1.0
"""A subject that has not been seen for so long is forgotten, and another one chosen."""


@dataclass(frozen=True, slots=True, eq=False)
class SubjectMemory:
    """Where the subject was last seen, chosen at the start of a scene, and the others; None where none is chosen.

    Attributes:
        kept: `(h, w)`, the subject's body.
        others: `(h, w)`, the other bodies of the frame before.
        lost_seconds: time since the subject was seen.
    """

    kept: Mask | None = None
    others: Mask | None = None
    lost_seconds: float = 0.0


NOBODY = SubjectMemory()


class SubjectTracker:
    """Takes everything but one subject out of the mattes of one stream.

    Attributes:
        memory: of the frames so far; it may be replaced by that of another tracker.
    """

    def __init__(self, place: Point | Literal["largest"]) -> None:
        """Take how the subject is chosen: as the largest body, or as the one nearest to a point."""
        self._place = place
        self.memory = NOBODY

    def step(self, alpha: Alpha, elapsed_seconds: float) -> Alpha:
        """Take the others out of the next matte.

        Args:
            alpha: the matte.
            elapsed_seconds: time since the last one; 0 at the start of a scene, where the subject is chosen anew.
        """
        known = self.memory.kept
        if elapsed_seconds <= 0 or (known is not None and known.shape != alpha.shape):
            self.memory = NOBODY
        kept, others = self._sorted(alpha, elapsed_seconds)
        if not kept.any():
            return np.zeros_like(alpha)
        if not others.any():
            return alpha
        # What is softer than a body belongs to the nearest one.
        return alpha * (_distances(kept) <= _distances(others))

    def _sorted(self, alpha: Alpha, elapsed_seconds: float) -> tuple[Mask, Mask]:
        """Return where the subject's body is, and where those of the others are."""
        bodies, count = parts_of(alpha >= SOLID)
        known = self.memory
        if known.kept is None or known.others is None:
            kept = self._chosen(bodies, count)
        else:
            kept = _followed(bodies, count, known.kept, known.others, shares=known.lost_seconds == 0)
        others: Mask = (bodies > 0) & ~kept
        if kept.any():
            self.memory = SubjectMemory(kept, others)
        else:
            lost_seconds = known.lost_seconds + elapsed_seconds
            self.memory = NOBODY if lost_seconds > LOST_SECONDS else SubjectMemory(known.kept, others, lost_seconds)
        return kept, others

    def _chosen(self, bodies: Parts, count: int) -> Mask:
        """Return the body that the scene is about; none if there is none of some size."""
        areas_px = pixels_by_part(bodies, bodies > 0, count)
        large = areas_px >= max(1.0, LEAST_SHARE * bodies.size)
        if not large.any():
            return np.zeros(bodies.shape, np.bool_)
        if self._place == "largest":
            return np.asarray(bodies == int(areas_px.argmax()), np.bool_)
        height, width = bodies.shape
        away_px = _distances_to(self._place[0] * (width - 1), self._place[1] * (height - 1), bodies.shape)
        away_px[~large[bodies]] = np.inf
        return np.asarray(bodies == bodies.ravel()[int(away_px.argmin())], np.bool_)


def _followed(bodies: Parts, count: int, kept: Mask, others: Mask, shares: bool) -> Mask:
    """Return the bodies that lie where the subject was.

    A body that is also where others were is parted between them; if not `shares`, it is the others'.
    """
    is_kept, is_other = (pixels_by_part(bodies, was, count) > 0 for was in (kept, others))
    is_kept[0] = False
    followed = (is_kept & ~is_other)[bodies]
    shared = (is_kept & is_other)[bodies]
    if shares and shared.any():
        followed |= shared & (_distances(kept) <= _distances(others))
    return np.asarray(followed, np.bool_)


def _distances(mask: Mask) -> Alpha:
    """Return each pixel's distance from a mask, in pixels."""
    return np.asarray(cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, 3), np.float32)


def _distances_to(x: float, y: float, shape: tuple[int, ...]) -> Alpha:
    rows, columns = np.indices(shape, np.float32)
    return np.asarray(np.hypot(columns - np.float32(x), rows - np.float32(y)), np.float32)
