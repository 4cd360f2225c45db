"""Smoothing along the motion: average each matte with those before and after it, moved with what the frames show."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels
from streamseg.smooth.flow import FlowEstimator, Motion, Places, Plane, fetched

Alpha = npt.NDArray[np.float32]
"""`(h, w)` in [0, 1]."""

LOOK_AHEAD = 2
"""Frames after a frame that its matte is averaged with, where they can be waited for."""

CAUSAL_SHARE = 0.7
"""Share of the time constant that is left if no later frames are waited for: what lags cannot be put right by them."""

LEAST_CERTAINTY = 0.1
"""Weight of alpha 0.5 in an average; that of 0 and of 1 is one more."""

EDGE_PX, EDGE_CHANGE = 5, 0.2
"""Changes narrower than this many pixels are edges that the flow has not followed: beyond about this change of alpha
an average leaves them out. Wider ones are flicker."""
EDGE_WINDOW = np.ones((EDGE_PX, EDGE_PX), np.uint8)

SAME_MOTION, SAME_MOTION_PX2 = 0.01, 0.5
"""Forward and backward flow agree if the square of their sum is below this share of the sum of their squares, and this
much more; equation 5 of Sundaram, Brox and Keutzer, "Dense Point Trajectories by GPU-accelerated Large Displacement
Optical Flow", ECCV 2010."""

SAME_GREY = 12
"""Levels by which a pixel may differ from where it came from. A hand that is fast enough to be in a place for one frame
alone leaves the same matte as a flash of the network, but it is seen in the frame."""

