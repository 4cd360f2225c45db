"""Synthetic pairs with exact soft alpha: cut-outs over backgrounds, framed as webcams frame people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from streamseg.errors import DataError
from train.augment import resize
from train.data import Blob, Pixels, decode, members

CUTOUTS, BACKGROUNDS = "cutouts_rgba", "backgrounds"

FRAMES = ((16, 9), (16, 9), (4, 3), (1, 1), (9, 16))
"""Proportions, width to height; most webcams are 16:9."""

EMPTY_SHARE = 0.08
"""Frames with nobody in them: alpha must stay empty when the person leaves."""

OVER_BACKGROUND_SHARE = 0.5
"""Composites over a background; the others are over a training image, with whoever is in it."""

HEIGHTS = (0.35, 1.3)
"""Height of a cut-out as a share of the frame's, from the end of the room to close before the camera."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a cut-out stands in a frame.

    Attributes:
        size: height and width that it is resized to, px.
        mirrored: whether left and right change places.
        corner: row and column of its top left in the frame, which it may stand over on any side.
    """

    size: tuple[int, int]
    mirrored: bool
    corner: tuple[int, int]

    @classmethod
    def draw(cls, cutout: tuple[int, int], frame: tuple[int, int], rng: np.random.Generator) -> Self:
        """On the frame's lower edge or sunk into it, or anywhere; across, in the middle or anywhere.

        Args:
            cutout: height and width, px.
            frame: height and width, px.
            rng: draws.
        """
        height, width = frame
        factor = rng.uniform(*HEIGHTS) * height / cutout[0]
        mirrored = bool(rng.random() < 0.5)
        tall, wide = (max(1, round(length * factor)) for length in cutout)
        top = height - tall * rng.uniform(0.75, 1.0) if rng.random() < 0.8 else rng.uniform(0, height) - tall / 2
        left = rng.uniform(-0.3, 1.3) * width - wide / 2 if rng.random() < 0.5 else (width - wide) / 2
        return cls((tall, wide), mirrored, (round(top), round(left)))

    def of(self, rgba: Pixels, frame: tuple[int, int]) -> Pixels:
        """Premultiplied RGBA of a cut-out -> of a frame of a height and width."""
        mirrored = rgba[:, ::-1] if self.mirrored else rgba
        top, left = self.corner
        shift = np.array([[1, 0, left], [0, 1, top]], np.float32)
        resized = resize(mirrored, self.size, antialias=True)
        return cv2.warpAffine(resized, shift, frame[::-1]).astype(np.uint8, copy=False)


class Composites:
    """Cut-outs and backgrounds of one source; makes as many different pairs as are asked for."""

    def __init__(self, source: Path) -> None:
        """Lists a folder or tar shard of `cutouts_rgba/` and `backgrounds/`.

        Raises:
            DataError: one of the two is missing.
        """
        found: dict[str, list[Blob]] = {CUTOUTS: [], BACKGROUNDS: []}
        for name, blob in sorted(members(source), key=lambda member: str(member[0])):
            if name.parent.name in found and not name.name.startswith("."):
                found[name.parent.name].append(blob)
        if missing := [folder for folder, blobs in found.items() if not blobs]:
            raise DataError(f"{source} has nothing in {' and '.join(missing)}; composites need both folders")
        self.cutouts, self.backgrounds = found[CUTOUTS], found[BACKGROUNDS]

    def frame(self, short_side_px: int, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """A new picture: RGB `(H, W, 3)` and its exact alpha `(H, W)`, both uint8; with nobody in it now and then.

        Raises:
            DataError: a picture does not decode.
        """
        background = self._background(short_side_px, rng)
        empty = np.zeros(background.shape[:2], np.uint8)
        if rng.random() < EMPTY_SHARE:
            return background, empty
        return self.onto(background, empty, rng)

    def onto(self, image: Pixels, mask: Pixels, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
        """A cut-out over a picture that may have a foreground already; the two alphas are joined.

        Raises:
            DataError: the cut-out does not decode.
        """
        rgba = self.cutout(int(rng.integers(len(self.cutouts))))
        height, width = mask.shape
        placement = Placement.draw((rgba.shape[0], rgba.shape[1]), (height, width), rng)
        return laid_over(image, mask, placement.of(rgba, (height, width)))

    def cutout(self, index: int) -> Pixels:
        """RGBA `(H, W, 4)`, premultiplied, so that the transparent pixels' own colours do not bleed into the edge.

        Raises:
            DataError: it does not decode, or has no alpha.
        """
        rgba = decode_rgba(self.cutouts[index])
        rgba[..., :3] = (rgba[..., :3] * (rgba[..., 3:].astype(np.float32) / 255)).round()
        return rgba

    def _background(self, short_side_px: int, rng: np.random.Generator) -> Pixels:
        picture = decode(self.backgrounds[rng.integers(len(self.backgrounds))], cv2.IMREAD_COLOR)
        return camera_view(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), short_side_px, rng)


def camera_view(picture: Pixels, short_side_px: int, rng: np.random.Generator) -> Pixels:
    """A random part of a picture in the proportions of a camera."""
    across, down = FRAMES[rng.integers(len(FRAMES))]
    unit = min(picture.shape[1] / across, picture.shape[0] / down) * rng.uniform(0.6, 1.0)
    width, height = max(1, int(across * unit)), max(1, int(down * unit))
    y, x = (int(rng.integers(whole - part + 1)) for whole, part in zip(picture.shape, (height, width), strict=False))
    factor = short_side_px / min(width, height)
    size = (round(height * factor), round(width * factor))
    return resize(picture[y : y + height, x : x + width], size, antialias=True)


def laid_over(image: Pixels, mask: Pixels, placed: Pixels) -> tuple[Pixels, Pixels]:
    """Premultiplied RGBA over a picture that may have a foreground already; the two alphas are joined."""
    rest = cv2.bitwise_not(placed[..., 3])
    behind = cv2.merge((image, mask))
    whole = cv2.add(placed, cv2.multiply(behind, cv2.merge((rest,) * 4), scale=1 / 255)).astype(np.uint8, copy=False)
    return whole[..., :3], whole[..., 3]


def decode_rgba(blob: Blob) -> Pixels:
    """Decodes a cut-out to straight RGBA `(H, W, 4)`.

    Raises:
        DataError: it does not decode, or has no alpha.
    """
    pixels = decode(blob, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 3 or pixels.shape[2] != 4:
        raise DataError(f"{blob.path} (byte {blob.offset}) has no alpha; cut-outs must be RGBA pictures")
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA).astype(np.uint8, copy=False)
