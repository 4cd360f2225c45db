"""Alpha below the colours, in pictures of twice the height: for files and players that know no alpha."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from streamseg.image import Pixels

STACKED_TAG = "streamseg: alpha stacked below the colours"
"""The comment in a file's metadata by which we know our own."""


def is_stacked(metadata: Mapping[str, str]) -> bool:
    """Whether a file is one of ours; Matroska's names are in capitals."""
    return any(key.lower() == "comment" and text == STACKED_TAG for key, text in metadata.items())


def stack(rgba: Pixels) -> Pixels:
    """A cut-out `(H, W, 4)` -> RGB `(2 H, W, 3)`: the colours, and below them alpha in grey."""
    height = rgba.shape[0]
    stacked = np.empty((2 * height, rgba.shape[1], 3), np.uint8)
    stacked[:height], stacked[height:] = rgba[..., :3], rgba[..., 3:]
    return stacked


def unstack(rgb: Pixels) -> Pixels:
    """What `stack` made, RGB `(2 H, W, 3)` -> a cut-out `(H, W, 4)`."""
    height = rgb.shape[0] // 2
    return np.dstack((rgb[:height], rgb[height : 2 * height, :, 1]))
