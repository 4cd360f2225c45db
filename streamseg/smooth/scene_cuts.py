"""Scene cut detection: compare thumbnails of consecutive frames."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.yuv import AnyImage

CUT_THRESHOLD = 30.0
"""Mean absolute difference of two thumbnails, in levels of 255, above which a scene cut is detected."""

THUMBNAIL_SIDE = 12
"""Side of the thumbnail in pixels: so coarse that a pan changes little of it."""


class CutDetector:
    """Detects scene cuts from frame to frame."""

    def __init__(self) -> None:
        self._last: npt.NDArray[np.float32] | None = None

    def is_cut(self, image: AnyImage) -> bool:
        """Return whether an image begins another scene than the image of the last call; True at the first call."""
        thumbnail = image.thumbnail(THUMBNAIL_SIDE)
        last, self._last = self._last, thumbnail
        return last is None or float(cv2.absdiff(thumbnail, last).mean()) > CUT_THRESHOLD
