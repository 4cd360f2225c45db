"""Scene cuts, found on a thumbnail of the picture."""

from __future__ import annotations

import cv2
import numpy as np

from streamseg.image import Pixels
from streamseg.yuv import YuvImage, rgb_weights

CUT_THRESHOLD = 30.0
"""Mean absolute change of the thumbnail, in levels of 255, from which on it is another scene."""

THUMBNAIL_SIDE = 12
"""Sides of the thumbnail for finding cuts: coarse, so that a pan changes little of it."""

POINTS_PER_SIDE = 96
"""Points of the frame along each side that the thumbnail averages, so that noise does not show in it."""


class CutDetector:
    """Tells a scene cut from a thumbnail of the picture."""

    def __init__(self) -> None:
        self._last: cv2.typing.MatLike | None = None

    def is_cut(self, picture: Pixels | YuvImage) -> bool:
        """Whether it shows another scene than the picture before."""
        thumbnail = _thumbnail(picture)
        last, self._last = self._last, thumbnail
        return last is None or float(cv2.absdiff(thumbnail, last).mean()) > CUT_THRESHOLD


def _thumbnail(picture: Pixels | YuvImage) -> cv2.typing.MatLike:
    """RGB of a few coarse squares, up to a constant."""
    if isinstance(picture, np.ndarray):
        return _coarse(picture)
    return np.dstack([_coarse(values) for values in picture.values]) @ rgb_weights().astype(np.float32)


def _coarse(values: Pixels) -> cv2.typing.MatLike:
    step_y, step_x = (max(1, length // POINTS_PER_SIDE) for length in values.shape[:2])
    points = values[::step_y, ::step_x].astype(np.float32)
    return cv2.resize(points, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
