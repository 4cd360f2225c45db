"""ICC colour management: conversion of images with a colour profile to sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""ICC's names of colour spaces -> Pillow's modes."""

LATTICE_STEPS = 9
"""Levels of red, green and blue at which a transform is compared with the identity."""


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image to sRGB of mode RGB or RGBA; a profile that is unreadable or does not fit is ignored.

    Args:
        image: of mode L, LA, RGB, RGBA or CMYK.
        profile: the image's ICC profile, if it has one.
    """
    wanted = "RGBA" if image.mode.endswith("A") else "RGB"
    colour_mode = image.mode.removesuffix("A")
    found = _find_transform(profile, colour_mode) if profile else None
    if found is None:
        return image if image.mode == wanted else image.convert(wanted)
    mode, transform = found
    converted = transform.apply(image.convert(mode))
    if wanted == "RGBA":
        converted.putalpha(image.getchannel("A"))
    return converted


@lru_cache(maxsize=8)
def _find_transform(profile: bytes, colour_mode: str) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """Return a transform to sRGB and the mode that it takes; None where the profile changes nothing or does not fit."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = MODES[source.profile.xcolor_space.strip()]
        # Grey images often carry the profile of a colour camera; any other mismatch is an error of the file.
        if mode != colour_mode and (colour_mode, mode) != ("L", "RGB"):
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, KeyError):
        return None
    return (mode, transform) if mode == "CMYK" or _changes_colours(transform, mode) else None


def _changes_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform moves any colour by more than one level; the many profiles for sRGB itself move none."""
    steps = np.linspace(0, 255, LATTICE_STEPS).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    before = Image.fromarray(colours).convert(mode)
    difference = np.asarray(transform.apply(before)).astype(int) - np.asarray(before.convert("RGB"))
    return bool(np.abs(difference).max() > 1)