AGREED_ALPHA, AGREED_WEIGHT = 0.2, 0.5
"""The mattes before and after a frame overrule its own where they differ by less than so much alpha and each weighs at
least so much."""


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """A weighted mean of mattes.

    Attributes:
        alpha: the mean.
        weight: `(h, w)`, sum of the weights.
    """

    alpha: Alpha
    weight: Alpha

    @classmethod
    def of(cls, alpha: Alpha) -> Self:
        """Weigh a matte by its own certainty."""
        return cls(alpha, np.asarray(LEAST_CERTAINTY + np.square(2 * alpha - 1), np.float32))

    def with_matte(self, matte: Average) -> Average:
        """Add a matte, and reduce what was there where an edge has moved away from it."""
        return self.reduced(_likeness(self.alpha, matte.alpha)).joined(matte)

    def reduced(self, share: Alpha) -> Average:
        """Multiply the weight."""
        return Average(self.alpha, self.weight * share)

    def joined(self, other: Average) -> Average:
        """Average the two."""
        weight = self.weight + other.weight
        return Average((self.alpha * self.weight + other.alpha * other.weight) / weight, weight)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The motion between two frames that follow each other.

    Attributes:
        before: places of this frame's pixels in the frame before.
        before_trust: 1 where they can be relied on, else 0.
        after: places of the pixels of the frame before in this one.
        after_trust: 1 where they can be relied on, else 0.
        decay: share of an average's weight that is left after the time between them.
    """

    before: Places
    before_trust: Alpha
    after: Places
    after_trust: Alpha
    decay: float

    @classmethod
    def between(cls, earlier: Pixels, later: Pixels, decay: float, flow: FlowEstimator, shape: tuple[int, ...]) -> Self:
        """Estimate it from small grey frames, uint8, for mattes of `shape` (h, w)."""
        before, after = flow.motion(later, earlier), flow.motion(earlier, later)
        grid, full = flow.grid(later.shape), flow.grid(shape)
        return cls(
            _enlarged(before, full),
            _enlarged_trust(later, earlier, before, after, before.places(grid), shape),
            _enlarged(after, full),
            _enlarged_trust(earlier, later, after, before, after.places(grid), shape),
            decay,
        )

    def forward(self, average: Average) -> Average:
        """Move an average from the frame before to this one."""
        return _moved(average, self.before, self.before_trust, self.decay)

    def backward(self, average: Average) -> Average:
        """Move an average from this frame to the one before."""
        return _moved(average, self.after, self.after_trust, self.decay)


@dataclass(frozen=True, slots=True, eq=False)
class _Moment:
    """A small grey frame, its own matte, and the motion from the frame before: None at the start of a scene."""

    grey: Pixels
    matte: Average
    step: Step | None


class MotionFilter:
    """Smooths the mattes of one stream along dense optical flow.

    What is known before a frame is one average, which moves on with the frames and fades, so that memory stays the same
    however long the stream is. What is known after it comes from the next `look_ahead` frames.
    """

    def __init__(self, time_constant_seconds: float, look_ahead: int = 0) -> None:
        """Start without mattes.

        Args:
            time_constant_seconds: in which an average's weight fades to 1 / e.
            look_ahead: frames that each matte waits for; 0 for live sources.
        """
        self._time_constant = time_constant_seconds * (1 if look_ahead else CAUSAL_SHARE)
        self._look_ahead = look_ahead
        self._flow = FlowEstimator(halvings=1, patch_step_px=6)
        self._waiting: deque[_Moment] = deque()
        self._last: _Moment | None = None
        self._past: Average | None = None

    def push(self, grey: Pixels, alpha: Alpha, elapsed_seconds: float) -> list[Alpha]:
        """Take the next frame and return the mattes that are finished by it, in order: one or none.

        Args:
            grey: the frame at the matte's size, uint8 `(h, w)`.
            alpha: its matte.
            elapsed_seconds: time since the last frame; 0 at the start of a scene, across which nothing is averaged.
        """
        small, step = _halved(grey), None
        if self._last and elapsed_seconds > 0 and self._last.matte.alpha.shape == alpha.shape:
            decay = math.exp(-elapsed_seconds / self._time_constant)
            step = Step.between(self._last.grey, small, decay, self._flow, alpha.shape)
        self._last = _Moment(small, Average.of(alpha), step)
        self._waiting.append(self._last)
        return [self._finish()] if len(self._waiting) > self._look_ahead else []

    def flush(self) -> list[Alpha]:
        """Return the mattes that still wait for later frames, of which there are none."""
        return [self._finish() for _ in range(len(self._waiting))]

    def _finish(self) -> Alpha:
        """Average the matte that has waited longest."""
        moment = self._waiting.popleft()
        own = moment.matte
        before = moment.step.forward(self._past) if moment.step and self._past else None
        after = _what_follows(self._waiting)
        self._past = before.with_matte(own) if before else own
        if not after:
            return self._past.alpha
        found = self._past.joined(after.reduced(_likeness(after.alpha, own.alpha))).alpha
        return _overruled(found, own.alpha, before, after) if before else found


def _what_follows(moments: Iterable[_Moment]) -> Average | None:
    """Average the mattes after a frame, as far as its scene goes, and move them to it."""
    scene: list[tuple[Step, Average]] = []
    for moment in moments:
        if moment.step is None:
            break
        scene.append((moment.step, moment.matte))
    average: Average | None = None
    for step, matte in reversed(scene):
        average = step.backward(average.with_matte(matte) if average else matte)
    return average


def _overruled(found: Alpha, own: Alpha, before: Average, after: Average) -> Alpha:
    """Put what stands both before and after in the place of a matte that differs: a hole or an island of a frame."""
    agreed = np.maximum(1 - cv2.absdiff(before.alpha, after.alpha) / AGREED_ALPHA, 0)
    agreed *= np.minimum(before.weight, after.weight) > AGREED_WEIGHT
    both = (before.alpha + after.alpha) / 2
    change = cv2.absdiff(own, both).astype(np.float32, copy=False)
    agreed *= np.clip(4 * _broad(change) - 1, 0, 1)
    return np.asarray(found + agreed * (both - found), np.float32)


def _moved(average: Average, places: Places, trust: Alpha, decay: float) -> Average:
    return Average(fetched(average.alpha, places), fetched(average.weight, places) * (trust * np.float32(decay)))


def _enlarged_trust(
    grey: Pixels, other: Pixels, motion: Motion, back: Motion, places: Places, shape: tuple[int, ...]
) -> Alpha:
    """Return 1 where the motion to another frame can be relied on, else 0, at the mattes' size.

    Args:
        grey: the small frame.
        other: the small frame that it is compared with.
        motion: from this frame to the other.
        back: from the other to this one.
        places: of this frame's pixels in the other.
        shape: of the mattes.
    """
    return _resized(_comes_back(motion, back, places) * _is_seen(grey, other, places), shape)


def _comes_back(motion: Motion, back: Motion, places: Places) -> Alpha:
    """Return 1 where a pixel that goes to another frame and back comes to rest where it was, else 0."""
    returned = Motion(fetched(back.x, places), fetched(back.y, places))
    limit = SAME_MOTION * (motion.square_px2() + returned.square_px2()) + SAME_MOTION_PX2
    return np.asarray(Motion(motion.x + returned.x, motion.y + returned.y).square_px2() < limit, np.float32)


def _is_seen(grey: Pixels, other: Pixels, places: Places) -> Alpha:
    """Return 1 where a frame looks like the other one at the places it came from, else 0: something passes there."""
    moved = fetched(other.astype(np.float32), places)
    return np.asarray(np.abs(grey - moved) < SAME_GREY, np.float32)


def _halved(grey: Pixels) -> Pixels:
    """Return the frame at half its size, at which the flow is half the work and the mattes are no worse."""
    half = tuple((side + 1) // 2 for side in reversed(grey.shape))
    return cv2.resize(grey, half, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _enlarged(motion: Motion, grid: Places) -> Places:
    """Turn the motion of a small frame into places in the larger one whose grid is given."""
    height, width = grid.x.shape
    small_height, small_width = motion.x.shape
    return Places(
        _scaled_onto(_resized(motion.x, grid.x.shape), width / small_width, grid.x),
        _scaled_onto(_resized(motion.y, grid.y.shape), height / small_height, grid.y),
    )


def _scaled_onto(values: Plane, factor: float, target: Plane) -> Plane:
    return np.asarray(cv2.scaleAdd(values, factor, target), np.float32)


def _resized(values: Plane, shape: tuple[int, ...]) -> Plane:
    return np.asarray(cv2.resize(values, shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _likeness(one: Alpha, other: Alpha) -> Alpha:
    """Return 1 where two mattes are alike or differ over a broad area, and less where an edge has moved."""
    change = cv2.absdiff(one, other).astype(np.float32, copy=False)
    narrow = change - _broad(change)
    return np.asarray(cv2.exp(cv2.multiply(narrow, narrow, narrow, -1 / EDGE_CHANGE**2)), np.float32)


def _broad(change: Alpha) -> Alpha:
    """Keep the changes that are broader than an edge."""
    return np.asarray(cv2.morphologyEx(change, cv2.MORPH_OPEN, EDGE_WINDOW), np.float32)
