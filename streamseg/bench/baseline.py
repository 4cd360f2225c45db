"""Baseline of the benchmark: the seed's way, frame by frame, without run-ahead, on a square input, in float RGB.

Source: the published demo of U²-Net (the seed of this project), written anew: PyTorch in float32 with its own number of
threads, the frame squashed to 320x320, the matte resized bilinearly, the composite computed in float.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from streamseg.bench.benchmark import Workload
from streamseg.composite.background import Background, chosen_background
from streamseg.decode import open_source
from streamseg.errors import ConfigError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.engines.base import normalise
from streamseg.model.u2net import U2Net
from streamseg.sink import open_sink
from streamseg.yuv import RgbImage

SIDE_PX = 320
"""Side of the square network input."""

BASELINE_MODEL = "lite"
"""Network of the baseline, whichever network it is compared with."""


def baseline_fps(workload: Workload, net: U2Net) -> float:
    """Measure the baseline's frames a second over the first frames of a clip.

    Args:
        workload: what to do; only the background of its settings counts, and it is never slowed to a camera's pace.
        net: in evaluation mode.

    Raises:
        ConfigError: the settings have no background; the baseline cannot write a foreground.
    """
    composite = workload.settings.composite
    if composite.kind != "composite":
        raise ConfigError("the seed's way needs a background: give --bg")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_source(workload.clip) as source,
        chosen_background(composite) as background,
        open_sink(str(Path(folder) / "seed.mp4"), source.info) if workload.encode else nullcontext() as sink,
    ):
        started, count = time.perf_counter(), 0
        for frame in islice(source, workload.frames):
            assert background
            image = _composite(frame, _matte(frame, net), background)
            if sink:
                sink.write(replace(frame, image=RgbImage(image)))
            count += 1
        return count / (time.perf_counter() - started)


@torch.no_grad()
def _matte(frame: Frame, net: U2Net) -> np.ndarray:
    """Compute alpha `(H, W, 1)` float32 in [0, 1]."""
    rgb = frame.image.rgb
    square = cv2.resize(rgb, (SIDE_PX, SIDE_PX))
    alpha = net(normalise(torch.from_numpy(square).permute(2, 0, 1)[None]))[0, 0].numpy()
    return np.asarray(cv2.resize(alpha, rgb.shape[1::-1]))[..., None]


def _composite(frame: Frame, alpha: np.ndarray, background: Background) -> Pixels:
    """Composite RGB `(H, W, 3)` in float."""
    front, back = (pixels.astype(np.float32) for pixels in (frame.image.rgb, background.frame_at(frame)))
    blended: Pixels = (front * alpha + back * (1 - alpha)).astype(np.uint8)
    return blended
