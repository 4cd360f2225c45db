"""Contact sheets: what the network made of some pictures, beside what it should have made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.sink.images import write_image
from train.data import Pixels

TILE_PX, GAP_PX, CAPTION_PX, CHECK_PX = 160, 4, 16, 8
TILES_ABREAST = 2
GREYS = (150, 105)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One picture of a sheet: RGB `(H, W, 3)`, mask `(H, W)`, both uint8, alpha `(H, W)` in [0, 1], and a caption."""

    image: Pixels
    mask: Pixels
    alpha: npt.NDArray[np.float32]
    caption: str = ""

    def reduced(self, caption: str | None = None) -> Tile:
        """The same at the size that it has on a sheet, with another caption if one is given."""
        factor = TILE_PX / max(self.mask.shape)
        size = tuple(max(1, round(side * factor)) for side in self.mask.shape[::-1])
        image, mask, alpha = (
            cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (self.image, self.mask, self.alpha)
        )
        return Tile(
            image.astype(np.uint8, copy=False),
            mask.astype(np.uint8, copy=False),
            alpha.astype(np.float32, copy=False),
            self.caption if caption is None else caption,
        )


def contact_sheet(tiles: Sequence[Tile], path: Path) -> None:
    """Writes image, mask, alpha and cut-out of every tile to one PNG, two tiles abreast.

    Raises:
        OutputError: the file cannot be written.
    """
    strips = [_strip(tile.reduced()) for tile in tiles]
    blank = np.zeros_like(strips[0])
    strips += [blank] * (-len(strips) % TILES_ABREAST)
    rows = [np.hstack(strips[first : first + TILES_ABREAST]) for first in range(0, len(strips), TILES_ABREAST)]
    write_image(path, np.vstack(rows))


def _strip(tile: Tile) -> Pixels:
    """A caption over the four pictures of a tile, RGB."""
    alpha = tile.alpha[..., None]
    cutout = tile.image * alpha + _checkerboard(*tile.mask.shape) * (1 - alpha)
    pictures = (tile.image, _grey(tile.mask), _grey(tile.alpha * 255), cutout.round().astype(np.uint8))
    strip = np.hstack([_framed(picture) for picture in pictures])
    place = (GAP_PX, strip.shape[0] - GAP_PX)
    font = (cv2.FONT_HERSHEY_SIMPLEX, 0.4, (230, 230, 230), 1, cv2.LINE_AA)
    cv2.putText(strip, tile.caption, place, *font)
    return strip


def _framed(picture: Pixels) -> Pixels:
    """The picture at the top left of a black square with room for the caption."""
    frame = np.zeros((TILE_PX + GAP_PX + CAPTION_PX, TILE_PX + GAP_PX, 3), np.uint8)
    frame[: picture.shape[0], : picture.shape[1]] = picture
    return frame


def _grey(values: npt.NDArray[np.generic]) -> Pixels:
    return np.repeat(values.round().astype(np.uint8)[..., None], 3, axis=2)


def _checkerboard(height: int, width: int) -> npt.NDArray[np.float32]:
    y, x = np.indices((height, width)) // CHECK_PX
    return np.where((y + x) % 2, *GREYS).astype(np.float32)[..., None]
