"""Photos: one, or a folder of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from streamseg.decode.base import ClosingSource, check_size, size_text
from streamseg.errors import InputError
from streamseg.frames import Frame, Pixels, VideoInfo

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
MAY_HAVE_ALPHA = (".png", ".webp", ".tif", ".tiff")
FOLDER_RATE = Fraction(25)


class ImageFiles(ClosingSource):
    """One photo, or a folder of photos of one size as a clip of 25 frames a second."""

    def __init__(self, path: Path) -> None:
        self._paths = images_in(path) if path.is_dir() else [path]
        first = read_image(self._paths[0])
        check_size(first.shape, str(self._paths[0]))
        self._size = first.shape
        self.info = VideoInfo(first.shape[1], first.shape[0], FOLDER_RATE, 1 / FOLDER_RATE, len(self._paths))

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            pixels = read_image(path)
            if pixels.shape[:2] != self._size[:2]:
                first = f"{self._paths[0].name} is {size_text(self._size)}"
                raise InputError(f"{path} is {size_text(pixels.shape)} but {first}; all must be alike")
            yield Frame(index, index / FOLDER_RATE, pixels, time.monotonic())


def read_image(path: Path) -> Pixels:
    """Reads a picture upright as RGB `(H, W, 3)`, or as RGBA `(H, W, 4)` where it has alpha.

    Raises:
        InputError: the file is missing or is not a picture.
    """
    if path.suffix.lower() in MAY_HAVE_ALPHA:
        whole = read_image_bgr(path, cv2.IMREAD_UNCHANGED)
        if whole.ndim == 3 and whole.shape[2] == 4:
            return cv2.cvtColor(whole, cv2.COLOR_BGRA2RGBA).astype(np.uint8, copy=False)
    return cv2.cvtColor(read_image_bgr(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_image_bgr(path: Path, mode: int) -> Pixels:
    """Reads a picture as OpenCV decodes it under `mode`, whatever characters its name has.

    Raises:
        InputError: the file is missing or is not a picture.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        pixels = cv2.imdecode(data, mode) if data.size else None
    except cv2.error as error:
        raise InputError(f"{path} is damaged, or larger than the 1,000 megapixels that can be read") from error
    if pixels is None:
        raise InputError(f"{path} is not a picture that can be read ({', '.join(IMAGE_SUFFIXES)})")
    if pixels.dtype == np.uint16:  # Only IMREAD_UNCHANGED keeps 16 bits.
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    return pixels.astype(np.uint8, copy=False)


def images_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names.

    Raises:
        InputError: there are none, or the folder may not be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error
    if not paths:
        raise InputError(f"the folder {folder} holds no pictures ({', '.join(IMAGE_SUFFIXES)})")
    return paths
