"""Scene cut detection: compare thumbnails of consecutive frames."""

from __future__ import annotations

import cv2
import numpy as np

from streamseg.image import Pixels
from streamseg.yuv import YuvImage, rgb_weights

CUT_THRESHOLD = 30.0
"""Mean absolute difference of two thumbnails, in levels of 255, above which a scene cut is detected."""

THUMBNAIL_SIDE = 12
"""Side of the thumbnail in pixels: so coarse that a pan changes little of it."""

POINTS_PER_SIDE = 96
"""Points of the frame along each side that the thumbnail averages, so that noise does not show in it."""


class CutDetector:
    """Detects scene cuts from frame to frame."""

    def __init__(self) -> None:
        self._last: cv2.typing.MatLike | None = None

    def is_cut(self, image: Pixels | YuvImage) -> bool:
        """Return whether an image begins another scene than the image of the last call; True at the first call."""
        thumbnail = _thumbnail(image)
        last, self._last = self._last, thumbnail
        return last is None or float(cv2.absdiff(thumbnail, last).mean()) > CUT_THRESHOLD


def _thumbnail(image: Pixels | YuvImage) -> cv2.typing.MatLike:
    """Average an image to a coarse RGB thumbnail; for YUV, up to a constant offset."""
    if isinstance(image, np.ndarray):
        return _coarse(image)
    return np.dstack([_coarse(plane) for plane in image.planes]) @ rgb_weights().astype(np.float32)


def _coarse(values: Pixels) -> cv2.typing.MatLike:
    """Average a grid of points of `(H, W[, C])` to the thumbnail's size."""
    step_y, step_x = (max(1, length // POINTS_PER_SIDE) for length in values.shape[:2])
    points = values[::step_y, ::step_x].astype(np.float32)
    return cv2.resize(points, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
