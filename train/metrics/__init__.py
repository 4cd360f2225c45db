"""Saliency and matting metrics: one record an image, at the mask's own size, and their means over a set.

Nothing is stretched: alpha is judged as the network gives it, so an empty frame must be empty. PySODMetrics stretches
every map to the full range first; on maps that span it already the figures agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from train.data import Pixels
from train.metrics.boundary import relaxed_boundary_f
from train.metrics.enhanced import enhanced_alignment
from train.metrics.fmeasure import Alpha, Array, f_measure, precision_recall
from train.metrics.haze import haze, holes
from train.metrics.structure import structure_measure
from train.metrics.weighted import weighted_f_measure

__all__ = ["ImageScores", "Scores", "by_prefix", "four_digits", "score_image", "summarise", "with_nulls"]


@dataclass(frozen=True, slots=True)
class Scores:
    """What an evaluation found; every figure is in [0, 1], or NaN where no image of the set has it.

    Masks that are empty leave nothing to find, and their F is 0, as it is in PySODMetrics: judge empty rooms by MAE,
    which is their mean alpha, by haze, which is the same there, and by IoU, the share of rooms that stay empty.

    Attributes:
        images: how many were judged.
        mae: mean absolute error of alpha.
        max_f: F-measure (beta^2 = 0.3) at the best threshold, precision and recall averaged over the images first, as
            the U²-Net paper reports it.
        mean_f: the mean of that curve over the 256 thresholds.
        max_f_per_image: the other convention: F averaged over the images first, then the best threshold.
        mean_f_per_image: the mean of that curve.
        weighted_f: see `weighted_f_measure`.
        s_measure: see `structure_measure`.
        max_e: see `enhanced_alignment`; averaged over the images, at the best threshold.
        mean_e: the mean of that curve.
        boundary_f: see `relaxed_boundary_f`.
        iou: overlap of alpha >= 0.5 with the mask; 1 where both are empty.
        haze: mean alpha far from the mask, over the images that have such pixels; see `train.metrics.haze`.
        holes: mean of 1 - alpha deep inside the mask, over the images that have such pixels.
    """

    images: int
    mae: float
    max_f: float
    mean_f: float
    max_f_per_image: float
    mean_f_per_image: float
    weighted_f: float
    s_measure: float
    max_e: float
    mean_e: float
    boundary_f: float
    iou: float
    haze: float
    holes: float

    def __str__(self) -> str:
        figures = {"MAE": self.mae, "maxF": self.max_f, "IoU": self.iou, "haze": self.haze, "holes": self.holes}
        told = "  ".join(f"{name} {four_digits(value)}" for name, value in figures.items())
        return f"{told}  ({self.images} images)"


@dataclass(frozen=True, slots=True, eq=False)
class ImageScores:
    """One image's figures; `index` is its place in the set, the curves `(256,)` are over the thresholds t / 255."""

    index: int
    mae: float
    iou: float
    weighted_f: float
    s_measure: float
    boundary_f: float
    haze: float
    holes: float
    precision: Array
    recall: Array
    alignment: Array

    @property
    def max_f(self) -> float:
        """This image's F-measure at its own best threshold."""
        return float(f_measure(self.precision, self.recall).max())


def score_image(index: int, alpha: Alpha, mask: Pixels) -> ImageScores:
    """Judges alpha `(H, W)` in [0, 1] against its mask `(H, W)` in 0..255, which counts as foreground from 128 on.

    Raises:
        ValueError: the two have different sizes.
    """
    if alpha.shape != mask.shape:
        raise ValueError(f"alpha is {alpha.shape} and the mask {mask.shape}; they must have one size")
    truth = mask >= 128
    precision, recall = precision_recall(alpha, truth)
    return ImageScores(
        index,
        mae=float(np.abs(alpha - mask.astype(np.float32) / 255).mean()),
        iou=intersection_over_union(alpha >= 0.5, truth),
        weighted_f=weighted_f_measure(alpha, truth),
        s_measure=structure_measure(alpha, truth),
        boundary_f=relaxed_boundary_f(alpha, truth),
        haze=haze(alpha, truth),
        holes=holes(alpha, truth),
        precision=precision,
        recall=recall,
        alignment=enhanced_alignment(alpha, truth),
    )


def summarise(records: Sequence[ImageScores]) -> Scores:
    """The means over a set, in the order of its images, so that shares of several processes give the same digits.

    Raises:
        ValueError: nothing was judged.
    """
    if not records:
        raise ValueError("no image was evaluated")
    ordered = sorted(records, key=lambda record: record.index)

    def mean(name: str) -> float:
        return float(np.mean([getattr(record, name) for record in ordered]))

    def mean_of_known(name: str) -> float:
        values = [value for record in ordered if not math.isnan(value := getattr(record, name))]
        return float(np.mean(values)) if values else math.nan

    curve = f_measure(np.mean([r.precision for r in ordered], axis=0), np.mean([r.recall for r in ordered], axis=0))
    per_image = np.mean([f_measure(r.precision, r.recall) for r in ordered], axis=0)
    alignment = np.mean([r.alignment for r in ordered], axis=0)
    return Scores(
        images=len(ordered),
        mae=mean("mae"),
        max_f=float(curve.max()),
        mean_f=float(curve.mean()),
        max_f_per_image=float(per_image.max()),
        mean_f_per_image=float(per_image.mean()),
        weighted_f=mean("weighted_f"),
        s_measure=mean("s_measure"),
        max_e=float(alignment.max()),
        mean_e=float(alignment.mean()),
        boundary_f=mean("boundary_f"),
        iou=mean("iou"),
        haze=mean_of_known("haze"),
        holes=mean_of_known("holes"),
    )


def by_prefix(records: Sequence[tuple[str, ImageScores]]) -> dict[str, Scores]:
    """The means of each of the sets that were mixed into one, in the order of their names.

    Args:
        records: stems and what their images scored. A stem such as `voc07__000123` begins with its set's name, which
            ends at the first `__`; stems without one have the name "" together.
    """
    groups: dict[str, list[ImageScores]] = {}
    for stem, record in records:
        prefix, found, _ = stem.partition("__")
        groups.setdefault(prefix if found else "", []).append(record)
    return {prefix: summarise(groups[prefix]) for prefix in sorted(groups)}


def four_digits(value: float) -> str:
    """A figure as people read it; "-" for NaN."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def with_nulls(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON can hold them: None, its null, for NaN."""
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def intersection_over_union(called: np.ndarray, truth: np.ndarray) -> float:
    """Overlap of two boolean masks; 1 when both are empty."""
    union = int((called | truth).sum())
    return float((called & truth).sum() / union) if union else 1.0
