"""Backgrounds: an image, a video, a colour, a gradient, the blurred frame, or what a function returns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import cv2
import numpy as np
import webcolors

from streamseg.composite.gradient import draw_gradient, gradient_colours, is_gradient
from streamseg.composite.weighted_blur import Weights, background_weights, weighted_blur
from streamseg.decode import SeekableSource, open_source
from streamseg.decode.base import check_seekable
from streamseg.decode.given import given_pixels
from streamseg.decode.images import IMAGE_SUFFIXES, animation_format, read_image
from streamseg.decode.pixels import SQUARE
from streamseg.decode.video import VideoFile
from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels, reduced
from streamseg.media.storage import AnyPath, path_of
from streamseg.settings import CompositeSettings
from streamseg.yuv import YuvImage

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Fit = Literal["cover", "contain"]

KINDS = "a path, a colour, a gradient, blur, an array, a PIL image, a tensor or a function"
"""What a background may be, for messages."""

BLUR = "blur"
"""Name of the blurred background."""
BLUR_SCALE = 1 / 40
"""Standard deviation of the blurred background as a fraction of the frame's long side."""

BLUR_REDUCTION = (4, 16)
"""Least and greatest factor by which a frame is reduced to be blurred; between them, the standard deviation is 2 px."""

FAR_SECONDS = Fraction(10)
"""Time by which a frame has to be ahead of a background video for the video to be skipped through, not decoded."""

TAIL_SECONDS = (1, 10, 100, 10**6)
"""Times before the end that a header states at which a video's last frame is looked for: the sound may be longer."""

PLANE_SCALES = (1, 0.5, 0.5)
"""Sides of the planes of Y, Cb and Cr as fractions of the image's."""


class Background(Protocol):
    """Yields the background of a frame."""

    def frame_at(self, frame: Frame) -> Pixels:
        """Return RGB `(H, W, 3)` uint8 of the frame's size; it must not be written to."""
        ...

    def yuv_at(self, frame: Frame) -> YuvImage:
        """Return the same as YUV; it must not be written to, and holds until the next call."""
        ...

    def close(self) -> None:
        """Close files that the background holds open."""
        ...


InMemory: TypeAlias = "Pixels | Image.Image | Tensor"
"""An image that a user has in memory; see `decode.given`."""

BackgroundSpec: TypeAlias = "str | Path | InMemory | Callable[[Pixels], InMemory]"
"""What `open_background` takes."""


class ImageBackground:
    """An image or a colour, fitted once for each size and shape of pixels that frames have."""

    def __init__(self, pixels: Pixels, fit: Fit, pixel_aspect: Fraction = SQUARE) -> None:
        """Take the image, RGB or RGBA, and the width of its pixels over their height."""
        self._pixels, self._fit, self._pixel_aspect = over_black(pixels), fit, pixel_aspect
        self._fitted: Pixels | None = None
        self._fitted_aspect = SQUARE
        self._yuv: YuvImage | None = None

    def frame_at(self, frame: Frame) -> Pixels:
        """See `Background`."""
        height, width = frame.image.shape[:2]
        aspect = self._pixel_aspect / frame.pixel_aspect
        if self._fitted is None or self._fitted.shape[:2] != (height, width) or self._fitted_aspect != aspect:
            self._fitted, self._yuv = fit_to(self._pixels, height, width, self._fit, float(aspect)), None
            self._fitted_aspect = aspect
        return self._fitted

    def yuv_at(self, frame: Frame) -> YuvImage:
        """See `Background`."""
        fitted = self.frame_at(frame)
        self._yuv = self._yuv or YuvImage.of(fitted)
        return self._yuv

    def close(self) -> None:
        """See `Background`."""


class GradientBackground(ImageBackground):
    """Colours from top to bottom, drawn at the size of the frames."""

    def __init__(self, colours: Sequence[Pixels]) -> None:
        super().__init__(colours[0], "cover")
        self._colours = colours

    def frame_at(self, frame: Frame) -> Pixels:
        """See `Background`."""
        height, width = frame.image.shape[:2]
        if self._fitted is None or self._fitted.shape[:2] != (height, width):
            self._fitted, self._yuv = draw_gradient(self._colours, height, width), None
        return self._fitted


