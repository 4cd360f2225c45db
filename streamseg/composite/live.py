"""Compositing of a live run: backgrounds change with a cross-fade, and a card stands in where there is no image."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from streamseg.composite.background import Background, VideoBackground, blurred, open_background, over_black
from streamseg.composite.guided_filter import Alpha
from streamseg.composite.look import Look
from streamseg.composite.stage import finish
from streamseg.controls import Controls
from streamseg.errors import InputError, StreamsegError
from streamseg.frames import Batch, Frame
from streamseg.image import Pixels
from streamseg.settings import CompositeSettings
from streamseg.yuv import AnyImage, RgbImage, YuvImage

FADE_SECONDS = 0.3
"""Time of the cross-fade from one look to the next."""

CARD_BLUR = 4.0
"""Strength of the blur of a card, which must not show more than the composite before it did."""
CARD_BRIGHTNESS = 0.45

log = logging.getLogger(__name__)


def composite_live(batches: Iterable[Batch], controls: Controls) -> Iterator[Frame]:
    """Composite frames with their mattes, as the controls say at each frame.

    Yields:
        One frame for each that came in: RGB or YUV; RGBA `(H, W, 4)` with straight alpha without a background; or the
        matte `(H, W)` if the settings ask for it.
    """
    with LiveCompositor(controls) as compositor:
        for batch in batches:
            for frame, alpha in zip(batch.frames, batch.alpha, strict=True):
                yield compositor(frame, alpha[0].numpy())


class LiveCompositor:
    """Composites the frames of one live run."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._opener = ThreadPoolExecutor(1, "streamseg-background")
        chosen = controls.current.composite
        self._background = _opened(chosen)
        self._wanted = chosen
        self._shown_background = _background_of(chosen)
        self._matte_only, self._look = chosen.matte_only, Look.of(chosen)
        self._mattes = controls.current.smooth
        self._version = controls.background_version
        self._opening: Future[Background | None] | None = None
        self._fade_from: Pixels | None = None
        self._fade_began = 0.0
        self._last: Frame | None = None
        self._card: tuple[str, Pixels] | None = None

    def __enter__(self) -> LiveCompositor:
        return self

    def __exit__(self, *error: object) -> None:
        self._forget_opening()
        self._opener.shutdown()
        if self._background:
            self._background.close()

    def __call__(self, frame: Frame, alpha: Alpha) -> Frame:
        """Composite the next frame.

        Args:
            frame: RGB, RGBA or YUV, or a card.
            alpha: its matte, float32 `(h, w)` in [0, 1].
        """
        if frame.card is not None:
            finished = replace(frame, image=RgbImage(self._card_image(frame)))
        else:
            if self._card:
                self._card = None
                self._begin_fade(frame)
            self._follow(frame)
            image = self._composite(frame, alpha)
            finished = replace(frame, image=image, cutout=partial(_cutout, frame, alpha, self._look))
        finished = self._faded(finished)
        self._last = finished
        return finished

    def _composite(self, frame: Frame, alpha: Alpha) -> AnyImage:
        """Composite a frame; a background video that is gone, or is being saved anew, stops at its last picture."""
        try:
            return finish(frame, alpha, self._background, self._matte_only, self._look)
        except InputError as error:
            if not isinstance(self._background, VideoBackground):
                raise
            self._report(error)
            self._background.close()
            self._background = self._background.still
            return finish(frame, alpha, self._background, self._matte_only, self._look)

    def _follow(self, frame: Frame) -> None:
        """Take over what the controls say now; a background is opened on a thread of its own before it is shown."""
        current, version = self._controls.current, self._controls.background_version
        wanted, mattes = current.composite, current.smooth
        if mattes != self._mattes:  # Who is shown may change with it.
            self._mattes = mattes
            self._begin_fade(frame)
        if wanted != self._wanted or version != self._version:
            is_other = version != self._version or _background_of(wanted) != _background_of(self._wanted)
            is_shown = version == self._version and _background_of(wanted) == self._shown_background
            self._wanted, self._version = wanted, version
            if is_other:
                self._forget_opening()
                self._opening = None if is_shown else self._opener.submit(_opened, wanted)
            if not self._opening:
                self._show(frame)
        if self._opening and self._opening.done():
            self._take_opened(self._opening)
            self._opening = None
            self._show(frame)

    def _take_opened(self, opening: Future[Background | None]) -> None:
        """Take the background that was wanted; the one before stays if it cannot be opened."""
        try:
            opened = opening.result()
        except StreamsegError as error:
            self._report(error)
            return
        if self._background:
            self._background.close()
        self._background, self._shown_background = opened, _background_of(self._wanted)

    def _show(self, frame: Frame) -> None:
        """Show the frames with the wanted look from now on."""
        self._begin_fade(frame)
        self._matte_only = self._wanted.matte_only
        self._look = self._look.changed(self._wanted) if self._look else Look.of(self._wanted)

    def _report(self, error: StreamsegError) -> None:
        self._controls.report(error)
        log.warning("%s", error)

    def _forget_opening(self) -> None:
        """Close a background that is being opened and no longer wanted, as soon as it is open."""
        if self._opening:
            self._opening.add_done_callback(_close_opened)
            self._opening = None

    def _begin_fade(self, frame: Frame) -> None:
        if self._last is not None:
            self._fade_from, self._fade_began = self._last.pixels, frame.captured_seconds

    def _faded(self, frame: Frame) -> Frame:
        """Mix the frame with the look before it, while a cross-fade lasts."""
        if self._fade_from is None:
            return frame
        weight = (frame.captured_seconds - self._fade_began) / FADE_SECONDS
        pixels = frame.pixels
        if weight >= 1 or self._fade_from.shape != pixels.shape:
            self._fade_from = None
            return frame
        mixed = cv2.addWeighted(pixels, weight, self._fade_from, 1 - weight, 0).astype(np.uint8, copy=False)
        return replace(frame, image=YuvImage.of(mixed) if isinstance(frame.image, YuvImage) else RgbImage(mixed))

    def _card_image(self, frame: Frame) -> Pixels:
        """Return the card: the last composite, blurred and darkened, with the card's words."""
        assert frame.card is not None
        if self._card is None or self._card[0] != frame.card:
            if self._card is None:
                self._begin_fade(frame)
            height, width = frame.image.shape[:2]
            last = self._last.pixels if self._last is not None else np.zeros((height, width, 3), np.uint8)
            self._card = frame.card, draw_card(last, frame.card)
        return self._card[1]


