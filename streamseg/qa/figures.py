"""The figures of a matte without truth, frame by frame: nothing of a frame is kept but what the next one needs.

    area       mean alpha of the frame
    flicker    what changed though it did not move: the difference from the last alpha, moved along the motion, beyond
               what a place one pixel away explains, summed, over the subject's area
    islands    area of small parts apart from the subject, over the subject's area
    holes      area of holes that opened amid the subject, over its area; a gap that an arm closed is none
    softness   width of the edge in pixels of the frame: 6 times the sum of alpha (1 - alpha) over the outline's length,
               which is the width of a straight ramp
    haze       mean of small alpha away from the subject

All but the softness are measured on frames reduced to `LONG_SIDE_PX`, so that they do not depend on the video's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.flow import FlowWarper, Keyframe
from streamseg.qa.matted import MattedFrame
from streamseg.smooth.scene_cuts import CUT_THRESHOLD, THUMBNAIL_SIDE

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LONG_SIDE_PX = 480
"""Long side of the reduced frames: faults that a viewer sees are several pixels wide there."""

SOLID = 0.5
"""Alpha from which on a pixel belongs to the subject."""

VISIBLE = 0.25
"""Alpha from which on a part shows over any background."""

APART = 0.01
"""Distance of an island from the subject, as a share of the diagonal: strands of hair are nearer."""

FAR = 0.05
"""Distance from the subject beyond which alpha is haze, as a share of the diagonal; as in `train.metrics.haze`."""

ISLAND_OF_SUBJECT = 0.1
"""Largest area of an island over that of the subject: a larger part is a second subject."""

HOLE_OF_SUBJECT = 0.2
"""Largest area of a hole over that of the subject."""

LEAST_PART = 3e-4
"""Least area of an island or a hole as a share of the frame: 25 x 25 pixels of 1920 x 1080."""

LEAST_SUBJECT = 5e-3
"""Share of the frame below which a subject counts as so large, so that specks do not score as whole subjects."""

COMMON_SHARE = 0.02
"""Share of the frame that both mattes must cover for a scene cut to show in foregrounds."""

NEIGHBOURS = np.ones((3, 3), np.uint8)

FAULT_REACH_PX = 7
"""Side of the square by which an open hole may grow from frame to frame."""


@dataclass(frozen=True, slots=True)
class FrameFigures:
    """The figures of one frame, see the module; NaN where the frame has none.

    Attributes:
        index: of the frame.
        seconds: its pts.
        is_cut: a scene begins here.
    """

    index: int
    seconds: float
    area: float
    flicker: float
    islands: float
    holes: float
    softness_px: float
    haze: float
    is_cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class SmallFrame:
    """A reduced frame: what figures are measured on, and what is shown of a moment.

    Attributes:
        rgb: `(h, w, 3)` uint8.
        matte: `(h, w)` uint8.
    """

    rgb: Pixels
    matte: Pixels


class Meter:
    """Measures the frames of one video in order."""

    def __init__(self, shows_background: bool) -> None:
        """Take whether the frames show what is behind the subject, too."""
        self._cuts = _Cuts(shows_background)
        self._warper = FlowWarper()
        self._last: Keyframe | None = None
        self._fault: Mask | None = None

    def measure(self, matted: MattedFrame) -> tuple[FrameFigures, SmallFrame]:
        """Measure the next frame."""
        frame, small = matted.frame, reduced(matted)
        alpha = small.matte.astype(np.float32) / np.float32(255)
        is_cut = self._cuts.is_cut(small)
        grey = cv2.cvtColor(small.rgb, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
        moved = None if is_cut or self._last is None else self._warper.warp(self._last, grey)[0].numpy()
        parts = _Parts.of(alpha)
        self._fault = _opened_holes(alpha, moved, self._fault)
        subject = max(float(alpha.sum()), LEAST_SUBJECT * alpha.size)
        figures = FrameFigures(
            index=frame.index,
            seconds=float(frame.pts),
            area=float(alpha.mean()),
            flicker=math.nan if moved is None else _change(alpha, moved),
            islands=float(alpha[parts.islands].sum()) / subject,
            holes=float((1 - alpha)[self._fault].sum()) / subject,
            softness_px=_softness_px(matted.matte, ~parts.away),
            haze=_mean(alpha[parts.away & (alpha < VISIBLE)]),
            is_cut=is_cut,
        )
        self._last = _keyframe(frame, grey, alpha)
        return figures, small


def reduced(matted: MattedFrame) -> SmallFrame:
    """Average areas of a frame and its matte to `LONG_SIDE_PX`; smaller ones keep their size."""
    height, width = matted.matte.shape
    scale = min(1, LONG_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    matte = cv2.resize(matted.matte, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return SmallFrame(matted.frame.image.resized_rgb(*size), matte)


def _keyframe(frame: Frame, grey: Pixels, alpha: Floats) -> Keyframe:
    return Keyframe(grey, torch.from_numpy(alpha)[None], float(frame.pts), frame.captured_seconds)


def _change(alpha: Floats, moved: Floats) -> float:
    """Return the difference of two mattes as a share of the area that either covers, in [0, 1].

    The flow is often a pixel wrong along an edge: with true mattes of moving people the plain difference is as large as
    with a network's (.03), and beyond a pixel a tenth of it (.003 against .02).
    """
    covered = max(float(np.maximum(alpha, moved).sum()), LEAST_SUBJECT * alpha.size)
    above, below = alpha - cv2.dilate(moved, NEIGHBOURS), cv2.erode(moved, NEIGHBOURS) - alpha
    return float(np.maximum(above, below).clip(min=0).sum()) / covered


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """What is not the subject, each `(h, w)`.

    Attributes:
        islands: small parts apart from it.
        away: pixels further than `FAR` from it, without the islands.
    """

    islands: Mask
    away: Mask

    @classmethod
    def of(cls, alpha: Floats) -> _Parts:
        """Tell the parts of alpha `(h, w)` apart."""
        visible = (alpha >= VISIBLE).astype(np.uint8)
        _, labels, boxes, _ = cv2.connectedComponentsWithStats(visible, connectivity=8)
        areas = boxes[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        largest = int(areas.argmax())
        if not areas[largest]:
            return cls(np.zeros(alpha.shape, np.bool_), np.ones(alpha.shape, np.bool_))
        is_subject = areas > ISLAND_OF_SUBJECT * areas[largest]
        distances = _distances(is_subject[labels])
        near = np.unique(labels[distances <= APART * math.hypot(*alpha.shape)])
        is_island = ~is_subject & (areas >= LEAST_PART * alpha.size)
        is_island[near] = is_island[0] = False
        islands = is_island[labels]
        return cls(islands, (distances > FAR * math.hypot(*alpha.shape)) & ~islands)


def _opened_holes(alpha: Floats, moved: Floats | None, last: Mask | None) -> Mask:
    """Return the holes `(h, w)` whose pixels the subject covered a frame before, or that were such holes then.

    Args:
        alpha: the matte.
        moved: the last matte moved along the motion; None if nothing is known of it.
        last: the holes of the last frame.
    """
    found = np.zeros(alpha.shape, np.bool_)
    if moved is None:
        return found
    covered = moved >= SOLID
    if last is not None:
        covered |= cv2.dilate(last.astype(np.uint8), np.ones((FAULT_REACH_PX, FAULT_REACH_PX), np.uint8)) > 0
    empty = (alpha < SOLID).astype(np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(empty, connectivity=4)
    left, top, width, height, areas = boxes.T
    reaches_border = (left == 0) | (top == 0) | (left + width == alpha.shape[1]) | (top + height == alpha.shape[0])
    limit = HOLE_OF_SUBJECT * float(alpha.sum())
    for label in np.flatnonzero(~reaches_border & (areas >= LEAST_PART * alpha.size) & (areas <= limit)):
        hole = labels == label
        if label and covered[hole].mean() > 0.5:
            found |= hole
    return found


def _softness_px(matte: Pixels, near: Mask) -> float:
    """Return the width of the edge of a full-size matte in pixels; NaN without an edge.

    Args:
        matte: `(H, W)` uint8.
        near: where edges are looked for, `(h, w)`.
    """
    solid = cv2.threshold(matte, 127, 255, cv2.THRESH_BINARY)[1]
    crossings = sum(
        cv2.countNonZero(cv2.bitwise_xor(*pair))
        for pair in ((solid[1:], solid[:-1]), (np.ascontiguousarray(solid[:, 1:]), np.ascontiguousarray(solid[:, :-1])))
    )
    if not crossings:
        return math.nan
    outline_px = math.pi / 4 * crossings  # Crofton's formula with two directions; the frame's border is no outline.
    mask = cv2.resize(near.astype(np.uint8), matte.shape[::-1], interpolation=cv2.INTER_NEAREST)
    counts = cv2.calcHist([matte], [0], mask, [256], [0, 256]).ravel()
    levels = np.arange(256) / 255
    return float(6 * (counts * levels * (1 - levels)).sum() / outline_px)


class _Cuts:
    """Detects scene cuts, in foregrounds by the colours that both mattes show."""

    def __init__(self, shows_background: bool) -> None:
        self._shows_background = shows_background
        self._last: tuple[Floats, Mask] | None = None

    def is_cut(self, small: SmallFrame) -> bool:
        """Return whether a frame begins another scene than the last one; False at the first."""
        size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        colours = cv2.resize(small.rgb, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        shown = cv2.resize(small.matte, size, interpolation=cv2.INTER_AREA) > 127
        last, self._last = self._last, (colours, shown)
        if last is None:
            return False
        common = np.ones_like(shown) if self._shows_background else shown & last[1]
        return common.mean() > COMMON_SHARE and float(np.abs(colours - last[0])[common].mean()) > CUT_THRESHOLD


def _distances(mask: Mask) -> Floats:
    """Return each pixel's distance to the nearest of a mask, in pixels."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3).astype(np.float32, copy=False)


def _mean(values: Floats) -> float:
    return float(values.mean(dtype=np.float64)) if values.size else 0.0
