"""Dense optical flow between two grey frames: where each pixel of one is in the other."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels

MIN_SIDE_PX, DIS_PATCH_PX, COARSEST_WIDTH_PX = 12, 8, 20
"""Limits of OpenCV's DIS flow: least side of an image, side of a compared patch, and the width down to which it halves
the image for its coarsest level."""

KEPT_GRIDS = 4
"""Sizes of frames whose grids are kept: the network's input may change in a live run."""

Plane = npt.NDArray[np.float32]
"""`(h, w)`."""


class Motion(NamedTuple):
    """How far each pixel of a frame is away in another one; planes of their own are quicker than pairs of numbers.

    Attributes:
        x: `(h, w)`, pixels to the right.
        y: `(h, w)`, pixels down.
    """

    x: Plane
    y: Plane

    def places(self, grid: Places) -> Places:
        """Return where the pixels are whose own places are given."""
        return Places(self.x + grid.x, self.y + grid.y)

    def square_px2(self) -> Plane:
        """Return the squared lengths."""
        return np.asarray(self.x * self.x + self.y * self.y, np.float32)


class Places(NamedTuple):
    """For each pixel of a frame its place in another one.

    Attributes:
        x: `(h, w)`, in pixels.
        y: `(h, w)`, in pixels.
    """

    x: Plane
    y: Plane


class FlowEstimator:
    """Finds the pixels of one frame in another.

    Source: Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as in OpenCV.
    """

    def __init__(self, halvings: int = 2, patch_step_px: int = 4) -> None:
        """Choose how fine it is.

        Args:
            halvings: how often the images are halved for the last and finest search.
            patch_step_px: from one compared patch to the next.
        """
        # On the moving people that we measured, the slower presets were not better.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._flow.setFinestScale(halvings)
        self._flow.setPatchStride(patch_step_px)
        self._grids: dict[tuple[int, ...], Places] = {}

    def motion(self, grey: Pixels, other: Pixels) -> Motion:
        """Return where in `other` each pixel of `grey` is, as seen from it; both are uint8 `(h, w)` of one size."""
        height, width = grey.shape
        padded, padded_other = _padded_for_flow(grey), _padded_for_flow(other)
        flow = np.zeros((*padded.shape, 2), np.float32)  # The search begins from what stands there.
        self._flow.calc(padded, padded_other, flow)
        return Motion(*(np.asarray(plane, np.float32) for plane in cv2.split(flow[:height, :width])))

    def places(self, grey: Pixels, other: Pixels) -> Places:
        """Return the place in `other` of each pixel of `grey`; see `motion`."""
        return self.motion(grey, other).places(self.grid(grey.shape))

    def grid(self, shape: tuple[int, ...]) -> Places:
        """Return each pixel's own place in a frame of `(h, w)`; the last sizes are kept."""
        if shape not in self._grids:
            if len(self._grids) >= KEPT_GRIDS:
                self._grids.clear()
            self._grids[shape] = Places(*np.meshgrid(*(np.arange(side, dtype=np.float32) for side in shape[::-1])))
        return self._grids[shape]


def fetched(values: Plane, places: Places) -> Plane:
    """Read values `(h, w)` of a frame at places in it, bilinearly; beyond its edge the edge goes on."""
    found = cv2.remap(values, places.x, places.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def _padded_for_flow(grey: Pixels) -> Pixels:
    """Pad a grey image at the bottom and right, by repeating its edge, to the least size that OpenCV's flow takes.

    OpenCV halves an image as often as its width allows, and reads beyond the end of one that is too low for that, such
    as a banner.
    """
    height, width = grey.shape
    halvings = max(0, math.floor(math.log2(width / COARSEST_WIDTH_PX)))
    least_height = max(MIN_SIDE_PX, DIS_PATCH_PX << halvings)
    if height >= least_height and width >= MIN_SIDE_PX:
        return grey
    below, right = max(0, least_height - height), max(0, MIN_SIDE_PX - width)
    return cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
