"""What a preview draws over the picture, with alpha, by Pillow: lines of text, a recording mark, the list of keys."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streamseg.image import Pixels

LETTERS_PER_HEIGHT = 1 / 38
"""Size of letters as a share of the picture's height."""
MIN_LETTERS_PX = 15

BAND = (0, 0, 0, 150)
PANEL = (12, 12, 14, 215)
KEYCAP = (70, 70, 76, 255)
WHITE = (255, 255, 255, 255)
GREY = (190, 190, 195, 255)
RED = (235, 52, 52, 255)

FINER = 2
"""Everything is drawn so much larger and then reduced, as Pillow's own edges are ragged."""

SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf", "Arial Unicode.ttf")
"""Fonts for names of files with letters that Pillow's own font lacks, which is all beyond ASCII."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ARROWS = {"Right": ((0.15, 0.0), (1.0, 0.5), (0.15, 1.0)), "Left": ((0.85, 0.0), (0.0, 0.5), (0.85, 1.0))}
"""Keys whose cap shows a triangle: its corners as shares of the letters' size."""


class Stamp(NamedTuple):
    """Something drawn once and laid over many pictures.

    Attributes:
        ink: BGR `(h, w, 3)` times alpha.
        shade: what is left of the picture below, `(h, w, 3)`, of 255.
    """

    ink: Pixels
    shade: Pixels

    @property
    def height_px(self) -> int:
        """Its height."""
        return int(self.ink.shape[0])

    @property
    def width_px(self) -> int:
        """Its width."""
        return int(self.ink.shape[1])

    def lay_over(self, bgr: Pixels, left: int, top: int) -> None:
        """Draw onto BGR `(H, W, 3)` in place; what juts out is cut off."""
        left, top = max(0, left), max(0, top)
        below = bgr[top : top + self.height_px, left : left + self.width_px]
        if below.size:
            height, width = below.shape[:2]
            shaded = cv2.multiply(below, self.shade[:height, :width], scale=1 / 255)
            cv2.add(shaded, self.ink[:height, :width], dst=below)


def letters_px(height_px: int) -> int:
    """Return the size of letters for a picture of some height."""
    return max(MIN_LETTERS_PX, round(height_px * LETTERS_PER_HEIGHT))


