"""The relaxed boundary F-measure: are the edges where they should be.

Source: the U²-Net paper, section 4.2, after Ehrig and Euzenat, "Relaxed Precision and Recall for Ontology Matching",
K-CAP 2005: boundaries one pixel wide, a slack of 3 px, beta^2 = 0.3.
"""

from __future__ import annotations

import cv2
import numpy as np

from train.metrics.fmeasure import Alpha, Truth, f_measure

SLACK_PX = 3


def relaxed_boundary_f(alpha: Alpha, truth: Truth) -> float:
    """F of the boundary of `alpha >= 0.5` against the mask's; 1 when neither has one, 0 when only one has."""
    ours, theirs = boundary(alpha >= 0.5), boundary(truth)
    if not ours.any() and not theirs.any():
        return 1.0
    precision, recall = _share_near(ours, theirs), _share_near(theirs, ours)
    return float(f_measure(np.array([precision]), np.array([recall]))[0])


def boundary(mask: Truth) -> Truth:
    """The foreground pixels with background beside them (8 neighbours); what is outside the picture is neither."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(mask & (inner == 0), np.bool_)


def _share_near(pixels: Truth, others: Truth) -> float:
    """Share of `pixels` at most the slack away from one of `others`."""
    if not pixels.any() or not others.any():
        return 0.0
    distances = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distances[pixels] <= SLACK_PX).mean())
