"""The E-measure: pixels and the picture's statistics at once.

Source: Fan et al., "Enhanced-alignment Measure for Binary Foreground Map Evaluation", IJCAI 2018, section 3.
"""

from __future__ import annotations

import numpy as np

from train.metrics.fmeasure import Alpha, Array, Truth, counts_at_least

EPSILON = float(np.spacing(1))


def enhanced_alignment(alpha: Alpha, truth: Truth) -> Array:
    """The E-measure `(256,)` of `alpha >= t / 255` for t = 0..255.

    A binary map and a binary mask meet in four kinds of pixels, and the alignment is one number for each kind; so the
    counts of the four kinds at each threshold are enough.
    """
    hits, called = counts_at_least(alpha, truth)
    size, foreground = truth.size, int(truth.sum())
    if foreground == 0:
        return (size - called) / (size - 1 + EPSILON)
    if foreground == size:
        return called / (size - 1 + EPSILON)
    mean_map, mean_mask = called / size, foreground / size
    kinds = (
        (hits, 1 - mean_map, 1 - mean_mask),
        (called - hits, 1 - mean_map, -mean_mask),
        (foreground - hits, -mean_map, 1 - mean_mask),
        (size - foreground - called + hits, -mean_map, -mean_mask),
    )
    total = np.sum([count * _enhanced(a, b) for count, a, b in kinds], axis=0)
    return np.asarray(total / (size - 1 + EPSILON), np.float64)


def _enhanced(a: Array, b: float) -> Array:
    """Equations 4 and 5: alignment of two deviations from their means in [-1, 1], moved into [0, 1]."""
    alignment = 2 * a * b / (a**2 + b**2 + EPSILON)
    return np.asarray((alignment + 1) ** 2 / 4, np.float64)
