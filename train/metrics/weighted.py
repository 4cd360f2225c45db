"""The weighted F-measure: errors count by where they are.

Source: Margolin et al., "How to Evaluate Foreground Maps?", CVPR 2014, section 4.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from train.metrics.fmeasure import Alpha, Truth

WINDOW_PX, SIGMA_PX = 7, 5.0
"""The Gaussian that spreads errors over neighbours, as published."""

FADING_PX = 5.0
"""Distance over which a false detection's extra weight halves."""

EPSILON = float(np.spacing(1))


def weighted_f_measure(alpha: Alpha, truth: Truth) -> float:
    """Weighted F (beta = 1) in [0, 1]; 0 for an empty mask."""
    if not truth.any():
        return 0.0
    mask = truth.astype(np.float64)
    distances, nearest = distance_transform_edt(~truth, return_indices=True)
    errors = np.abs(alpha - mask)
    # Background pixels take the error of the nearest foreground pixel, so that the blur does not mix the two.
    own = errors[tuple(nearest)]
    blurred = cv2.GaussianBlur(own, (WINDOW_PX, WINDOW_PX), SIGMA_PX, borderType=cv2.BORDER_CONSTANT)
    errors = np.where(truth & (blurred < errors), blurred, errors)
    importance = np.where(truth, 1.0, 2 - np.exp(np.log(0.5) / FADING_PX * distances))
    weighted = errors * importance
    hits = mask.sum() - weighted[truth].sum()
    recall = 1 - weighted[truth].mean()
    precision = hits / (hits + weighted[~truth].sum() + EPSILON)
    return float(2 * recall * precision / (recall + precision + EPSILON))
