"""Alpha blending of a foreground over a background, in RGB and in YUV."""

from __future__ import annotations

import cv2
import numpy as np

from streamseg.composite.foreground import fuse_yuv
from streamseg.image import Pixels
from streamseg.workspace import workspace
from streamseg.yuv import YuvImage


def blend(front: Pixels, back: Pixels, matte: Pixels, out: Pixels | None = None) -> Pixels:
    """Blend a foreground over a background; exact where alpha is 0 or 255, within one level of 255 elsewhere.

    Args:
        front: the foreground, `(H, W[, C])` uint8.
        back: the background, of the same shape.
        matte: weight of the foreground, `(H, W)` uint8.
        out: array for the result, which may be None.
    """
    weight = matte if front.ndim == 2 else cv2.merge([matte] * front.shape[2])
    back_weight = cv2.bitwise_not(weight, workspace("back weight", weight.shape, np.uint8))
    weighted_back = cv2.multiply(back, back_weight, back_weight, 1 / 255)
    weighted_front = cv2.multiply(front, weight, out, 1 / 255)
    return cv2.add(weighted_front, weighted_back, weighted_front).astype(np.uint8, copy=False)


def blend_planes(front: YuvImage, back: YuvImage, matte: Pixels) -> YuvImage:
    """Blend a foreground over a background in YUV.

    Args:
        front: the foreground.
        back: the background, of the same size.
        matte: weight of the foreground, `(H, W)` uint8; Cb and Cr take the mean of its four pixels.

    Returns:
        The composite in BT.709.
    """
    height, width = (side // 2 for side in matte.shape)
    chroma_matte = workspace("chroma matte", (height, width), np.uint8)
    cv2.resize(matte, (width, height), chroma_matte, interpolation=cv2.INTER_AREA)
    # Blending and conversion are linear: with one matrix for both, converting the blend alone is enough.
    pair = (front, back) if front.matrix == back.matrix else (front.as_bt709(), back.as_bt709())
    blended = YuvImage.empty(front.shape, pair[0].matrix)
    weights = (matte, chroma_matte, chroma_matte)
    for front_plane, back_plane, weight, target in zip(
        pair[0].planes, pair[1].planes, weights, blended.planes, strict=True
    ):
        blend(front_plane, back_plane, weight, target)
    fuse_yuv(blended, *pair, matte, chroma_matte)
    return blended.as_bt709()
