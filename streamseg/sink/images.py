"""Writers of single images and numbered image sequences."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import cv2
import numpy as np

from streamseg.composite.blend import blend
from streamseg.errors import OutputError
from streamseg.frames import Frame, counted
from streamseg.image import Pixels, to_square_pixels
from streamseg.media.atomic import atomic_write, move
from streamseg.media.storage import AnyPath, RemotePath, files_in, path_of
from streamseg.sink.base import BaseSink
from streamseg.sink.exr import encode_exr
from streamseg.sink.formats import OPAQUE as VIDEOS
from streamseg.sink.gif import encode_gif
from streamseg.sink.parts import Part
from streamseg.sink.webp import encode_webp
from streamseg.yuv import AnyImage, RgbImage

NUMBER_PATTERN = re.compile(r"(?:[^%]|%%)*%0?[0-9]?d(?:[^%]|%%)*")
"""A name with one decimal number of at most nine digits; %% stands for a percent sign."""

PADDED_NUMBER = re.compile(r"%0\d+d")

HOLD_ALPHA = (".png", ".webp", ".tif", ".tiff", ".exr", ".gif", ".apng")
WITHOUT_ALPHA = (".jpg", ".jpeg", ".bmp")
"""Suffixes of the single images that can be written."""

MOVES_AT_ONCE = 16
"""Images that object storage is asked to move at the same time, each of which takes it two answers."""

SEQUENCES = {
    ".png": "PNG",
    ".webp": "lossless WebP",
    ".exr": "OpenEXR, half floats, linear light",
}
"""Formats of sequences by suffix, all lossless with alpha, with their labels for the summary."""


class ImageSequence(BaseSink):
    """A numbered image sequence; each file is written, or uploaded, in one move."""

    def __init__(self, pattern: AnyPath, straight: bool = False) -> None:
        """Take a name with a number in it.

        Args:
            pattern: such as `x_%05d.png`.
            straight: see `OutputSettings`.

        Raises:
            OutputError: it is no such name, its format loses something, or its folder cannot be made.
        """
        folder, name = pattern.parent, pattern.name
        if not NUMBER_PATTERN.fullmatch(name):
            raise OutputError(f"{name!r} is not a pattern for numbered files; write one such as x_%05d.png")
        suffix = Path(name).suffix.lower()
        if suffix not in SEQUENCES:
            only = ", ".join(SEQUENCES)
            raise OutputError(f"cannot write a sequence as {name}: only {only} keep every level and the transparency")
        make_folder(folder)
        self._pattern, self._straight, self._count = pattern, straight, 0
        self._format = SEQUENCES[suffix]
        if suffix == ".exr":
            self._format += f", {'straight' if straight else 'premultiplied'} alpha"

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return f"{self._pattern}: {counted(self._count, 'image')}, {self._format}"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        path = self._pattern.with_name(self._pattern.name % frame.index)
        write_image(path, frame.pixels, self._straight, frame.pixel_aspect)
        self._count += 1

    def take(self, part: Part) -> None:
        """See `JoiningSink`; the images are moved to their places, and those that were moved before stay there.

        Raises:
            OutputError: an image cannot be moved.
        """

        def place(image: AnyPath) -> None:
            number = part.first_number + int(image.stem)
            move(image, self._pattern.with_name(self._pattern.name % number))

        with ThreadPoolExecutor(MOVES_AT_ONCE if isinstance(part.path, RemotePath) else 1) as pool:
            list(pool.map(place, sorted(files_in(part.path))))
        self._count += part.frames


def sequence_pattern(out: str) -> AnyPath | None:
    """Return the pattern of the image sequence that an output names, or None where it names one file.

    A video may have a percent sign in its name, as in 50%.mp4.
    """
    path = path_of(out)
    if out.endswith(("/", os.sep)) or path.is_dir():
        return path / "%05d.png"
    suffix = path.suffix.lower()
    if "%" not in path.name:
        return None
    if suffix == ".webp":  # A sequence or an animation.
        return path if NUMBER_PATTERN.fullmatch(path.name) else None
    if suffix in {*VIDEOS, ".gif", ".apng"}:
        return path if PADDED_NUMBER.search(path.name) else None
    return path


def write_image(path: AnyPath, pixels: Pixels, straight: bool = False, pixel_aspect: Fraction = Fraction(1)) -> None:
    """Write RGB, RGBA (straight alpha) or grey as the format of the file's name, in one move.

    What opens pictures takes their pixels for square, and so they become; OpenEXR alone says what they are.

    Args:
        path: the file.
        pixels: levels of 255.
        straight: see `OutputSettings`.
        pixel_aspect: width of a pixel over its height.

    Raises:
        OutputError: the format is unknown or the file cannot be written.
    """
    encoders: dict[str, Callable[[Pixels], bytes]] = {
        ".exr": partial(encode_exr, straight=straight, pixel_aspect=pixel_aspect),
        ".webp": encode_webp,
        ".gif": encode_gif,
    }
    suffix = path.suffix.lower()
    own = encoders.get(suffix)
    if suffix != ".exr":
        pixels = to_square_pixels(pixels, pixel_aspect)
    atomic_write(path, own(pixels) if own else _encode(path, pixels))


def _encode(path: AnyPath, pixels: Pixels) -> bytes:
    try:
        is_encoded, data = cv2.imencode(".png" if path.suffix.lower() == ".apng" else path.suffix, to_bgr(pixels))
    except cv2.error as error:
        known = f"{path.suffix or 'no suffix'} is not a known image format, use .png"
        raise OutputError(f"cannot write {path}: {known}") from error
    if not is_encoded:
        raise OutputError(f"{path} cannot be encoded as {path.suffix}")
    return data.tobytes()


def make_folder(folder: AnyPath) -> None:
    """Make a folder and its parents; object storage has none to be made.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    if isinstance(folder, RemotePath):
        folder.check_writable()
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise OutputError(f"cannot write into the folder {folder}: permission denied")


def to_bgr(pixels: Pixels) -> Pixels:
    """Convert RGB, RGBA or grey to OpenCV's BGR, BGRA or grey; always a copy."""
    if pixels.ndim == 2:
        return pixels.copy()
    code = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return cv2.cvtColor(pixels, code).astype(np.uint8, copy=False)


def opaque(image: AnyImage) -> AnyImage:
    """Convert grey and RGBA to RGB, RGBA over a checkerboard; RGB and YUV are returned unchanged."""
    if image.shape[2:] == (3,):
        return image
    return RgbImage(over_checkerboard(image.pixels) if image.shape[2:] == (4,) else image.rgb)


def over_checkerboard(rgba: Pixels) -> Pixels:
    """Composite RGBA `(H, W, 4)` over the checkerboard that stands for transparency; return RGB `(H, W, 3)`."""
    rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB).astype(np.uint8, copy=False)
    alpha = cv2.extractChannel(rgba, 3).astype(np.uint8, copy=False)
    return blend(rgb, _checkerboard(*rgba.shape[:2]), alpha)


@lru_cache(maxsize=4)
def _checkerboard(height_px: int, width_px: int, square_px: int = 16) -> Pixels:
    rows, columns = np.indices((height_px, width_px)) // square_px
    board = np.where((rows + columns) % 2, 255, 204).astype(np.uint8)
    return np.dstack((board, board, board))
