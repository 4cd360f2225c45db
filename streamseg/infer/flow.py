"""Optical flow between frames: warp the matte of a keyframe to another frame, at the network's size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.image import Pixels

MIN_SIDE_PX, DIS_PATCH_PX, COARSEST_WIDTH_PX = 12, 8, 20
"""Limits of OpenCV's DIS flow: least side of an image, side of a compared patch, and the width down to which it halves
the image for its coarsest level."""


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """A frame on which the network has run.

    Attributes:
        grey: the frame at the matte's size, uint8 `(h, w)`.
        alpha: `(1, h, w)` in [0, 1].
        seconds: pts of the frame.
        captured_seconds: `Frame.captured_seconds` of the frame.
    """

    grey: Pixels
    alpha: Tensor
    seconds: float
    captured_seconds: float

    def at_size(self, grey: Pixels) -> Keyframe:
        """Return the keyframe at the size of another frame `(h, w)`: itself, unless the network's input has changed."""
        if self.grey.shape == grey.shape:
            return self
        size = grey.shape[::-1]
        alpha = cv2.resize(self.alpha[0].numpy(), size, interpolation=cv2.INTER_LINEAR)
        resized_grey = cv2.resize(self.grey, size, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        return replace(self, grey=resized_grey, alpha=torch.from_numpy(alpha)[None])


class FlowWarper:
    """Warps mattes between frames of one scene along dense optical flow.

    Source: Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as in OpenCV.
    """

    def __init__(self) -> None:
        # On the moving people that we measured, the slower presets were not better.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._grid = self._source_xy = np.empty((0, 0, 2), np.float32)

    def warp(self, keyframe: Keyframe, grey: Pixels) -> Tensor:
        """Warp the alpha of a keyframe to another frame.

        Args:
            keyframe: the frame with a matte.
            grey: the other frame, uint8 `(h, w)`, of the keyframe's size.

        Returns:
            Alpha `(1, h, w)` in [0, 1].
        """
        height, width = grey.shape
        grey_now, grey_before = _padded_for_flow(grey), _padded_for_flow(keyframe.grey)
        if self._grid.shape[:2] != grey_now.shape:
            self._grid = np.dstack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in grey_now.shape[::-1])))
            self._source_xy = np.empty_like(self._grid)
        self._source_xy.fill(0)  # The search would begin from what stands there.
        self._flow.calc(grey_now, grey_before, self._source_xy)
        self._source_xy += self._grid
        matte, source_xy = keyframe.alpha[0].numpy(), self._source_xy[:height, :width]
        # OpenCV's type stubs do not know that the second half of the places may be missing.
        warped = cv2.remap(matte, source_xy, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return torch.from_numpy(warped)[None]


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
