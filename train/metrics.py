"""Saliency metrics, one image at a time, at the mask's own size.

Source: Achanta et al., "Frequency-tuned Salient Region Detection", CVPR 2009 (F-measure with beta^2 = 0.3),
with precision and recall averaged over the images before F is taken, as the U²-Net paper reports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from train.data import Pixels

THRESHOLDS = 256
BETA_SQUARED = 0.3

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """What an evaluation found; every figure is in [0, 1]."""

    images: int
    mae: float
    max_f: float
    iou: float

    def __str__(self) -> str:
        return f"MAE {self.mae:.4f}  maxF {self.max_f:.4f}  IoU {self.iou:.4f}  ({self.images} images)"


@dataclass(slots=True)
class SaliencyMetrics:
    """Adds up images; `scores` gives the means."""

    images: int = 0
    mae_sum: float = 0.0
    iou_sum: float = 0.0
    precision_sum: Array = field(default_factory=lambda: np.zeros(THRESHOLDS))
    recall_sum: Array = field(default_factory=lambda: np.zeros(THRESHOLDS))

    def update(self, alpha: npt.NDArray[np.float32], mask: Pixels) -> None:
        """Adds one prediction `(H, W)` in [0, 1] and its mask `(H, W)` in 0..255.

        Raises:
            ValueError: the two have different sizes.
        """
        if alpha.shape != mask.shape:
            raise ValueError(f"alpha is {alpha.shape} and the mask {mask.shape}; they must have one size")
        truth = mask >= 128
        precision, recall = precision_recall(alpha, truth)
        self.images += 1
        self.mae_sum += float(np.abs(alpha - mask.astype(np.float32) / 255).mean())
        self.iou_sum += intersection_over_union(alpha >= 0.5, truth)
        self.precision_sum += precision
        self.recall_sum += recall

    def scores(self) -> Scores:
        """The figures over all images so far.

        Raises:
            ValueError: nothing was added.
        """
        if not self.images:
            raise ValueError("no image was evaluated")
        f = f_measure(self.precision_sum / self.images, self.recall_sum / self.images)
        return Scores(self.images, self.mae_sum / self.images, float(f.max()), self.iou_sum / self.images)


def precision_recall(alpha: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Precision and recall `(256,)` of `alpha >= t / 255` for t = 0..255."""
    levels = (alpha * 255).astype(np.uint8)
    hits = _count_at_least(levels[truth])
    called = hits + _count_at_least(levels[~truth])
    return hits / np.maximum(called, 1), hits / max(int(truth.sum()), 1)


def f_measure(precision: Array, recall: Array) -> Array:
    """F with beta^2 = 0.3, zero where both are zero."""
    total = BETA_SQUARED * precision + recall
    return (1 + BETA_SQUARED) * precision * recall / np.where(total > 0, total, 1)


def intersection_over_union(called: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Overlap of two masks; 1 when both are empty."""
    union = int((called | truth).sum())
    return float((called & truth).sum() / union) if union else 1.0


def _count_at_least(levels: npt.NDArray[np.uint8]) -> Array:
    counts = np.bincount(levels, minlength=THRESHOLDS).astype(np.float64)
    return counts[::-1].cumsum()[::-1]
