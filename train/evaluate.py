"""Runs a network over a set of pairs and scores its mattes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
from torch import Tensor

from streamseg.hardware.cuda import in_order
from streamseg.infer.engines.base import normalise
from streamseg.infer.letterbox import Letterbox, network_input
from train.augment import resize
from train.data import Pair, Pixels
from train.metrics import ImageScores, Scores, score_image, summarise
from train.metrics.fmeasure import Alpha
from train.pictures import Tile

JUDGED_AHEAD = 32
"""Mattes that may wait for their scores, which take longer than a GPU's network does."""

Matting = Callable[[Tensor], Tensor]
"""Normalised RGB `(N, 3, h, w)` -> alpha `(N, 1, h, w)` in [0, 1]: a network in evaluation mode, or an engine's
`alpha`."""


def evaluate(matting: Matting, pairs: Sequence[Pair], size_px: int, squash: bool, device: torch.device) -> Scores:
    """Scores mattes over `pairs`; the arguments are those of `judged`.

    Raises:
        DataError: an image or mask does not decode, or their sizes differ.
    """
    return summarise([scores for scores, _ in judged(matting, enumerate(pairs), size_px, squash, device)])


def judged(
    matting: Matting, pairs: Iterable[tuple[int, Pair]], size_px: int, squash: bool, device: torch.device
) -> Iterator[tuple[ImageScores, Tile]]:
    """Scores each of the numbered pairs at its mask's own size, on all cores, and hands on what was judged.

    Args:
        matting: what makes the mattes.
        pairs: images and masks with their places in the set.
        size_px: side of the square input if `squash`, else its long side.
        squash: plain bilinear resize to a square (the published protocol), or what streamseg does with frames
            (`streamseg.infer.letterbox.Letterbox`).
        device: where `matting` expects its input.

    Raises:
        DataError: an image or mask does not decode, or their sizes differ.
    """
    with ThreadPoolExecutor() as pool:

        def submit(numbered: tuple[int, Pair]) -> Callable[[], tuple[ImageScores, Tile]]:
            index, pair = numbered
            image, mask = pair.load()
            alpha = predict(matting, image, size_px, squash, device)
            scores = pool.submit(score_image, index, alpha, mask)
            return lambda: (scores.result(), Tile(image, mask, alpha, pair.stem))

        yield from in_order(pairs, submit, JUDGED_AHEAD)


@torch.no_grad()
def predict(matting: Matting, image: Pixels, size_px: int, squash: bool, device: torch.device) -> Alpha:
    """RGB `(H, W, 3)` uint8 -> alpha `(H, W)` in [0, 1]; the other arguments are those of `judged`."""
    if squash:
        small = resize(image, (size_px, size_px), antialias=False)
        alpha = matting(normalise(torch.from_numpy(small.transpose(2, 0, 1)))[None].to(device))
    else:
        letterbox = Letterbox.of(image.shape[0], image.shape[1], size_px)
        alpha = letterbox.crop(matting(network_input([image], letterbox).to(device)))
    values = alpha.float().cpu()[0, 0].numpy()
    return cv2.resize(values, image.shape[1::-1]).astype(np.float32, copy=False)
