"""The look of composites: feathered edges, colours matched to the background, its light on the edge, and a shadow.

Each is off by default and then costs nothing. `Look.dress` prepares what is composited, `Dressed.complete` adds what
lies over the composite; between them the stage composites as always.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from streamseg.composite.background import Background, without_subject
from streamseg.composite.blend import blend
from streamseg.composite.colour_match import ColourMatcher
from streamseg.frames import Frame
from streamseg.image import Pixels, reduced
from streamseg.settings import CompositeSettings
from streamseg.workspace import workspace
from streamseg.yuv import NEUTRAL_CHROMA, AnyImage, RgbImage, YuvImage

REDUCTION = 8
"""Factor by which mattes and backgrounds are reduced for what is soft."""

WRAP_SCALE = 1 / 120
"""Standard deviation of the light on the edge as a fraction of the long side."""
LIGHT_SCALE = 1 / 60
"""The same of the background's light, so that its detail is not drawn on the foreground."""

SHADOW_SCALE = 1 / 40
"""Standard deviation of the shadow as a fraction of the long side."""
SHADOW_OFFSET = (1 / 60, 1 / 40)
"""Place of the shadow to the right of the subject and below it, as fractions of the long side."""
SHADOW_DEPTH = 0.4
"""Share of the light that the shadow takes where it is deepest."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """The background of one frame, as it was made."""

    image: AnyImage

    def frame_at(self, frame: Frame) -> Pixels:
        """See `Background`."""
        return self.image.rgb

    def yuv_at(self, frame: Frame) -> YuvImage:
        """See `Background`."""
        return self.image.as_yuv()

    def close(self) -> None:
        """See `Background`."""


@dataclass(frozen=True, slots=True, eq=False)
class Dressed:
    """What is composited in place of a frame, its matte and its background.

    Attributes:
        frame: with matched colours.
        matte: feathered.
        background: with the shadow on it; None without a background.
        light_wrap: strength of the light that `complete` adds.
    """

    frame: Frame
    matte: Pixels
    background: Background | None
    light_wrap: float = 0.0

    def complete(self, composite: AnyImage) -> AnyImage:
        """Add the background's light on the foreground's edge to the composite, which is written to and returned."""
        if self.light_wrap and isinstance(self.background, Given):
            _add_light(composite, self.background.image, self.matte, self.light_wrap)
        return composite


class Look:
    """Dresses the frames of one stream as the settings say."""

    def __init__(self, settings: CompositeSettings) -> None:
        self._settings, self._matcher = settings, ColourMatcher()

    @classmethod
    def of(cls, settings: CompositeSettings) -> Look | None:
        """Return the look that the settings ask for; None if there is nothing to do."""
        chosen = settings.feather or settings.light_wrap or settings.match_colors or settings.shadow
        return cls(settings) if chosen else None

    def changed(self, settings: CompositeSettings) -> Look | None:
        """Return the look of other settings, with the colours where they are."""
        look = Look.of(settings)
        if look:
            look._matcher = self._matcher
        return look

    def dress(self, frame: Frame, matte: Pixels, background: Background | None) -> Dressed:
        """Prepare the next frame; what needs a background is left out without one.

        Args:
            frame: RGB, RGBA or YUV.
            matte: `(H, W)` uint8.
            background: None for a foreground or a matte.
        """
        settings = self._settings
        if settings.feather:
            # What is written must not lie in an array that the next frame takes.
            kept = background is None
            matte = feathered(matte, settings.feather, None if kept else workspace("feathered", matte.shape, np.uint8))
        if background is None:
            return Dressed(frame, matte, None)
        if frame.kind == "foreground":  # Its own alpha counts for the look, too, and must not count twice.
            matte = cv2.multiply(matte, frame.pixels[..., 3], scale=1 / 255).astype(np.uint8, copy=False)
            frame = replace(frame, image=RgbImage(frame.image.rgb))
        is_yuv = isinstance(frame.image, YuvImage)
        background = without_subject(background, matte)
        back: AnyImage = background.yuv_at(frame) if is_yuv else RgbImage(background.frame_at(frame))
        if settings.match_colors:
            frame = replace(frame, image=self._matcher.step(frame, matte, back))
        if settings.shadow:
            back = _shadowed(back, matte)
        return Dressed(frame, matte, Given(back), settings.light_wrap)


def feathered(matte: Pixels, feather_px: int, out: Pixels | None = None) -> Pixels:
    """Let the edge rise over some pixels inwards from where it is: outwards the old background would show.

    Args:
        matte: `(H, W)` uint8.
        feather_px: width of the rise from 0 to 255 at a hard edge.
        out: array for the result, which may be None.
    """
    side_px = 2 * feather_px + 1
    mean = cv2.blur(matte, (side_px, side_px), workspace("mean", matte.shape, np.uint8), borderType=cv2.BORDER_REFLECT)
    raised = cv2.addWeighted(mean, 2, mean, 0, -255, out)
    return cv2.min(raised, matte, raised).astype(np.uint8, copy=False)


def _add_light(composite: AnyImage, back: AnyImage, matte: Pixels, strength: float) -> None:
    """Lighten the foreground's edge where the background behind it is brighter, in the background's colour.

    Args:
        composite: written to.
        back: its background.
        matte: `(H, W)` uint8.
        strength: in [0, 1].
    """
    small_size = _small_size(matte.shape)
    deviation_px = max(1.0, WRAP_SCALE * max(small_size))
    behind = cv2.bitwise_not(cv2.GaussianBlur(reduced(matte, *small_size), (0, 0), deviation_px))
    # At a straight edge half of what is near is background: twice that is the whole strength.
    reach = np.minimum(cv2.convertScaleAbs(behind, alpha=2 * strength), round(255 * strength))
    weight = workspace("wrap", matte.shape, np.uint8)
    cv2.resize(reach, matte.shape[::-1], weight)
    cv2.multiply(weight, matte, weight, 1 / 255)
    if isinstance(composite, YuvImage) and isinstance(back, YuvImage):
        _add_light_to_planes(composite, back.in_matrix(composite.matrix), weight, small_size)
        return
    brighter = _soft(back.rgb, small_size, composite.rgb.shape, "light")
    cv2.subtract(brighter, composite.rgb, brighter)
    cv2.multiply(brighter, cv2.merge([weight] * 3), brighter, 1 / 255)
    cv2.add(composite.rgb, brighter, composite.rgb)


def _add_light_to_planes(composite: YuvImage, back: YuvImage, weight: Pixels, small_size: tuple[int, int]) -> None:
    """Add light in YUV: Y grows where the light is brighter, and there Cb and Cr go towards the light's."""
    y, *chroma = composite.planes
    added = _soft(back.y, small_size, y.shape, "light")
    cv2.subtract(added, y, added)
    cv2.multiply(added, weight, added, 1 / 255)
    cv2.add(y, added, y)
    # The tint follows the light that is added: where half of the light at hand is new, so is half of the tint.
    cv2.divide(added, y, added, 255)
    tint = cv2.resize(added, chroma[0].shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    half_size = max(1, small_size[0] // 2), max(1, small_size[1] // 2)
    for own, plane in zip(chroma, back.planes[1:], strict=True):
        blend(_soft(plane, half_size, own.shape, "tint"), own, tint, own)


def _soft(plane: Pixels, small_size: tuple[int, int], shape: tuple[int, ...], purpose: str) -> Pixels:
    """Blur a plane or an image at a reduced size -> the same at its own, in a workspace."""
    soft = cv2.GaussianBlur(reduced(plane, *small_size), (0, 0), max(1.0, LIGHT_SCALE * max(small_size)))
    out = workspace(purpose, shape, np.uint8)
    return cv2.resize(soft, shape[1::-1], out, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _shadowed(back: AnyImage, matte: Pixels) -> AnyImage:
    """Darken a background by a soft shadow of the subject, a little to the right and below; the background is kept."""
    light = _light_left(matte)
    if isinstance(back, YuvImage):
        darkened = YuvImage.empty(back.shape, back.matrix)
        small = cv2.resize(light, back.cb.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        black = (back.black, NEUTRAL_CHROMA, NEUTRAL_CHROMA)
        for plane, target, level, left in zip(back.planes, darkened.planes, black, (light, small, small), strict=True):
            blend(plane, np.full(plane.shape, level, np.uint8), left, target)
        return darkened
    return RgbImage(cv2.multiply(back.rgb, cv2.merge([light] * 3), scale=1 / 255).astype(np.uint8, copy=False))


def _light_left(matte: Pixels) -> Pixels:
    """Return the share of the light that a shadow leaves, `(H, W)` uint8."""
    height, width = matte.shape
    small = reduced(matte, *_small_size(matte.shape))
    long_side_px = max(small.shape)
    right, below = (share * long_side_px for share in SHADOW_OFFSET)
    moved = cv2.warpAffine(
        small, np.array([[1, 0, right], [0, 1, below]], np.float32), small.shape[::-1], borderMode=cv2.BORDER_REPLICATE
    )
    shadow = cv2.GaussianBlur(moved, (0, 0), max(1.0, SHADOW_SCALE * long_side_px))
    left = cv2.addWeighted(shadow, -SHADOW_DEPTH, shadow, 0, 255)
    return cv2.resize(left, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _small_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return width and height of a reduced image."""
    return max(1, shape[1] // REDUCTION), max(1, shape[0] // REDUCTION)
