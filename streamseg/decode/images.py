"""Reader of still images: photos, backgrounds and image folders, as upright 8-bit sRGB with alpha.

EXIF orientation, ICC profiles, 16-bit and float samples and premultiplied alpha are all resolved here.
"""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.Image import Transpose
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from streamseg.decode.base import BaseSource, check_size, size_text
from streamseg.decode.moving import is_cut_short, repair_truncated
from streamseg.decode.profiles import to_srgb
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.image import Pixels
from streamseg.media.storage import AnyPath, RemotePath, files_in
from streamseg.yuv import RgbImage

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "HEIF": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "JPEG2000": (".jp2",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""Readable formats, by Pillow's names, with their suffixes; the content of a file decides its format."""

IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
ANIMATED_FORMATS = ("PNG", "WEBP", "AVIF", "GIF")
FOLDER_RATE = Fraction(25)

MAX_PIXELS = 2**30
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses twice this; its default is less than phone photos have.

ORIENTATION_TRANSPOSES = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""The transposition that makes an image of each EXIF orientation upright."""

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF in both byte orders, and of BigTIFF, whose header is twice as long."""

MAX_LEVEL = 65535
"""White in 16 bits, as which wider integers are taken."""

TIFF_PROFILE, TIFF_EXTRA_SAMPLES = 34675, 338
PREMULTIPLIED = 1
"""Value of TIFF's tag ExtraSamples for premultiplied (associated) alpha."""


class ImageFiles(BaseSource):
    """One photo, or a folder of photos of one size as a clip of 25 frames a second.

    An unreadable image of a folder is left out and reported in `decode_error`; the image before it is shown longer.
    """

    def __init__(self, path: AnyPath, time_range: TimeRange = WHOLE) -> None:
        """Read the first image.

        Args:
            path: an image file or a folder of image files.
            time_range: the part of the clip to read; pts count from its start.

        Raises:
            InputError: no image can be read, or there is none in `time_range`.
        """
        paths = images_in(path) if path.is_dir() else [path]
        self._paths = [one for index, one in enumerate(paths) if time_range.holds(index / FOLDER_RATE)]
        if not self._paths:
            raise InputError(f"{path} has no image at that time: it lasts {float(len(paths) / FOLDER_RATE):g} s")
        self._errors: dict[int, InputError] = {}
        self._frames = self._read()
        first = next(self._frames, None)
        if first is None:
            raise self._errors[0]
        check_size(first.image.shape, str(self._paths[first.index]))
        self._first, self.first_pts = first, first.pts
        self._ahead: Frame | None = first
        height, width = first.image.shape[:2]
        self.info = VideoInfo(width, height, FOLDER_RATE, 1 / FOLDER_RATE, len(self._paths))

    def __iter__(self) -> Iterator[Frame]:
        if self._ahead:
            yield self._ahead
        for frame in self._frames:
            if frame.image.shape[:2] != self._first.image.shape[:2]:
                first = f"{self._paths[self._first.index].name} is {size_text(self._first.image.shape)}"
                here = f"{self._paths[frame.index]} is {size_text(frame.image.shape)}"
                raise InputError(f"{here} but {first}; all must be alike")
            yield frame
        self.decode_error = self.damage_within()

    def skip_to(self, pts: Fraction) -> None:
        """Continue with the first image at or after `pts`, in seconds, if there is one."""
        self._ahead, self._frames = None, self._read(math.ceil(pts * FOLDER_RATE))

    def damage_within(self, begin: Fraction | None = None, end: Fraction | None = None) -> str | None:
        """See `BaseSource`."""
        stretch = TimeRange(begin or Fraction(0), end)
        errors = [error for index, error in self._errors.items() if stretch.holds(index / FOLDER_RATE)]
        if not errors:
            return None
        count = f"{len(errors)} of {counted(len(self._paths), 'image')} are missing"
        return f"{count}, of which the first: {errors[0]}"

    def _read(self, begin: int = 0) -> Iterator[Frame]:
        for index, path in enumerate(self._paths[begin:], begin):
            try:
                yield Frame(index, index / FOLDER_RATE, RgbImage(read_image(path)), time.monotonic())
            except InputError as error:
                self._errors[index] = error


def read_image(path: AnyPath) -> Pixels:
    """Read an image as upright sRGB `(H, W, 3)`, or `(H, W, 4)` with straight alpha where the file has alpha.

    The first image of an animation or of a file with several images is read.

    Raises:
        InputError: the file is missing, damaged, or not an image.
    """
    with open_image(path) as image:
        return pixels_of(_open_16_bit(path, image) if _loses_depth(image) else image)


@contextmanager
def open_image(path: AnyPath) -> Iterator[Image.Image]:
    """Open an image, and turn any error raised within the `with` block into an InputError of one line.

    Raises:
        InputError: the file is missing, damaged, or not an image.
    """
    with image_errors(path), _open_with_pillow(path) as image:
        yield image


@contextmanager
def image_errors(path: AnyPath | str) -> Iterator[None]:
    """Turn any error of reading an image into an InputError of one line, which names it.

    Raises:
        InputError: there was one.
    """
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(IMAGE_SUFFIXES)
        raise InputError(f"{path} is not an image that can be read, or is badly damaged ({known})") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is larger than the {MAX_PIXELS // 2**20:,} megapixels that can be read") from error
    except Exception as error:  # Decoders raise exceptions of any type at damaged data.
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} is damaged, or too large for the memory there is: {reason}") from error


def pixels_of(image: Image.Image) -> Pixels:
    """Convert an opened image, or the current frame of an animation, to pixels as `read_image` does."""
    with _without_warnings():
        image.load()
        return to_upright_srgb(_to_8_bit_mode(image), image)


def to_upright_srgb(decoded: Image.Image, image: Image.Image) -> Pixels:
    """Convert a decoded image to upright sRGB `(H, W, 3)` or `(H, W, 4)`.

    Args:
        decoded: 8-bit samples of mode L, LA, RGB, RGBA or CMYK.
        image: the file that they come from, with its ICC profile and EXIF orientation.
    """
    converted = to_srgb(decoded, image.info.get("icc_profile"))
    transpose = ORIENTATION_TRANSPOSES.get(image.getexif().get(Base.Orientation, 1))
    return np.array(converted if transpose is None else converted.transpose(transpose))


def animation_format(path: AnyPath) -> str | None:
    """Return Pillow's name of the format if the file is an animation, and None for any other image.

    Raises:
        InputError: the file is missing, damaged, or not an image.
    """
    with open_image(path) as image:
        return image.format if count_frames(image) > 1 or is_cut_short(path) else None


def count_frames(image: Image.Image) -> int:
    """Return the number of frames of an animation, and 1 for any other image."""
    if image.format not in ANIMATED_FORMATS:
        return 1  # Further images are pages, or the same one in other sizes and exposures.
    # An animated PNG may hold one more image, for viewers without animation.
    return getattr(image, "n_frames", 1) - bool(image.info.get("default_image"))


def images_in(folder: AnyPath) -> list[AnyPath]:
    """Return the image files of a folder in natural order of their names.

    Raises:
        InputError: the folder holds no images, or may not be read.
    """
    named = (path for path in files_in(folder) if path.suffix.lower() in IMAGE_SUFFIXES)
    paths = [path for path in named if isinstance(path, RemotePath) or path.is_file()]
    # macOS puts metadata in ._NAME beside files on foreign disks.
    paths = [path for path in paths if not path.name.startswith("._")]
    if not paths:
        raise InputError(f"the folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(paths, key=natural_order)


def natural_order(path: AnyPath) -> tuple[list[str | int], str]:
    """Return the sort key by which frame2 comes before frame12."""
    parts = re.split("([0-9]+)", path.stem.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


@contextmanager
def _open_with_pillow(path: AnyPath) -> Iterator[Image.Image]:
    """Open an image with Pillow, or decode with OpenCV a TIFF of a sample type that Pillow lacks."""
    with path.open("rb") as file:
        signature = file.read(12)
        file.seek(0)
        if signature[4:8] == b"ftyp":
            _register_heif()
        try:
            with _without_warnings():
                image = Image.open(repair_truncated(path) or file, formats=_pillow_formats())
        except UnidentifiedImageError:
            if not signature.startswith(TIFF_SIGNATURES):
                raise
            yield _open_16_bit_tiff(path)
            return
        with image:
            yield image


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings of odd metadata, which a user cannot act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _pillow_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def _register_heif() -> None:
    """Register HEIF with Pillow when the first such file is met, as the library loads slowly."""
    try:
        import pillow_heif
    except ImportError as error:
        from streamseg.errors import MissingExtraError

        raise MissingExtraError("reading HEIC", "pillow-heif", "heic") from error

    pillow_heif.register_heif_opener()


def _to_8_bit_mode(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to mode L, LA, RGB, RGBA or CMYK."""
    if image.mode.startswith(("I", "F")):
        samples = np.asarray(image)
        grey = Image.fromarray(_to_8_bits(samples))
        if image.has_transparency_data:  # One grey level stands for transparent.
            grey.putalpha(Image.fromarray(np.where(samples == image.info["transparency"], 0, 255).astype(np.uint8)))
        return grey
    is_grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        mode = "LA" if is_grey else "RGBA"
    else:
        mode = "L" if is_grey else "CMYK" if image.mode == "CMYK" else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _loses_depth(image: Image.Image) -> bool:
    """Whether Pillow would drop the lower 8 of 16 bits."""
    if not isinstance(image, PngImageFile | TiffImageFile) or image.mode not in ("RGB", "RGBA") or not image.tile:
        return False
    return ";16" in str(image.tile[0].args)


def _open_16_bit(path: AnyPath, image: Image.Image) -> Image.Image:
    """Decode a 16-bit image with OpenCV, which applies the orientation of a TIFF, but not of a PNG."""
    if image.format == "TIFF":
        return _open_16_bit_tiff(path)
    decoded = _to_pillow(_decode_with_opencv(path))
    decoded.info["icc_profile"] = image.info.get("icc_profile")
    decoded.getexif()[Base.Orientation] = image.getexif().get(Base.Orientation, 1)
    return decoded


def _open_16_bit_tiff(path: AnyPath) -> Image.Image:
    """Decode a TIFF of 16-bit or float samples with OpenCV."""
    with path.open("rb") as file:
        header = file.read(8)
        tags = ImageFileDirectory_v2(header + (file.read(8) if b"+" in header[:4] else b""))
        file.seek(tags.next)
        tags.load(file)
    decoded = _to_pillow(_decode_with_opencv(path), PREMULTIPLIED in tags.get(TIFF_EXTRA_SAMPLES, ()))
    decoded.info["icc_profile"] = tags.get(TIFF_PROFILE)
    return decoded


def _decode_with_opencv(path: AnyPath) -> npt.NDArray[Any]:
    """Decode a file to samples of its own type: grey `(H, W)`, BGR `(H, W, 3)` or BGRA `(H, W, 4)`.

    The file is read by Python, which opens paths of any characters on all systems.
    """
    # OpenCV would print its own warnings above the one-line error.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    samples = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None:
        raise UnidentifiedImageError(path)
    return samples


def _to_pillow(samples: npt.NDArray[Any], premultiplied: bool = False) -> Image.Image:
    """Convert grey, BGR or BGRA samples of any type to an image of mode L, RGB or RGBA with straight alpha."""
    levels = _to_8_bits(_to_straight_alpha(samples) if premultiplied else samples)
    if levels.ndim == 2:
        return Image.fromarray(levels)
    return Image.fromarray(cv2.cvtColor(levels, cv2.COLOR_BGRA2RGBA if levels.shape[2] == 4 else cv2.COLOR_BGR2RGB))


def _to_straight_alpha(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert premultiplied samples `(H, W, 4)`, 16-bit or float, to floats in [0, 1] with straight alpha."""
    white = 1 if np.issubdtype(samples.dtype, np.floating) else MAX_LEVEL
    straight = (samples / np.float32(white)).astype(np.float32, copy=False)
    alpha = straight[..., 3:]
    np.divide(straight[..., :3], alpha, straight[..., :3], where=alpha > 0)
    return straight


def _to_8_bits(samples: npt.NDArray[Any]) -> Pixels:
    """Convert 16-bit integers, or floats in [0, 1], to 0 to 255; values out of range are clipped, NaN becomes 0."""
    if np.issubdtype(samples.dtype, np.floating):
        clipped = np.nan_to_num(samples, posinf=1, neginf=0).clip(0, 1)
        levels: Pixels = np.rint(clipped * np.float32(255)).astype(np.uint8)
        return levels
    if samples.dtype == np.uint8:
        return samples
    words = samples.clip(0, MAX_LEVEL).astype(np.uint16)
    return cv2.convertScaleAbs(words, alpha=1 / 257).astype(np.uint8, copy=False)
