"""Mattes that move with the picture: optical flow at the network's size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.image import Pixels

SEARCHED_PX, PATCH_PX, SEARCHED_AT_PX = 12, 8, 20
"""Of OpenCV's flow: the least side of a picture, the side of what is compared, and the width down to which a picture is
halved before."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A picture on which the network ran.

    Attributes:
        grey: `(h, w)`, at the matte's size.
        alpha: `(1, h, w)` in [0, 1].
        seconds: its time in the source.
        captured_seconds: as that of its frame.
    """

    grey: Pixels
    alpha: Tensor
    seconds: float
    captured_seconds: float


class FlowWarper:
    """Brings mattes from one picture to another of the same scene.

    Source: Kroeger, Timofte, Dai and Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as in OpenCV.
    """

    def __init__(self) -> None:
        # On the moving people that we measured, the slower presets were not better.
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._places = self._came_from = np.empty((0, 0, 2), np.float32)

    def warp(self, key: Key, grey: Pixels) -> Tensor:
        """The matte of `key`, `(1, h, w)`, where its picture has moved to in `grey`."""
        height, width = grey.shape
        now, before = _searchable(grey), _searchable(key.grey)
        if self._places.shape[:2] != now.shape:
            self._places = np.dstack(np.meshgrid(*(np.arange(side, dtype=np.float32) for side in now.shape[::-1])))
            self._came_from = np.empty_like(self._places)
        self._came_from.fill(0)  # The search would begin from what stands there.
        self._flow.calc(now, before, self._came_from)
        self._came_from += self._places
        matte, came_from = key.alpha[0].numpy(), self._came_from[:height, :width]
        # OpenCV's type stubs do not know that the second half of the places may be missing.
        moved = cv2.remap(matte, came_from, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return torch.from_numpy(moved)[None]


def _searchable(grey: Pixels) -> Pixels:
    """A picture that the flow can be searched in: one that is lower, as of a banner, with its edge repeated.

    OpenCV halves a picture as often as its width allows, and reads beyond one that is too low for that.
    """
    height, width = grey.shape
    halvings = max(0, math.floor(math.log2(width / SEARCHED_AT_PX)))
    least_height = max(SEARCHED_PX, PATCH_PX << halvings)
    if height >= least_height and width >= SEARCHED_PX:
        return grey
    below, right = max(0, least_height - height), max(0, SEARCHED_PX - width)
    return cv2.copyMakeBorder(grey, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8, copy=False)
