"""Optical flow between frames: warp the matte of a keyframe to another frame, at the network's size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.image import Pixels
from streamseg.smooth.flow import FlowEstimator, fetched


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
    """Warps mattes between frames of one scene along dense optical flow."""

    def __init__(self) -> None:
        self._flow = FlowEstimator()

    def warp(self, keyframe: Keyframe, grey: Pixels) -> Tensor:
        """Warp the alpha of a keyframe to another frame.

        Args:
            keyframe: the frame with a matte.
            grey: the other frame, uint8 `(h, w)`, of the keyframe's size.

        Returns:
            Alpha `(1, h, w)` in [0, 1].
        """
        return torch.from_numpy(fetched(keyframe.alpha[0].numpy(), self._flow.places(grey, keyframe.grey)))[None]
