"""Still pictures as they are seen: whatever a file holds comes out upright, in sRGB, in 8 bits and with its alpha.

This is the one reader of stills: photos, backgrounds and folders of pictures all come through it.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
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
from streamseg.decode.moving import is_cut_short, mended
from streamseg.decode.profiles import in_srgb
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels

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
"""What is read, by Pillow's names, with the suffixes that it is found under; the content decides which it is."""

IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
ANIMATED_FORMATS = ("PNG", "WEBP", "AVIF", "GIF")
FOLDER_RATE = Fraction(25)

MOST_PIXELS = 2**30
Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # Pillow refuses twice as many; its own limit is below what phones take.

UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""EXIF's orientations and what undoes them."""

TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""The last two are those of BigTIFF, whose header is twice as long."""

TIFF_PROFILE, TIFF_EXTRA_SAMPLES = 34675, 338
PREMULTIPLIED = 1
"""What TIFF's tag of extra samples says where alpha has been multiplied into the colours."""


class ImageFiles(BaseSource):
    """One photo, or a folder of photos of one size as a clip of 25 frames a second.

    A picture of a folder that cannot be read costs itself: the one before it is shown on in its place.
    """

    def __init__(self, path: Path, time_range: TimeRange = WHOLE) -> None:
        """Reads the first picture.

        Args:
            path: a picture or a folder of pictures.
            time_range: the part of the clip that is wanted; the frames' times count from its start.

        Raises:
            InputError: no picture can be read, or there is none in that time_range.
        """
        paths = images_in(path) if path.is_dir() else [path]
        self._paths = [each for index, each in enumerate(paths) if time_range.holds(index / FOLDER_RATE)]
        if not self._paths:
            raise InputError(f"{path} has no picture at that time: it lasts {float(len(paths) / FOLDER_RATE):g} s")
        self._problems: list[InputError] = []
        self._frames = self._readable()
        first = next(self._frames, None)
        if first is None:
            raise self._problems[0]
        check_size(first.image.shape, str(self._paths[first.index]))
        self._first = first
        height, width = first.image.shape[:2]
        self.info = VideoInfo(width, height, FOLDER_RATE, 1 / FOLDER_RATE, len(self._paths))

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        for frame in self._frames:
            if frame.image.shape[:2] != self._first.image.shape[:2]:
                first = f"{self._paths[self._first.index].name} is {size_text(self._first.image.shape)}"
                here = f"{self._paths[frame.index]} is {size_text(frame.image.shape)}"
                raise InputError(f"{here} but {first}; all must be alike")
            yield frame
        if self._problems:
            count = f"{len(self._problems)} of {len(self._paths)} pictures are missing"
            self.decode_error = f"{count}, of which the first: {self._problems[0]}"

    def _readable(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                yield Frame(index, index / FOLDER_RATE, read_image(path), time.monotonic())
            except InputError as error:
                self._problems.append(error)


def read_image(path: Path) -> Pixels:
    """Reads a picture upright as sRGB `(H, W, 3)`, or with straight alpha as `(H, W, 4)` where it has alpha.

    Of an animation, or of a file with several pictures, it is the first one.

    Raises:
        InputError: the file is missing, damaged, or not a picture.
    """
    with open_picture(path) as picture:
        return pixels_of(_deep(path, picture) if _loses_depth(picture) else picture)


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """Opens a picture, with what goes wrong while it is open told in one line.

    Raises:
        InputError: the file is missing, damaged, or not a picture.
    """
    try:
        with _identified(path) as picture:
            yield picture
    except InputError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(IMAGE_SUFFIXES)
        raise InputError(f"{path} is not a picture that can be read, or is badly damaged ({known})") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is larger than the {MOST_PIXELS // 2**20:,} megapixels that can be read") from error
    except Exception as error:  # Decoders raise whatever they stumble over in a damaged file.
        if isinstance(error, OSError) and error.errno:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} is damaged, or too large for the memory there is: {reason}") from error


def pixels_of(picture: Image.Image) -> Pixels:
    """An opened picture, or the one of an animation that was sought, as `read_image` gives it."""
    with _quiet():
        picture.load()
        return as_seen(_in_eight_bits(picture), picture)


def as_seen(stored: Image.Image, picture: Image.Image) -> Pixels:
    """Turns what was decoded of `picture` (mode L, LA, RGB, RGBA or CMYK) upright and into sRGB."""
    seen = in_srgb(stored, picture.info.get("icc_profile"))
    turn = UPRIGHT.get(picture.getexif().get(Base.Orientation, 1))
    return np.array(seen if turn is None else seen.transpose(turn))


def animation_format(path: Path) -> str | None:
    """Pillow's name of the format if the file is an animation; None for any other picture.

    Raises:
        InputError: the file is missing, damaged, or not a picture.
    """
    with open_picture(path) as picture:
        return picture.format if count_pictures(picture) > 1 or is_cut_short(path) else None


def count_pictures(picture: Image.Image) -> int:
    """How many pictures an animation has; 1 for all else."""
    if picture.format not in ANIMATED_FORMATS:
        return 1  # Pages, or the same again in other sizes and exposures.
    # A PNG may hold one more, for viewers that do not know of animations.
    return getattr(picture, "n_frames", 1) - bool(picture.info.get("default_image"))


def images_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of the numbers and names that they have.

    Raises:
        InputError: there are none, or the folder may not be read.
    """
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error
    # macOS puts ._NAME beside files on foreign disks; there is no picture in them.
    paths = [path for path in paths if not path.name.startswith("._")]
    if not paths:
        raise InputError(f"the folder {folder} holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(paths, key=natural_order)


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """What names are sorted by so that frame2 comes before frame12."""
    parts = re.split("([0-9]+)", path.stem.casefold())
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], path.name


@contextmanager
def _identified(path: Path) -> Iterator[Image.Image]:
    """The file as Pillow knows it; a TIFF of numbers that Pillow has no place for as OpenCV decodes it."""
    with path.open("rb") as file:
        beginning = file.read(12)
        file.seek(0)
        if beginning[4:8] == b"ftyp":
            _learn_heif()
        try:
            with _quiet():
                picture = Image.open(mended(path) or file, formats=_known_formats())
        except UnidentifiedImageError:
            if not beginning.startswith(TIFF_BEGINNINGS):
                raise
            yield _deep_tiff(path)
            return
        with picture:
            yield picture


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings of odd metadata, which nobody can do anything about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _known_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


@cache
def _learn_heif() -> None:
    """Teaches Pillow the format, when it is first met: the library takes a moment to load."""
    try:
        import pillow_heif
    except ImportError as error:
        from streamseg.errors import MissingExtraError

        raise MissingExtraError("reading HEIC", "pillow-heif", "heic") from error

    pillow_heif.register_heif_opener()


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """A loaded picture of any mode as one of mode L, LA, RGB, RGBA or CMYK."""
    if picture.mode.startswith(("I", "F")):
        numbers = np.asarray(picture)
        grey = Image.fromarray(_levels(numbers))
        if picture.has_transparency_data:  # One of the levels stands for nothing.
            grey.putalpha(Image.fromarray(np.where(numbers == picture.info["transparency"], 0, 255).astype(np.uint8)))
        return grey
    is_grey = picture.mode in ("1", "L", "LA", "La")
    if picture.has_transparency_data:
        mode = "LA" if is_grey else "RGBA"
    else:
        mode = "L" if is_grey else "CMYK" if picture.mode == "CMYK" else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)


def _loses_depth(picture: Image.Image) -> bool:
    """Whether Pillow would drop the lower 8 of 16 bits."""
    if not isinstance(picture, PngImageFile | TiffImageFile) or picture.mode not in ("RGB", "RGBA") or not picture.tile:
        return False
    return ";16" in str(picture.tile[0].args)


def _deep(path: Path, picture: Image.Image) -> Image.Image:
    """A picture of 16 bits; OpenCV turns a TIFF upright by itself, but not a PNG."""
    if picture.format == "TIFF":
        return _deep_tiff(path)
    made = _from_opencv(_decoded(path))
    made.info["icc_profile"] = picture.info.get("icc_profile")
    made.getexif()[Base.Orientation] = picture.getexif().get(Base.Orientation, 1)
    return made


def _deep_tiff(path: Path) -> Image.Image:
    """A TIFF of 16 bits or of floats."""
    with path.open("rb") as file:
        header = file.read(8)
        tags = ImageFileDirectory_v2(header + (file.read(8) if b"+" in header[:4] else b""))
        file.seek(tags.next)
        tags.load(file)
    made = _from_opencv(_decoded(path), PREMULTIPLIED in tags.get(TIFF_EXTRA_SAMPLES, ()))
    made.info["icc_profile"] = tags.get(TIFF_PROFILE)
    return made


def _decoded(path: Path) -> npt.NDArray[Any]:
    """The file's own numbers, grey, BGR or BGRA; paths with any characters are no matter."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # It would print warnings above our one line.
    numbers = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if numbers is None:
        raise UnidentifiedImageError(path)
    return numbers


def _from_opencv(numbers: npt.NDArray[Any], premultiplied: bool = False) -> Image.Image:
    levels = _levels(_straight(numbers) if premultiplied else numbers)
    if levels.ndim == 2:
        return Image.fromarray(levels)
    return Image.fromarray(cv2.cvtColor(levels, cv2.COLOR_BGRA2RGBA if levels.shape[2] == 4 else cv2.COLOR_BGR2RGB))


def _straight(numbers: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Colours that alpha was multiplied into, `(H, W, 4)` of 16 bits or floats -> floats with straight alpha."""
    whole = 1 if np.issubdtype(numbers.dtype, np.floating) else 65535
    straight = (numbers / np.float32(whole)).astype(np.float32, copy=False)
    alpha = straight[..., 3:]
    np.divide(straight[..., :3], alpha, straight[..., :3], where=alpha > 0)
    return straight


def _levels(numbers: npt.NDArray[Any]) -> Pixels:
    """Integers of 16 bits, or floats in [0, 1], to levels of 255; what is beyond is white, what is no number black."""
    if np.issubdtype(numbers.dtype, np.floating):
        light = np.nan_to_num(numbers, posinf=1, neginf=0).clip(0, 1)
        levels: Pixels = np.rint(light * np.float32(255)).astype(np.uint8)
        return levels
    if numbers.dtype == np.uint8:
        return numbers
    words = numbers.clip(0, 65535).astype(np.uint16)
    return cv2.convertScaleAbs(words, alpha=1 / 257).astype(np.uint8, copy=False)
