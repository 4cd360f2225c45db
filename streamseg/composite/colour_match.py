"""Colours of the foreground moved towards those of the background, smoothly over time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.frames import Frame
from streamseg.image import Pixels, reduced
from streamseg.smooth.scene_cuts import CutDetector
from streamseg.yuv import CHROMA_LEVELS, LUMA_LEVELS, NEUTRAL_CHROMA, AnyImage, RgbImage, YuvImage

Floats = npt.NDArray[np.float32]

SMALL_SIDE_PX = 96
"""Long side of the images whose colours are compared."""

MEAN_STRENGTH = (0.25, 0.35, 0.35)
"""Share of the way that the mean of L, a and b goes: more of the tint than of the brightness, which faces need."""
MAX_SHIFT = (8.0, 5.0, 5.0)
"""Greatest change of the mean of L, a and b, so that nobody turns dark before a night or green before a meadow."""

SPREAD_STRENGTH = 0.3
"""Exponent of the ratio of the spreads: how much of the background's contrast the foreground takes on."""
SPREAD_RANGE = (0.9, 1.1)
"""Least and greatest factor of the spread."""

EXPONENT_RANGE = (0.75, 1.33)
"""Least and greatest power of Y: a dark coat is not made grey for the sake of its mean."""

SURE_ALPHA = 0.9
LEAST_SHARE = 0.003
"""Alpha of the pixels that are the foreground's own, and the share of the frame that they have to cover to count."""

