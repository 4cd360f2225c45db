"""Precision, recall and the F-measure over all thresholds.

Source: Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009 (beta^2 = 0.3).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

THRESHOLDS = 256
BETA_SQUARED = 0.3

Alpha = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]


def precision_recall(alpha: Alpha, truth: Truth) -> tuple[Array, Array]:
    """Precision and recall `(256,)` of `alpha >= t / 255` for t = 0..255."""
    hits, called = counts_at_least(alpha, truth)
    return hits / np.maximum(called, 1), hits / max(int(truth.sum()), 1)


def f_measure(precision: Array, recall: Array) -> Array:
    """F with beta^2 = 0.3, zero where both are zero."""
    total = BETA_SQUARED * precision + recall
    return (1 + BETA_SQUARED) * precision * recall / np.where(total > 0, total, 1)


def counts_at_least(alpha: Alpha, truth: Truth) -> tuple[Array, Array]:
    """How many pixels reach each of the 256 thresholds: those of the foreground `(256,)`, and all of them."""
    levels = (alpha * 255).astype(np.uint8)
    hits = _count_at_least(levels[truth])
    return hits, hits + _count_at_least(levels[~truth])


def _count_at_least(levels: npt.NDArray[np.uint8]) -> Array:
    counts = np.bincount(levels, minlength=THRESHOLDS).astype(np.float64)
    return counts[::-1].cumsum()[::-1]
