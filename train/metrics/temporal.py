"""Errors between two frames of a matte, pixel by pixel: dtSSD at one place, MESSDdt along the motion.

Source: Erofeev et al., "Perceptually Motivated Benchmark for Video Matting", BMVC 2015, section on temporal coherency:

    dtSSD   = mean over t of sqrt(mean over p of (d/dt alpha - d/dt truth)^2)                            x 100
    MESSDdt = mean over t of mean over p of |e(p, t)^2 - e(p + v, t + 1)^2|,  e = alpha - truth          x 1000

where v is the motion of pixel p from frame t to t + 1. They take sums over the pixels; means make clips of different
sizes comparable, and the factors are those of RobustVideoMatting's table for dtSSD, and that of the MSE for MESSDdt.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from train.data import Pixels
from train.metrics.fmeasure import Alpha, Truth

Flow = npt.NDArray[np.float32]
"""`(H, W, 2)`: motion of each pixel to the next frame, in pixels to the right and down."""


def motion_error(error: Alpha, next_error: Alpha, flow: Flow) -> tuple[Alpha, Truth]:
    """Return the change of the squared error along the motion, and where the motion stays inside the picture.

    Args:
        error: alpha - truth of a frame, `(H, W)`.
        next_error: that of the next one; read between pixels bilinearly, before it is squared.
        flow: from the first to the next; not a number where it is not known, which counts as outside.
    """
    height, width = error.shape
    y, x = np.indices(error.shape, np.float32)
    to_x, to_y = x + flow[..., 0], y + flow[..., 1]
    moved = cv2.remap(
        next_error, np.nan_to_num(to_x), np.nan_to_num(to_y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    inside = (to_x >= 0) & (to_x <= width - 1) & (to_y >= 0) & (to_y <= height - 1)
    return np.abs(error**2 - moved**2).astype(np.float32, copy=False), np.asarray(inside, np.bool_)


def estimated_flow(before: Pixels, after: Pixels) -> Flow:
    """Estimate the motion between two grey frames `(H, W)` uint8, where it is not known; Kroeger et al., ECCV 2016."""
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return estimator.calc(before, after, np.zeros((*before.shape, 2), np.float32)).astype(np.float32, copy=False)