def draw_card(last: Pixels, words: str) -> Pixels:
    """Blur and darken the last composite, RGB, RGBA or grey, and write words on it -> RGB `(H, W, 3)` uint8."""
    rgb = np.dstack([last] * 3) if last.ndim == 2 else over_black(last)
    card = cv2.convertScaleAbs(blurred(rgb, CARD_BLUR), alpha=CARD_BRIGHTNESS)
    height, width = card.shape[:2]
    scale = height / 540
    thickness = max(1, round(2 * scale))
    (text_width, text_height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    scale *= min(1, 0.9 * width / max(1, text_width))
    (text_width, text_height), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    place = ((width - text_width) // 2, (height + text_height) // 2)
    cv2.putText(card, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    return card.astype(np.uint8, copy=False)


def _cutout(frame: Frame, alpha: Alpha, look: Look | None) -> Pixels:
    """Return the foreground with alpha, RGBA `(H, W, 4)`."""
    return finish(frame, alpha, None, look=look).pixels


def _opened(settings: CompositeSettings) -> Background | None:
    return open_background(settings.bg, settings.fit, settings.blur) if settings.bg else None


def _close_opened(opening: Future[Background | None]) -> None:
    with suppress(StreamsegError):
        background = opening.result()
        if background:
            background.close()


def _background_of(settings: CompositeSettings) -> tuple[object, ...]:
    return settings.bg, settings.fit, settings.blur
