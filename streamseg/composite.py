"""Station 4: the matte is brought to the frame's size and the person set before a background."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import webcolors

from streamseg.config import CompositeSettings
from streamseg.decode.images import IMAGE_SUFFIXES, read_image
from streamseg.decode.video import VideoFile
from streamseg.errors import InputError
from streamseg.foreground import foreground_colour
from streamseg.frames import Batch, Frame, Pixels, colours
from streamseg.planes import BLACK, WHITE, Planes, blend
from streamseg.scratch import scratch

Alpha = npt.NDArray[np.float32]
Fit = Literal["cover", "contain"]

BLUR = "blur"
BLUR_SHARE = 1 / 40
"""Standard deviation of the blurred background as a share of the frame's long side."""

BLUR_REDUCTION = (4, 8)
"""How many times smaller a picture is when it is blurred: such that a pixel is half a standard deviation, if it can."""

GUIDE_EPSILON = 1e-2
"""Variance of the guide, in [0, 1] squared, below which it is taken as flat."""


class Background(Protocol):
    """Gives the picture behind a frame."""

    def behind(self, frame: Frame) -> Pixels:
        """RGB `(H, W, 3)` of the frame's own size; must not be written to."""
        ...

    def planes_behind(self, frame: Frame) -> Planes:
        """The same in planes."""
        ...

    def close(self) -> None:
        """Releases what the background holds open."""
        ...


class Still:
    """One picture, fitted once for every frame size."""

    def __init__(self, pixels: Pixels, fit: Fit) -> None:
        self._pixels, self._fit = _over_black(pixels), fit
        self._fitted: Pixels | None = None
        self._planes: Planes | None = None

    def behind(self, frame: Frame) -> Pixels:
        """See `Background`."""
        height, width = frame.picture.shape[:2]
        if self._fitted is None or self._fitted.shape[:2] != (height, width):
            self._fitted, self._planes = fit_to(self._pixels, height, width, self._fit), None
        return self._fitted

    def planes_behind(self, frame: Frame) -> Planes:
        """See `Background`."""
        fitted = self.behind(frame)
        self._planes = self._planes or Planes.of(fitted)
        return self._planes

    def close(self) -> None:
        """See `Background`."""


class Moving:
    """A video that plays at its own pace and starts over at its end."""

    def __init__(self, path: Path, fit: Fit) -> None:
        self._source = VideoFile(str(path))
        self._path, self._fit = path, fit
        self._frames = iter(self._source)
        self._shown = next(self._frames)
        self._next = self._shown
        self._origin: Fraction | None = None  # The video's time when the frames' time is 0.
        self._round_length = 1 / self._source.info.rate
        self._fitted = Still(self._shown.pixels, fit)

    def behind(self, frame: Frame) -> Pixels:
        """See `Background`."""
        return self._at(frame).behind(frame)

    def planes_behind(self, frame: Frame) -> Planes:
        """See `Background`."""
        return self._at(frame).planes_behind(frame)

    def _at(self, frame: Frame) -> Still:
        shown = self._shown
        if self._origin is None:  # It starts with the first frame, whatever the clock of the frames says then.
            self._origin = shown.time - frame.time
        while self._next.time - self._origin <= frame.time:
            self._shown = self._next
            self._next = next(self._frames, None) or self._restart(self._shown.time - self._origin)
        if self._shown is not shown:
            self._fitted = Still(self._shown.pixels, self._fit)
        return self._fitted

    def close(self) -> None:
        """See `Background`."""
        self._source.close()

    def _restart(self, last_seconds: Fraction) -> Frame:
        """Opens the video again; its next round begins one frame after the last one, in the frames' time."""
        self._source.close()
        self._source = VideoFile(str(self._path))
        self._frames = iter(self._source)
        first = next(self._frames)
        self._origin = first.time - (last_seconds + self._round_length)
        return first


class Blurred:
    """The frame itself, out of focus."""

    def __init__(self) -> None:
        self._planes: Planes | None = None

    def behind(self, frame: Frame) -> Pixels:
        """See `Background`."""
        return blurred(colours(frame.pixels))

    def planes_behind(self, frame: Frame) -> Planes:
        """See `Background`."""
        source = frame.picture if isinstance(frame.picture, Planes) else Planes.of(frame.picture)
        if self._planes is None or self._planes.shape != source.shape:
            self._planes = Planes.empty(source.shape)
        self._planes.matrix = source.matrix
        for target, values in zip(self._planes.values, source.values, strict=True):
            blurred(values, target)
        return self._planes

    def close(self) -> None:
        """See `Background`."""