TIME_CONSTANT_SECONDS = 0.7
"""Of the smoothing over time; 1 % is left of what was after 3 seconds, for which a resumed run starts earlier."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """How Y in [0, 1], and Cb and Cr in [-.5, .5], change.

    Y gets a power, which leaves black and white where they are, and a slope about its mean; Cb and Cr straight lines.

    Attributes:
        values: `(7,)`: exponent of Y, its slope and mean; slope and offset of Cb, and of Cr.
    """

    values: npt.NDArray[np.float64]

    def towards(self, other: Curves, weight: float) -> Curves:
        """Return the curves that lie between these and others."""
        return Curves(self.values + weight * (other.values - self.values))

    def apply(self, image: AnyImage) -> AnyImage:
        """Return an image without alpha in other colours; one in YUV stays in YUV."""
        if isinstance(image, YuvImage):
            changed = YuvImage.empty(image.shape, image.matrix)
            tables = self._tables(image.black, LUMA_LEVELS, CHROMA_LEVELS)
            for target, plane, table in zip(changed.planes, image.planes, tables, strict=True):
                cv2.LUT(plane, table, target)
            return changed
        y, cb, cr = self._tables(0, 255, 255)
        converted = cv2.cvtColor(image.rgb, cv2.COLOR_RGB2YCrCb)
        cv2.LUT(converted, np.stack([y, cr, cb], axis=-1)[None], converted)
        return RgbImage(cv2.cvtColor(converted, cv2.COLOR_YCrCb2RGB).astype(np.uint8, copy=False))

    def _tables(self, black: int, luma_levels: int, chroma_levels: int) -> tuple[Pixels, Pixels, Pixels]:
        """Return the table `(256,)` of Y, Cb and Cr, whose levels have these ranges."""
        exponent, slope, mean, *lines = self.values
        y = np.clip((np.arange(256) - black) / luma_levels, 0, 1) ** exponent
        luma = np.clip((y - mean) * slope + mean, 0, 1) * luma_levels + black
        c = (np.arange(256) - NEUTRAL_CHROMA) / chroma_levels
        cb, cr = (
            np.clip(gain * c + offset, -0.5, 0.5) * chroma_levels + NEUTRAL_CHROMA
            for gain, offset in (lines[:2], lines[2:])
        )
        return _levels(luma), _levels(cb), _levels(cr)


UNCHANGED = Curves(np.array([1.0, 1, 0.5, 1, 0, 1, 0]))


class ColourMatcher:
    """Matches the foregrounds of one stream; starts anew at a scene cut and where time runs backwards."""

    def __init__(self) -> None:
        self._cuts = CutDetector()
        self._before: Curves | None = None
        self._curves: Curves | None = None
        self._last_index, self._last_pts, self._elapsed_seconds, self._begins_anew = -1, 0.0, 0.0, True
        self._back: tuple[AnyImage, Floats] | None = None

    def step(self, frame: Frame, matte: Pixels, back: AnyImage) -> AnyImage:
        """Return the next frame's image with its foreground's colours matched, or that of the last frame once more.

        Args:
            frame: the frame.
            matte: `(H, W)` uint8.
            back: the background.
        """
        if (frame.index, float(frame.pts)) != (self._last_index, self._last_pts):
            self._go_to(frame)
        wanted = self._wanted(frame.image, matte, back)
        if self._begins_anew or self._before is None:
            curves = wanted or UNCHANGED
        else:
            weight = 1 - math.exp(-self._elapsed_seconds / TIME_CONSTANT_SECONDS)
            curves = self._before.towards(wanted, weight) if wanted else self._before
        self._curves = curves
        return curves.apply(frame.image)

    def _go_to(self, frame: Frame) -> None:
        """Keep what was before a frame, which may be asked for more than once."""
        self._elapsed_seconds = float(frame.pts) - self._last_pts
        self._begins_anew = self._cuts.is_cut(frame.image) or self._elapsed_seconds <= 0
        self._before = self._curves
        self._last_index, self._last_pts = frame.index, float(frame.pts)

    def _wanted(self, image: AnyImage, matte: Pixels, back: AnyImage) -> Curves | None:
        """Return the curves for one frame by itself; None if it shows too little of a foreground."""
        size = _small_size(matte.shape)
        sure = reduced(matte, *size) >= SURE_ALPHA * 255
        if sure.mean() < LEAST_SHARE:
            return None
        if self._back is None or self._back[0] is not back:
            self._back = back, _in_lab(_floats(back, size))
        rgb = _floats(image, size)
        front = _in_lab(rgb)[sure]
        matched, slope = _matched(front, self._back[1].reshape(-1, 3))
        after = np.clip(cv2.cvtColor(matched[None], cv2.COLOR_LAB2RGB)[0], 0, 1).astype(np.float32)
        return _fitted(rgb[sure], after, slope)


def _matched(front: Floats, back: Floats) -> tuple[Floats, float]:
    """Move mean and spread of CIELAB colours `(N, 3)` towards those of others; return the factor of L's spread, too.

    Source: Reinhard, Ashikhmin, Gooch and Shirley, "Color Transfer between Images", IEEE CG&A 2001, in part strength.
    """
    mean, spread = front.mean(0), front.std(0) + 1e-3
    shift = np.clip((back.mean(0) - mean) * MEAN_STRENGTH, -np.array(MAX_SHIFT), MAX_SHIFT)
    factor = np.clip(((back.std(0) + 1e-3) / spread) ** SPREAD_STRENGTH, *SPREAD_RANGE)
    return ((front - mean) * factor + mean + shift).astype(np.float32), float(factor[0])


def _fitted(before: Floats, after: Floats, slope: float) -> Curves:
    """Return the curves that come nearest to a change of RGB `(N, 3)` in [0, 1], with a slope for Y."""
    x, y = (_ycc(rgb) for rgb in (before, after))
    mean_x, mean_y = x.mean(0), y.mean(0)
    variance = ((x - mean_x) ** 2).mean(0)
    # Of a flat foreground no slope is known: the prior of 1 counts as much as a spread of a hundredth.
    gains = (((x - mean_x) * (y - mean_y)).mean(0) + 1e-4) / (variance + 1e-4)
    offsets = mean_y - gains * mean_x
    dark, bright = np.clip([mean_x[0], mean_y[0]], 0.02, 0.98)
    exponent = np.clip(math.log(bright) / math.log(dark), *EXPONENT_RANGE)
    return Curves(np.array([exponent, slope, bright, gains[1], offsets[1], gains[2], offsets[2]]))


def _levels(values: npt.NDArray[np.float64]) -> Pixels:
    levels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return levels


def _ycc(rgb: Floats) -> npt.NDArray[np.float64]:
    """Convert RGB `(N, 3)` in [0, 1] to Y in [0, 1], Cb and Cr in [-.5, .5]."""
    y, cr, cb = np.moveaxis(cv2.cvtColor(rgb[None], cv2.COLOR_RGB2YCrCb)[0], -1, 0).astype(np.float64)
    return np.stack([y, cb - 0.5, cr - 0.5], axis=-1)


def _in_lab(rgb: Floats) -> Floats:
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB).astype(np.float32, copy=False)


def _floats(image: AnyImage, size: tuple[int, int]) -> Floats:
    """Return RGB in [0, 1] reduced to width and height."""
    small = image.resized_rgb(*size) if isinstance(image, YuvImage) else reduced(image.rgb, *size)
    return small.astype(np.float32) / np.float32(255)


def _small_size(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = shape[:2]
    scale = min(1, SMALL_SIDE_PX / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))
