"""The compositing stage: refine each frame's matte and composite it over the background."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from streamseg.composite.background import Background, chosen_background, without_subject
from streamseg.composite.blend import blend, blend_planes
from streamseg.composite.foreground import foreground_colour, fuse_rgb, multilevel_colour
from streamseg.composite.guided_filter import Alpha, refine
from streamseg.composite.look import Look
from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.settings import CompositeSettings, Foreground
from streamseg.workspace import workspace
from streamseg.yuv import AnyImage, RgbImage, YuvImage


def composite(
    batches: Iterable[Batch], settings: CompositeSettings, override: Background | None = None
) -> Iterator[Frame]:
    """Composite frames with their mattes.

    Args:
        batches: frames and their mattes.
        settings: name the background, or ask for the matte.
        override: an open background to take instead of the settings', which is not closed.

    Yields:
        One frame for each that came in: the composite; RGBA `(H, W, 4)` with straight alpha without a background; or
        the matte `(H, W)` if the settings ask for it.
    """
    look = Look.of(settings)
    with chosen_background(settings, override) as background:
        for batch in batches:
            for frame, alpha in zip(batch.frames, batch.alpha, strict=True):
                yield replace(
                    frame,
                    image=finish(frame, alpha[0].numpy(), background, settings.matte_only, look, settings.foreground),
                )


def finish(
    frame: Frame,
    alpha: Alpha,
    background: Background | None,
    matte_only: bool = False,
    look: Look | None = None,
    foreground: Foreground = "fast",
) -> AnyImage:
    """Composite one frame with alpha float32 `(h, w)` in [0, 1] of any size; see `apply_matte` and `Look`."""
    kept = matte_only or not background
    matte = refine(frame.image, alpha, None if kept else workspace("matte", frame.image.shape[:2], np.uint8))
    return composed(frame, matte, background, matte_only, look, foreground)


def composed(
    frame: Frame,
    matte: Pixels,
    background: Background | None,
    matte_only: bool,
    look: Look | None,
    foreground: Foreground = "fast",
) -> AnyImage:
    """Composite one frame with a full-size matte as `apply_matte` does, with the look that is asked for."""
    if not look:
        return apply_matte(frame, matte, background, matte_only, foreground)
    dressed = look.dress(frame, matte, None if matte_only else background)
    return dressed.complete(apply_matte(dressed.frame, dressed.matte, dressed.background, matte_only, foreground))


def apply_matte(
    frame: Frame,
    matte: Pixels,
    background: Background | None,
    matte_only: bool = False,
    foreground: Foreground = "fast",
) -> AnyImage:
    """Composite one frame with a full-size matte; a frame's own alpha multiplies the matte.

    Soft edges take the foreground's own colour, so that neither a composite nor a foreground shows the old background.

    Args:
        frame: RGB, RGBA, grey or YUV; a YUV frame gets a YUV composite.
        matte: `(H, W)` uint8.
        background: None for the foreground in RGBA.
        matte_only: return the matte.
        foreground: how the foreground's colour is estimated; with `ml`, a YUV frame gets an RGB composite.

    Raises:
        MissingExtraError: `ml` is asked for and pymatting is not installed.
    """
    background = background and without_subject(background, matte)
    if background and not matte_only and foreground == "fast" and isinstance(frame.image, YuvImage):
        return blend_planes(frame.image, background.yuv_at(frame), matte)
    if frame.kind == "foreground":
        matte = cv2.multiply(matte, frame.pixels[..., 3], scale=1 / 255).astype(np.uint8, copy=False)
    if matte_only:
        return RgbImage(matte)
    rgb = frame.image.rgb
    if not background:
        own = foreground_colour if foreground == "fast" else multilevel_colour
        return RgbImage(with_alpha(own(rgb, matte), matte))
    back = background.frame_at(frame)
    if foreground == "ml":
        return RgbImage(blend(multilevel_colour(rgb, matte), back, matte))
    blended = blend(rgb, back, matte)
    fuse_rgb(blended, rgb, back, matte)
    return RgbImage(blended)


def with_alpha(rgb: Pixels, matte: Pixels) -> Pixels:
    """Append the matte to RGB -> RGBA `(H, W, 4)`."""
    rgba = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).astype(np.uint8, copy=False)
    return cv2.insertChannel(matte, rgba, 3).astype(np.uint8, copy=False)
