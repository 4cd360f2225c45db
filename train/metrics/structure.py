"""The S-measure: are the object and its regions structured like the mask.

Source: Fan et al., "Structure-measure: A New Way to Evaluate Foreground Maps", ICCV 2017.
"""

from __future__ import annotations

import numpy as np

from train.metrics.fmeasure import Alpha, Array, Truth

ALPHA = 0.5
"""Share of the object-aware part, as published."""

EPSILON = float(np.spacing(1))


def structure_measure(alpha: Alpha, truth: Truth) -> float:
    """The S-measure in [0, 1] (equation 1); masks of one value are compared with the mean alone."""
    values, mask = alpha.astype(np.float64), truth.astype(np.float64)
    share = mask.mean()
    if share == 0:
        return float(1 - values.mean())
    if share == 1:
        return float(values.mean())
    score = ALPHA * _object_score(values, truth) + (1 - ALPHA) * _region_score(values, mask)
    return float(max(score, 0.0))


def _object_score(values: Array, truth: Truth) -> float:
    """Equation 5: foreground and background, each weighted with its share of the picture."""
    share = truth.mean()
    return float(share * _uniformity(values[truth]) + (1 - share) * _uniformity(1 - values[~truth]))


def _uniformity(values: Array) -> float:
    """Equation 4: bright and even is good."""
    mean, deviation = values.mean(), values.std(ddof=1) if values.size > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + deviation + EPSILON))


def _region_score(values: Array, mask: Array) -> float:
    """Equation 8: structural similarity in the four parts around the mask's centroid, weighted with their areas."""
    y, x = (int(place) + 1 for place in np.argwhere(mask).mean(axis=0).round())
    parts = [(rows, columns) for rows in (slice(y), slice(y, None)) for columns in (slice(x), slice(x, None))]
    return sum(mask[part].size / mask.size * _similarity(values[part], mask[part]) for part in parts)


def _similarity(values: Array, mask: Array) -> float:
    """Equation 7; an empty part counts nothing."""
    if not mask.size:
        return 0.0
    free = max(mask.size - 1, 1)
    mean_a, mean_b = values.mean(), mask.mean()
    variances = (((values - mean_a) ** 2).sum() + ((mask - mean_b) ** 2).sum()) / free
    covariance = ((values - mean_a) * (mask - mean_b)).sum() / free
    numerator, denominator = 4 * mean_a * mean_b * covariance, (mean_a**2 + mean_b**2) * variances
    if numerator != 0:
        return float(numerator / (denominator + EPSILON))
    return 1.0 if denominator == 0 else 0.0