def open_background(bg: str, fit: Fit) -> Background:
    """Opens a picture, a video, a colour (name or #rrggbb) or `blur`.

    Raises:
        InputError: `bg` is none of them, or the file cannot be read.
    """
    path = Path(bg)
    if bg == BLUR:
        return Blurred()
    if path.is_dir():
        raise InputError(f"background {bg!r} is a folder; give a picture, a video, a colour, or {BLUR}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Still(read_image(path), fit)
    if path.exists():
        return Moving(path, fit)
    return Still(_colour(bg), "cover")


@contextmanager
def chosen_background(settings: CompositeSettings) -> Iterator[Background | None]:
    """The background that the settings ask for, closed at the end; None for a cut-out or a matte."""
    if not settings.bg or settings.matte_only:
        yield None
        return
    with closing(open_background(settings.bg, settings.fit)) as background:
        yield background


def composite(batches: Iterable[Batch], settings: CompositeSettings) -> Iterator[Frame]:
    """Finished frames, one for each that came in.

    Their pixels are a picture before the background, `(H, W, 4)` with straight alpha when there is none, or the
    grey matte `(H, W)` when the settings ask for it.
    """
    with chosen_background(settings) as background:
        for batch in batches:
            for frame, alpha in zip(batch.frames, batch.alpha, strict=True):
                yield replace(frame, picture=finish(frame, alpha[0].numpy(), background, settings.matte_only))


def finish(frame: Frame, alpha: Alpha, background: Background | None, matte_only: bool = False) -> Pixels | Planes:
    """One finished picture from a frame and its matte `(h, w)` at any size; the frame's own alpha holds too.

    A frame in planes stays in planes before a background.
    """
    if background and not matte_only and isinstance(frame.picture, Planes):
        return blend(frame.picture, background.planes_behind(frame), _refined(frame, alpha))
    full = _refined(frame, alpha)
    if frame.picture.shape[2] == 4:
        cv2.multiply(full, frame.pixels[..., 3], dst=full, scale=1 / 255, dtype=cv2.CV_32F)
    if background and not matte_only:
        front, behind = colours(frame.pixels), background.behind(frame)
        rest = np.subtract(1, full, out=scratch("rest", full.shape))
        return cv2.blendLinear(front, behind, full, rest).astype(np.uint8, copy=False)
    matte = cv2.convertScaleAbs(full, alpha=255).astype(np.uint8, copy=False)
    return matte if matte_only else _with_alpha(foreground_colour(colours(frame.pixels), matte), matte)


def _with_alpha(rgb: Pixels, matte: Pixels) -> Pixels:
    rgba = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).astype(np.uint8, copy=False)
    return cv2.insertChannel(matte, rgba, 3).astype(np.uint8, copy=False)


def _refined(frame: Frame, alpha: Alpha) -> Alpha:
    """Of use until this thread's next frame."""
    return refine(frame.picture, alpha, scratch("alpha", frame.picture.shape[:2]))


def refine(picture: Pixels | Planes, alpha: Alpha, out: Alpha | None = None) -> Alpha:
    """Enlarges a matte `(h, w)` to the frame's `(H, W)`, its edges drawn along the frame's own.

    A local linear model of alpha over the frame's luma is fitted at the matte's size and applied at the frame's.

    Args:
        picture: the frame.
        alpha: its matte in [0, 1].
        out: where the result goes, `(H, W)`; a new array if none is given.

    Source: He and Sun, "Fast Guided Filter", arXiv:1505.00996, algorithm 2, with one change: the model passes through
    each matte pixel's own value, not through the window's mean, which would blur the matte by the window.
    """
    guide, black, white = _guide(picture)
    size = guide.shape[::-1]
    reduced = _reduced(picture, guide, alpha.shape[::-1])
    small_guide = (reduced.astype(np.float32) - np.float32(black)) / np.float32(white - black)
    small_slope = _slope(small_guide, alpha)
    slope = cv2.resize(small_slope, size, scratch("slope", guide.shape), interpolation=cv2.INTER_CUBIC)
    # What black stands for is taken off at the matte's size, not from every pixel of the frame.
    small_offset = alpha - small_slope * (small_guide + np.float32(black / (white - black)))
    offset = cv2.resize(small_offset, size, out, interpolation=cv2.INTER_CUBIC)
    cv2.multiply(slope, guide, slope, 1 / (white - black), cv2.CV_32F)
    enlarged = cv2.add(slope, offset, offset)
    return np.clip(enlarged, 0, 1, out=enlarged).astype(np.float32, copy=False)


