"""Contact sheets: what the network made of some pictures, beside what it should have made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.data import Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """One picture of a sheet: RGB `(H, W, 3)`, mask `(H, W)`, both uint8, alpha `(H, W)` in [0, 1], and a caption."""

    image: Pixels
    mask: Pixels
    alpha: npt.NDArray[np.float32]
    caption: str = ""


def contact_sheet(tiles: Sequence[Tile], path: Path) -> None:
    """Writes image, mask, alpha and cut-out of every tile to one PNG."""
    raise NotImplementedError(tiles, path)
