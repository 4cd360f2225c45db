"""Inference on whole frames, and again on crops along the boundary (`--refine`): finer mattes of files and photos."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt
import torch

from streamseg.frames import Batch, Frame
from streamseg.infer.engines.base import Engine, long_side, predict_one
from streamseg.infer.every_frame import in_batches, infer
from streamseg.infer.letterbox import Letterbox, letterbox_of, small_images
from streamseg.settings import InferSettings
from streamseg.yuv import AnyImage, RgbImage

CROP_SIDE = Fraction(3, 4)
"""Sides of a crop as a fraction of the frame's: four of them, one in each corner, overlap in the middle."""

CROP_WEIGHT = 0.7
"""Weight of what the crops say against the whole frame's matte, which sees more of the scene."""

UNSURE = (0.04, 0.96)
"""Alpha between which the whole frame's matte is unsure."""
UNSURE_REACH_PX = 6
"""Distance from there up to which the crops are listened to, at the size of the matte that is made."""
FADE_PX = 9
"""Width over which their weight falls to 0."""

DISAGREEMENT = 0.1
"""Mean difference from the whole frame's matte, where that is sure, at which a crop is not listened to at all: it shows
too little of the subject for the network to find it."""

Alpha = npt.NDArray[np.float32]


def infer_with_crops(frames: Iterable[Frame], engine: Engine, settings: InferSettings) -> Iterator[Batch]:
    """Run the engine on every frame and, if the settings say `refine`, again on crops where the matte is unsure.

    Args:
        frames: images of one size.
        engine: what `open_engine` returned.
        settings: of inference.

    Yields:
        Batches with alpha `(N, 1, h, w)` in [0, 1], with `refine` a third larger than the network's; it does not depend
        on the batch size.
    """
    if not settings.refine:
        yield from infer(frames, engine, settings.input_size, settings.batch_size)
        return
    input_size = long_side(engine, settings.input_size)
    for taken in in_batches(frames, settings.batch_size):
        images = [frame.image for frame in taken]
        mattes = _mattes(images, letterbox_of(taken[0], input_size), engine)
        refined = [_refined(image, matte, engine, input_size) for image, matte in zip(images, mattes, strict=True)]
        yield Batch(taken, torch.from_numpy(np.stack(refined))[:, None])


@dataclass(frozen=True, slots=True)
class _Span:
    """A crop's extent along one side: in the frame and in the matte that is made, px."""

    start: int
    length: int
    matte_start: int
    matte_length: int


def _refined(image: AnyImage, alpha: Alpha, engine: Engine, input_size: int) -> Alpha:
    """Return the matte of one frame with what the crops say, larger than alpha `(h, w)` by 1 / `CROP_SIDE`."""
    height, width = (round(side / CROP_SIDE) for side in alpha.shape)
    first = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
    weight = _weight(first)
    total, weights = np.zeros_like(first), np.zeros_like(first)
    for rows, columns in product(_spans(image.shape[0], height), _spans(image.shape[1], width)):
        place = (
            slice(rows.matte_start, rows.matte_start + rows.matte_length),
            slice(columns.matte_start, columns.matte_start + columns.matte_length),
        )
        if not weight[place].any():
            continue
        crop = image.rgb[rows.start : rows.start + rows.length, columns.start : columns.start + columns.length]
        trust = _trust(rows.matte_length, columns.matte_length)
        found = _crop_matte(RgbImage(np.ascontiguousarray(crop)), engine, input_size)
        found = cv2.resize(found, trust.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)
        total[place] += trust * (first[place] + _agreement(found, first[place]) * (found - first[place]))
        weights[place] += trust
    seen = weights > 0
    first[seen] += weight[seen] * (total[seen] / weights[seen] - first[seen])
    return first


def _weight(alpha: Alpha) -> Alpha:
    """Return the weight of the crops `(h, w)` in [0, `CROP_WEIGHT`]: near where alpha is unsure."""
    unsure = cv2.inRange(alpha, *UNSURE)
    reach = 2 * UNSURE_REACH_PX + 1
    near = cv2.dilate(unsure, np.ones((reach, reach), np.uint8)).astype(np.float32)
    return (cv2.blur(near, (FADE_PX, FADE_PX)) * np.float32(CROP_WEIGHT / 255)).astype(np.float32, copy=False)


def _agreement(found: Alpha, first: Alpha) -> float:
    """Return how far a crop is trusted, in [0, 1], by how it agrees with the whole frame where that is sure."""
    sure = cv2.bitwise_not(cv2.inRange(first, *UNSURE)).view(np.bool_)
    if not sure.any():
        return 1.0
    return max(0.0, 1 - float(np.abs(found - first)[sure].mean()) / DISAGREEMENT)


def _spans(length: int, matte_length: int) -> list[_Span]:
    """Return the crops at both ends of a side."""
    crop, matte_crop = (max(1, round(side * CROP_SIDE)) for side in (length, matte_length))
    return [_Span(0, crop, 0, matte_crop), _Span(length - crop, crop, matte_length - matte_crop, matte_crop)]


def _trust(height: int, width: int) -> Alpha:
    """Return the weight of a crop's pixels `(height, width)`: little at its sides, beyond which it is blind."""
    rows, columns = (np.hanning(length + 2)[1:-1] for length in (height, width))
    return (np.outer(rows, columns) + 1e-4).astype(np.float32)


def _crop_matte(crop: AnyImage, engine: Engine, input_size: int) -> Alpha:
    height, width = crop.shape[:2]
    return _mattes([crop], Letterbox.of(height, width, input_size), engine)[0]


def _mattes(images: list[AnyImage], letterbox: Letterbox, engine: Engine) -> list[Alpha]:
    """Run the engine on images of one size -> alpha `(h, w)` each."""
    alpha = letterbox.crop(predict_one(engine, small_images(images, letterbox)))
    return [one[0].float().cpu().numpy() for one in alpha]