def _guide(picture: Pixels | Planes) -> tuple[Pixels, int, int]:
    """The frame's luma `(H, W)`, and its levels of black and white."""
    if isinstance(picture, Planes):
        return picture.values[0], BLACK, WHITE
    return cv2.cvtColor(colours(picture), cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False), 0, 255


def _reduced(picture: Pixels | Planes, guide: Pixels, size: tuple[int, ...]) -> Pixels:
    """The guide averaged to width and height."""
    if isinstance(picture, Planes):
        return picture.reduced_luma(*size)
    return cv2.resize(guide, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def blurred(values: Pixels, out: Pixels | None = None) -> Pixels:
    """Out of focus, `(H, W)` or `(H, W, 3)`, into `out` if it is given.

    Made at a fraction of the size, which looks the same and costs little.
    """
    height, width = values.shape[:2]
    deviation_px = max(height, width) * BLUR_SHARE
    reduction = min(max(int(deviation_px / 2), BLUR_REDUCTION[0]), BLUR_REDUCTION[1])
    small_size = max(1, width // reduction), max(1, height // reduction)
    small = cv2.resize(values, small_size, interpolation=cv2.INTER_AREA)
    soft = cv2.GaussianBlur(small, (0, 0), max(1.0, deviation_px / reduction))
    return cv2.resize(soft, (width, height), out, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _slope(guide: Alpha, alpha: Alpha) -> Alpha:
    """Slope `(h, w)` of alpha over the guide in the 3x3 window around each pixel, averaged."""
    mean_guide, mean_alpha = _box(guide), _box(alpha)
    covariance = _box(guide * alpha) - mean_guide * mean_alpha
    variance = _box(guide * guide) - mean_guide * mean_guide
    return _box((covariance / (variance + GUIDE_EPSILON)).astype(np.float32, copy=False))


def _box(values: Alpha) -> Alpha:
    return cv2.blur(values, (3, 3), borderType=cv2.BORDER_REFLECT).astype(np.float32, copy=False)


def fit_to(pixels: Pixels, height: int, width: int, fit: Fit) -> Pixels:
    """Scales RGB `(h, w, 3)` to `height` x `width` with its proportions kept: cut to fill, or with black bars."""
    if fit == "cover":  # Cut first: what stands over would be scaled for nothing, and may be huge.
        pixels = _crop_centre(pixels, *_within(pixels.shape[0], pixels.shape[1], height / width))
        inner_height, inner_width = height, width
    else:
        inner_height, inner_width = _within(height, width, pixels.shape[0] / pixels.shape[1])
    method = cv2.INTER_AREA if inner_height < pixels.shape[0] else cv2.INTER_CUBIC
    scaled = cv2.resize(pixels, (inner_width, inner_height), interpolation=method)
    short_y, short_x = height - inner_height, width - inner_width
    borders = (short_y // 2, short_y - short_y // 2, short_x // 2, short_x - short_x // 2)
    return cv2.copyMakeBorder(scaled, *borders, cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)


def _within(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Height and width of the largest rectangle with `ratio` = height / width inside `height` x `width`."""
    return max(1, min(height, round(width * ratio))), max(1, min(width, round(height / ratio)))


def _crop_centre(pixels: Pixels, height: int, width: int) -> Pixels:
    y, x = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[y : y + height, x : x + width]


def _over_black(pixels: Pixels) -> Pixels:
    """RGB or RGBA -> RGB `(H, W, 3)`, transparent parts over black: what is behind a background is nothing."""
    if pixels.shape[2] == 3:
        return pixels
    return np.rint(pixels[..., :3] * (pixels[..., 3:] / np.float32(255))).astype(np.uint8)


def _colour(text: str) -> Pixels:
    try:
        rgb = webcolors.hex_to_rgb(text) if text.startswith("#") else webcolors.name_to_rgb(text)
    except ValueError as error:
        raise InputError(
            f"background {text!r} is neither a file nor a colour; give a picture, a video, a colour such as green or "
            f"#00b140, or blur"
        ) from error
    return np.full((1, 1, 3), rgb, np.uint8)
