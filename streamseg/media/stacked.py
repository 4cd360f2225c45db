"""Stacked alpha: frames of twice the height with the matte below the colours, for codecs and players without alpha."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from streamseg.image import Pixels

STACKED_TAG = "streamseg: alpha stacked below the colours"
"""Comment in the metadata of files that streamseg wrote with stacked alpha."""


def is_stacked(metadata: Mapping[str, str]) -> bool:
    """Whether a file's metadata says that its alpha is stacked; Matroska writes keys in capitals."""
    return any(key.lower() == "comment" and text == STACKED_TAG for key, text in metadata.items())


def stack(rgba: Pixels) -> Pixels:
    """Stack RGBA `(H, W, 4)` into RGB `(2 H, W, 3)`: the colours, and below them the alpha as grey."""
    height = rgba.shape[0]
    stacked = np.empty((2 * height, rgba.shape[1], 3), np.uint8)
    stacked[:height], stacked[height:] = rgba[..., :3], rgba[..., 3:]
    return stacked


def unstack(rgb: Pixels) -> Pixels:
    """Return the RGBA `(H, W, 4)` that `stack` stored as RGB `(2 H, W, 3)`."""
    height = rgb.shape[0] // 2
    return np.dstack((rgb[:height], rgb[height : 2 * height, :, 1]))
