"""Images that a user has in memory: arrays, Pillow's images and PyTorch's tensors, as 8-bit sRGB."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from streamseg.decode.images import MAX_LEVEL, image_errors, pixels_of
from streamseg.errors import InputError
from streamseg.image import Pixels

if TYPE_CHECKING:
    from torch import Tensor

LEAST_FLOAT, GREATEST_FLOAT = -0.5, 1.5
"""Floats between these are taken for [0, 1], beyond which resampling and sharpening reach a little."""


def given_pixels(image: object, what: str, kinds: str) -> Pixels:
    """Turn an image in memory into RGB `(H, W, 3)` or RGBA `(H, W, 4)`, uint8.

    Args:
        image: an array uint8 `(H, W, 3)` or `(H, W, 4)`, a PIL image, or a tensor on any device: `(H, W, C)` or
            `(C, H, W)`, uint8 or float in [0, 1]. PyTorch is not imported for it.
        what: it is for, as in `an image`.
        kinds: what it may be, for the message if it is nothing of the kind.

    Raises:
        InputError: it is no image, or its levels are not in the range that they should be in.
    """
    if isinstance(image, Image.Image):
        pixels = _of_pillow(image)
    elif isinstance(image, np.ndarray):
        pixels = image
    elif "torch" in sys.modules and isinstance(image, sys.modules["torch"].Tensor):
        pixels = _of_tensor(image)
    else:
        raise InputError(f"{what} is {kinds}; got {type(image).__name__}")
    if pixels.dtype != np.uint8 or pixels.shape[2:] not in {(3,), (4,)}:
        raise InputError(
            f"{what} array is uint8 (H, W, 3) in RGB, or (H, W, 4) with straight alpha; got {pixels.dtype} "
            f"{pixels.shape}"
        )
    return pixels


def _of_pillow(image: Image.Image) -> Pixels:
    """Decode a PIL image, which may be open and not read yet."""
    with image_errors(getattr(image, "filename", "") or "the image"):
        image.load()
        if image.mode == "F":
            _check_floats(*image.getextrema())
        if image.mode == "I":
            _check_integers(*image.getextrema())
        return pixels_of(image)


def _of_tensor(tensor: Tensor) -> Pixels:
    """`(H, W, C)`, or `(C, H, W)` with the channels first -> uint8 on the host."""
    if tensor.ndim == 3 and tensor.shape[0] in (3, 4) and tensor.shape[2] not in (3, 4):
        tensor = tensor.permute(1, 2, 0)
    if tensor.is_floating_point():
        if tensor.numel():
            _check_floats(*(float(level) for level in tensor.aminmax()))
        tensor = tensor.mul(255).round().clamp(0, 255).byte()
    pixels: Pixels = tensor.cpu().numpy()
    return pixels


def _check_floats(least: Any, greatest: Any) -> None:
    """Raise InputError at levels that would be clipped to black and white, and at NaN."""
    if not (least >= LEAST_FLOAT and greatest <= GREATEST_FLOAT):
        raise InputError(
            f"an image of floats has levels from 0 to 1; got {least:g} to {greatest:g}: "
            "divide levels of 255 by 255, or give uint8"
        )


def _check_integers(least: Any, greatest: Any) -> None:
    """Raise InputError at levels that are not of 16 bits: those of 8 bits would be black, larger ones white."""
    if 0 < greatest <= 255 or greatest > MAX_LEVEL:
        raise InputError(
            f"an image in Pillow's mode I has levels of 16 bits, 0 to {MAX_LEVEL}; got {least} to {greatest}: "
            'levels of 255 are those of mode L, see Image.convert("L")'
        )