class VideoBackground:
    """A video or an animation that plays at its own pace and loops."""

    def __init__(self, path: AnyPath, fit: Fit) -> None:
        self._path, self._fit = path, fit
        self._origin: Fraction | None = None  # pts of the video at pts 0 of the frames.
        self._shown = self._next = self._open()
        self._fitted = ImageBackground(self._shown.pixels, fit, self._source.info.pixel_aspect)

    def begin_at(self, pts: Fraction) -> None:
        """Let the video begin at `pts` of the frames, which may be long before the first frame that comes."""
        self._origin = self._shown.pts - pts

    def frame_at(self, frame: Frame) -> Pixels:
        """See `Background`."""
        return self._image_at(frame).frame_at(frame)

    def yuv_at(self, frame: Frame) -> YuvImage:
        """See `Background`."""
        return self._image_at(frame).yuv_at(frame)

    def _image_at(self, frame: Frame) -> ImageBackground:
        """Return the video's frame at the frame's pts."""
        shown = self._shown
        if self._origin is None:  # The video starts at the first frame, whatever its pts.
            self._origin = shown.pts - frame.pts
        if self._origin + frame.pts > self._next.pts + FAR_SECONDS:
            self._skip_near(self._origin + frame.pts)
        while self._next.pts - self._origin <= frame.pts:
            self._shown = self._next
            self._next = next(self._frames, None) or self._restart(self._shown, frame.pts)
        if self._shown is not shown:
            self._fitted = ImageBackground(self._shown.pixels, self._fit, self._source.info.pixel_aspect)
        return self._fitted

    @property
    def still(self) -> ImageBackground:
        """The picture shown last, for those who go on where the file cannot be read any more."""
        return self._fitted

    def close(self) -> None:
        """See `Background`."""
        self._source.__exit__(None, None, None)

    def _open(self) -> Frame:
        """Open the video and return its first frame."""
        self._source = open_source(str(self._path))
        self._frames = iter(self._source)
        first = next(self._frames)
        self._first_pts = first.pts
        return first

    def _skip_near(self, pts: Fraction) -> None:
        """Skip to just before `pts` of the video; stay where it ends before that, and loops."""
        if not isinstance(self._source, SeekableSource):
            return
        with suppress(InputError):
            self._source.skip_to(pts - FAR_SECONDS / 2)
            self._frames = iter(self._source)
            self._shown = self._next = next(self._frames)
        if not pts - FAR_SECONDS < self._next.pts <= pts:
            self.close()
            self._shown = self._next = self._open()

    def _restart(self, last: Frame, pts: Fraction) -> Frame:
        """Reopen the video, with its first frame after the last one has ended; return the first frame.

        Args:
            last: the video's last frame.
            pts: of the frame that is composited; what would be played in full before it, is skipped.
        """
        end = _end_of(last, self._source.info)
        self.close()
        first = self._open()
        assert self._origin is not None
        length_seconds = end - first.pts
        self._origin -= length_seconds * max(1, (self._origin + pts - first.pts) // length_seconds)
        return first


def playing_time(path: AnyPath) -> tuple[Fraction, Fraction]:
    """Return where the pictures of a background video begin and end on its file's clock, in seconds.

    A `VideoBackground` begins anew there. The end is decoded, since headers round it, or count the sound too.

    Raises:
        InputError: the file cannot be read.
    """
    with open_source(str(path)) as source:
        frames = iter(source)
        first = next(frames)
        if isinstance(source, VideoFile) and source.end_pts is not None:
            for seconds in TAIL_SECONDS:
                with suppress(InputError):
                    source.skip_to(max(first.pts, source.end_pts - seconds))
                    frames = iter(source)
                    break
        last = next(iter(deque(frames, maxlen=1)), first)
        start_time = source.info.start_time
        return start_time + first.pts, start_time + _end_of(last, source.info)


def _end_of(last: Frame, info: VideoInfo) -> Fraction:
    """Return when a video's last frame ends, in seconds."""
    return last.pts + (last.duration or 1 / info.rate)


class BlurBackground:
    """The frame itself, blurred; `strength` multiplies the radius."""

    def __init__(self, strength: float = 1) -> None:
        self._strength = strength
        self._yuv: YuvImage | None = None

    def frame_at(self, frame: Frame) -> Pixels:
        """See `Background`."""
        return blurred(frame.image.rgb, self._strength)

    def yuv_at(self, frame: Frame) -> YuvImage:
        """See `Background`."""
        return self._blurred_yuv(frame, None)

    def around(self, matte: Pixels) -> Background:
        """Return the background of one frame with the matte `(H, W)`, which does not take in the subject."""
        return _BlurAround(self, matte)

    def frame_around(self, frame: Frame, matte: Pixels) -> Pixels:
        """Return what `frame_at` does, without the subject."""
        return blurred(frame.image.rgb, self._strength, matte)

    def yuv_around(self, frame: Frame, matte: Pixels) -> YuvImage:
        """Return what `yuv_at` does, without the subject."""
        return self._blurred_yuv(frame, matte)

    def _blurred_yuv(self, frame: Frame, matte: Pixels | None) -> YuvImage:
        source = frame.image.as_yuv()
        if self._yuv is None or (self._yuv.shape, self._yuv.matrix) != (source.shape, source.matrix):
            self._yuv = YuvImage.empty(source.shape, source.matrix)
        height, width, deviation_px = blur_scale(*source.shape[:2], self._strength)
        planes = source.resized(width, height).planes
        y_weights, chroma_weights = (_weights_for(plane, matte) for plane in planes[:2])
        weights = y_weights, chroma_weights, chroma_weights
        for target, plane, weight, scale in zip(self._yuv.planes, planes, weights, PLANE_SCALES, strict=True):
            soft = _blurred_small(plane, weight, deviation_px * scale)
            cv2.resize(soft, target.shape[::-1], target, interpolation=cv2.INTER_LINEAR)
        # The planes are written to again and again; an image keeps what was converted from them, so each has its own.
        return YuvImage(self._yuv.frame, source.matrix)

    def close(self) -> None:
        """See `Background`."""


@dataclass(frozen=True, slots=True, eq=False)
class _BlurAround:
    """A frame's blur without its subject."""

    blur: BlurBackground
    matte: Pixels

    def frame_at(self, frame: Frame) -> Pixels:
        return self.blur.frame_around(frame, self.matte)

    def yuv_at(self, frame: Frame) -> YuvImage:
        return self.blur.yuv_around(frame, self.matte)

    def close(self) -> None:
        pass


def without_subject(background: Background, matte: Pixels) -> Background:
    """Return the background of one frame: the blur of the frame leaves out its subject, others are as they are.

    Args:
        background: any.
        matte: of the frame, `(H, W)` uint8.
    """
    return background.around(matte) if isinstance(background, BlurBackground) else background


class ComputedBackground:
    """What a function returns for the frame."""

    def __init__(self, compute: Callable[[Pixels], object]) -> None:
        self._compute = compute

    def frame_at(self, frame: Frame) -> Pixels:
        """See `Background`.

        Raises:
            InputError: the function returned something else than RGB of the frame's size.
        """
        rgb = frame.image.rgb
        found = given_pixels(
            self._compute(rgb), "a background", "an array, a PIL image or a tensor where a function returns it"
        )
        if found.shape != rgb.shape:
            raise InputError(f"the background function returned {found.shape} for a frame of {rgb.shape}")
        return found

    def yuv_at(self, frame: Frame) -> YuvImage:
        """See `Background`."""
        return YuvImage.of(self.frame_at(frame))

    def close(self) -> None:
        """See `Background`."""


def open_background(bg: BackgroundSpec, fit: Fit = "cover", blur: float = 1) -> Background:
    """Open a background.

    Args:
        bg: an image, a video, a colour (name or #rrggbb), a gradient (`gradient:#102030,#405060`), `blur`; an RGB or
            RGBA array `(H, W, 3 or 4)` uint8, a PIL image or a tensor; or a function that maps a frame's RGB
            `(H, W, 3)` to one of these of the same shape. Images and arrays have square pixels, a video those that it
            says; what a function returns has the frame's.
        fit: `cover` crops an image or video to fill the frame, `contain` adds black bars.
        blur: strength of `blur`.

    Raises:
        InputError: `bg` is none of these, or the file cannot be read.
    """
    if callable(bg):
        return ComputedBackground(bg)
    if not isinstance(bg, str | Path):
        return ImageBackground(given_pixels(bg, "a background", KINDS), fit)
    video = video_of(bg)
    if video:
        return VideoBackground(video, fit)
    path, bg = path_of(bg), str(bg)
    if bg == BLUR:
        return BlurBackground(blur)
    if is_gradient(bg):
        return GradientBackground(gradient_colours(bg, _parse_colour))
    if path.is_dir():
        raise InputError(f"background {bg!r} is a folder; give an image, a video, a colour, or {BLUR}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageBackground(read_image(path), fit)
    return ImageBackground(_parse_colour(bg), "cover")


def video_of(bg: str | Path) -> AnyPath | None:
    """Return the file of a background that is a video or an animation; None for any other.

    Raises:
        InputError: it is a file that cannot be read.
    """
    if str(bg) == BLUR or is_gradient(str(bg)):
        return None
    path = path_of(bg)
    check_seekable(path)
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    if path.is_dir() or (is_image and not animation_format(path)) or not path.exists():
        return None
    return path


@contextmanager
def chosen_background(
    settings: CompositeSettings, override: Background | None = None, begin: Fraction | None = None
) -> Iterator[Background | None]:
    """Open the background that the settings name and close it at the end; None for a foreground or a matte.

    Args:
        settings: name the background.
        override: an open background to take instead, which is not closed.
        begin: pts at which a video begins as background; None for that of the first frame that comes.

    Raises:
        InputError: as `open_background`.
    """
    if settings.matte_only or override or not settings.bg:
        yield None if settings.matte_only else override
        return
    with closing(open_background(settings.bg, settings.fit, settings.blur)) as background:
        if begin is not None and isinstance(background, VideoBackground):
            background.begin_at(begin)
        yield background


def blurred(rgb: Pixels, strength: float = 1, matte: Pixels | None = None) -> Pixels:
    """Blur RGB `(H, W, 3)` uint8 at a reduced size, which looks the same and costs little.

    Args:
        rgb: the image.
        strength: multiplies the radius.
        matte: `(H, W)` uint8 of a subject that is not taken in; None to blur all of the image.
    """
    height, width = rgb.shape[:2]
    small_height, small_width, deviation_px = blur_scale(height, width, strength)
    small = reduced(rgb, small_width, small_height)
    soft = _blurred_small(small, _weights_for(small, matte), deviation_px)
    return cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _weights_for(small: Pixels, matte: Pixels | None) -> Weights | None:
    """Return the weights of a reduced image's pixels if there is a full-size matte that its blur is not to take in."""
    return None if matte is None else background_weights(matte, small.shape[1], small.shape[0])


def _blurred_small(small: Pixels, weights: Weights | None, deviation_px: float) -> cv2.typing.MatLike:
    """Blur a reduced image or plane."""
    if weights is None:
        return cv2.GaussianBlur(small, (0, 0), deviation_px)
    return weighted_blur(small, weights, deviation_px)


def blur_scale(height: int, width: int, strength: float = 1) -> tuple[int, int, float]:
    """Return height and width to blur an image at, and the standard deviation at that size, in pixels."""
    deviation_px = max(height, width) * BLUR_SCALE * strength
    reduction = min(max(int(deviation_px / 2), BLUR_REDUCTION[0]), BLUR_REDUCTION[1])
    return max(1, height // reduction), max(1, width // reduction), max(1.0, deviation_px / reduction)


def fit_to(pixels: Pixels, height: int, width: int, fit: Fit, pixel_aspect: float = 1) -> Pixels:
    """Scale RGB `(h, w, 3)` to `height` x `width`, cropped for `cover` or with black bars for `contain`.

    Args:
        pixels: the image.
        height: of the result.
        width: of the result.
        fit: see `open_background`.
        pixel_aspect: how many times as wide the image's pixels are displayed as the result's, at the same height.
    """
    if fit == "cover":  # Crop first: scaling what is cropped would be a waste.
        ratio = height / width * pixel_aspect
        pixels = _crop_centre(pixels, *_largest_inside(pixels.shape[0], pixels.shape[1], ratio))
        inner_height, inner_width = height, width
    else:
        ratio = pixels.shape[0] / pixels.shape[1] / pixel_aspect
        inner_height, inner_width = _largest_inside(height, width, ratio)
    method = cv2.INTER_AREA if inner_height < pixels.shape[0] else cv2.INTER_CUBIC
    scaled = cv2.resize(pixels, (inner_width, inner_height), interpolation=method)
    short_y, short_x = height - inner_height, width - inner_width
    borders = (short_y // 2, short_y - short_y // 2, short_x // 2, short_x - short_x // 2)
    return cv2.copyMakeBorder(scaled, *borders, cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)


def _largest_inside(height: int, width: int, ratio: float) -> tuple[int, int]:
    """Return height and width of the largest rectangle with `ratio` = height / width inside `height` x `width`."""
    return max(1, min(height, round(width * ratio))), max(1, min(width, round(height / ratio)))


def _crop_centre(pixels: Pixels, height: int, width: int) -> Pixels:
    y, x = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[y : y + height, x : x + width]


def over_black(pixels: Pixels) -> Pixels:
    """Composite RGBA over black -> RGB `(H, W, 3)`; RGB is returned unchanged."""
    if pixels.shape[2] == 3:
        return pixels
    return np.rint(pixels[..., :3] * (pixels[..., 3:] / np.float32(255))).astype(np.uint8)


def _parse_colour(text: str) -> Pixels:
    """Return one RGB pixel `(1, 1, 3)` of a colour name or #rrggbb; raise InputError for other text."""
    try:
        rgb = webcolors.hex_to_rgb(text) if text.startswith("#") else webcolors.name_to_rgb(text)
    except ValueError as error:
        raise InputError(
            f"background {text!r} is neither a file nor a colour; give an image, a video, a colour such as green or "
            f"#00b140, or blur"
        ) from error
    return np.full((1, 1, 3), rgb, np.uint8)
