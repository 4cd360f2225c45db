"""One picture before another."""

from __future__ import annotations

import cv2
import numpy as np

from streamseg.image import Pixels
from streamseg.workspace import workspace
from streamseg.yuv import YuvImage


def blend(front: Pixels, back: Pixels, matte: Pixels, out: Pixels | None = None) -> Pixels:
    """Sets one picture before another; within a level of what exact numbers give, and exact where nothing mixes.

    Args:
        front: the foreground, `(H, W[, C])`.
        back: of the same shape.
        matte: the front's share `(H, W)` in levels of 255.
        out: where the result goes; a new array if none is given.
    """
    weight = matte if front.ndim == 2 else cv2.merge([matte] * front.shape[2])
    rest = cv2.bitwise_not(weight, workspace("rest", weight.shape, np.uint8))
    behind = cv2.multiply(back, rest, rest, 1 / 255)
    mixed = cv2.multiply(front, weight, out, 1 / 255)
    return cv2.add(mixed, behind, mixed).astype(np.uint8, copy=False)


def blend_planes(front: YuvImage, back: YuvImage, matte: Pixels) -> YuvImage:
    """Sets one picture in planes before another.

    Args:
        front: the foreground.
        back: of the same size.
        matte: the front's share `(H, W)` in levels of 255; colour takes the mean of its four pixels.

    Returns:
        BT.709.
    """
    height, width = (side // 2 for side in matte.shape)
    half = workspace("half", (height, width), np.uint8)
    cv2.resize(matte, (width, height), half, interpolation=cv2.INTER_AREA)
    # A mixture of two pictures may be converted as well as each of them.
    pair = (front, back) if front.matrix == back.matrix else (front.as_bt709(), back.as_bt709())
    blended = YuvImage.empty(front.shape, pair[0].matrix)
    for before, behind, weight, target in zip(
        pair[0].values, pair[1].values, (matte, half, half), blended.values, strict=True
    ):
        blend(before, behind, weight, target)
    return blended.as_bt709()