@lru_cache(maxsize=16)
def text_band(text: str, size_px: int, max_width_px: int) -> Stamp:
    """Draw text on a half-transparent band, in several lines where it is too long for one."""
    size_px, max_width_px = FINER * size_px, FINER * max_width_px
    font = _font(text, size_px)
    padding_px = size_px // 2
    letters = max(8, int((max_width_px - 2 * padding_px) / (0.55 * size_px)))
    wrapped = "\n".join(line for part in text.splitlines() for line in textwrap.wrap(part, letters) or [""])
    left, _, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), wrapped, font)
    # The band's height does not depend on which letters there are.
    lines = wrapped.count("\n") + 1
    height_px = max(round(bottom), round(lines * 1.25 * size_px)) + padding_px
    image, draw = _sheet(round(right - left) + 2 * padding_px, height_px + padding_px // 2, BAND, size_px // 3)
    draw.multiline_text((padding_px - left, padding_px * 3 // 4), wrapped, WHITE, font)
    return _stamp(image)


@lru_cache(maxsize=4)
def recording_mark(size_px: int) -> Stamp:
    """Draw a red dot and REC on a half-transparent band."""
    size_px *= FINER
    font = _font("REC", size_px)
    padding_px = size_px // 2
    width_px = round(font.getlength("REC")) + round(1.2 * size_px) + 2 * padding_px
    height_px = round(1.25 * size_px) + padding_px + padding_px // 2
    image, draw = _sheet(width_px, height_px, BAND, size_px // 3)
    middle_px = height_px / 2
    radius_px = 0.38 * size_px
    draw.ellipse((padding_px, middle_px - radius_px, padding_px + 2 * radius_px, middle_px + radius_px), RED)
    draw.text((padding_px + round(1.2 * size_px), middle_px), "REC", WHITE, font, anchor="lm")
    return _stamp(image)


@lru_cache(maxsize=4)
def key_list(rows: Sequence[tuple[tuple[str, ...], str]], height_px: int) -> Stamp:
    """Draw the keys and what they do, one row each, to fit into a picture of some height.

    Args:
        rows: names of keys, such as `n` or `Right`, and what they do.
        height_px: of the picture.
    """
    row_px = FINER * min(1.75 * letters_px(height_px), 0.94 * height_px / (len(rows) + 2))
    size_px = max(8, round(row_px / 1.75))
    font = _font("".join(does for _, does in rows), size_px)
    cap_px = round(1.4 * size_px)
    caps_px = max(sum(_cap_width(key, font, size_px) + size_px // 2 for key in keys) for keys, _ in rows)
    words_px = max(font.getlength(does) for _, does in rows)
    margin_px = size_px
    image, draw = _sheet(
        round(2 * margin_px + caps_px + size_px // 2 + words_px),
        round((len(rows) + 1) * row_px + margin_px),
        PANEL,
        size_px // 2,
    )
    draw.text((margin_px, margin_px / 2 + row_px / 2), "Keys", GREY, font, anchor="lm")
    for number, (keys, does) in enumerate(rows, start=1):
        middle_px = margin_px / 2 + (number + 0.5) * row_px
        left_px = float(margin_px)
        for key in keys:
            width_px = _cap_width(key, font, size_px)
            _draw_cap(draw, key, font, (left_px, middle_px - cap_px / 2, left_px + width_px, middle_px + cap_px / 2))
            left_px += width_px + size_px // 2
        draw.text((margin_px + caps_px + size_px // 2, middle_px), does, WHITE, font, anchor="lm")
    return _stamp(image)


def _cap_width(key: str, font: Font, size_px: int) -> float:
    return max(1.4 * size_px, (0 if key in ARROWS else font.getlength(key)) + 0.9 * size_px)


def _draw_cap(draw: ImageDraw.ImageDraw, key: str, font: Font, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    height_px = bottom - top
    draw.rounded_rectangle(box, height_px / 5, KEYCAP)
    middle = ((left + right) / 2, (top + bottom) / 2)
    if key in ARROWS:
        side_px = 0.45 * height_px
        corners = [(middle[0] + (x - 0.5) * side_px, middle[1] + (y - 0.5) * side_px) for x, y in ARROWS[key]]
        draw.polygon(corners, WHITE)
    else:
        draw.text(middle, key, WHITE, font, anchor="mm")


def _font(text: str, size_px: int) -> Font:
    """Return Pillow's own font, or a font of the system for letters that it lacks."""
    for name in () if text.isascii() else SYSTEM_FONTS:
        with suppress(OSError):
            return _system_font(name, size_px)
    return ImageFont.load_default(size_px)


@lru_cache(maxsize=16)
def _system_font(name: str, size_px: int) -> Font:
    return ImageFont.truetype(name, size_px)


def _sheet(
    width_px: int, height_px: int, colour: tuple[int, int, int, int], radius_px: int
) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return a transparent image with a rounded rectangle, and what draws on it."""
    image = Image.new("RGBA", (width_px, height_px))
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((0, 0, width_px - 1, height_px - 1), radius_px, colour)
    return image, draw


def _stamp(image: Image.Image) -> Stamp:
    rgba = np.asarray(image.reduce(FINER))
    alpha = np.dstack([rgba[..., 3]] * 3)
    ink = cv2.multiply(np.ascontiguousarray(rgba[..., 2::-1]), alpha, scale=1 / 255)
    return Stamp(ink.astype(np.uint8, copy=False), cv2.bitwise_not(alpha).astype(np.uint8, copy=False))
