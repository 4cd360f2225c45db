"""Colour profiles (ICC): what a picture's numbers mean, turned into what they would be in sRGB."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour spaces of profiles, by ICC's names and by Pillow's."""

LATTICE = 9
"""Steps of red, green and blue that a conversion is tried on."""


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts a picture to sRGB, RGB or RGBA; a profile that cannot be read or does not fit is passed over.

    Args:
        picture: of mode L, LA, RGB, RGBA or CMYK.
        profile: the picture's ICC profile, if it has one.
    """
    wanted = "RGBA" if picture.mode.endswith("A") else "RGB"
    colour_mode = picture.mode.removesuffix("A")
    conversion = _conversion(profile, colour_mode) if profile else None
    if conversion is None:
        return picture if picture.mode == wanted else picture.convert(wanted)
    mode, transform = conversion
    converted = transform.apply(picture.convert(mode))
    if wanted == "RGBA":
        converted.putalpha(picture.getchannel("A"))
    return converted


@lru_cache(maxsize=8)
def _conversion(profile: bytes, colour_mode: str) -> tuple[str, ImageCms.ImageCmsTransform] | None:
    """The mode that colours have to be given in and their way to sRGB; None where there is nothing to convert."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        mode = MODES[source.profile.xcolor_space.strip()]
        # Grey pictures often carry the profile of a colour camera; nothing else can be what the profile is not for.
        if mode != colour_mode and (colour_mode, mode) != ("L", "RGB"):
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, KeyError):
        return None
    return (mode, transform) if mode == "CMYK" or _changes(transform, mode) else None


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether anything moves by more than a level; sRGB's own profiles, of which there are many, move nothing."""
    steps = np.linspace(0, 255, LATTICE).round().astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    given = Image.fromarray(colours).convert(mode)
    difference = np.asarray(transform.apply(given)).astype(int) - np.asarray(given.convert("RGB"))
    return bool(np.abs(difference).max() > 1)
