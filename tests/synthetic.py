"""Clips with known alpha: a green disc that moves over a grey wall; an engine that finds it exactly; ends of a line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from torch import Tensor, nn

from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.infer.engines.base import IMAGENET_MEAN, IMAGENET_STD
from streamseg.model.u2net import LITE, U2Net, U2NetConfig
from streamseg.sink.base import BaseSink

RATE = Fraction(24000, 1001)
WALL = (96, 96, 96)
DISC = (40, 200, 60)


@contextmanager
def ordinary_scheduling() -> Iterator[None]:
    """Undo what libsvtav1 does for root: real-time priority for the calling thread, which starves all others."""
    try:
        yield
    finally:
        if hasattr(os, "sched_setscheduler"):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@dataclass(frozen=True)
class Clip:
    """A file and what is in it."""

    path: Path
    frames: int
    width_px: int
    height_px: int
    rate: Fraction


def picture(index: int, width_px: int = 128, height_px: int = 96) -> Pixels:
    """RGB `(H, W, 3)` with the disc at its place in frame `index`."""
    pixels = np.full((height_px, width_px, 3), WALL, np.uint8)
    cv2.circle(pixels, _centre(index, width_px, height_px), height_px // 4, DISC, -1, cv2.LINE_AA)
    return pixels


def true_alpha(index: int, width_px: int = 128, height_px: int = 96) -> Pixels:
    """The disc's matte `(H, W)`, 255 inside."""
    alpha = np.zeros((height_px, width_px), np.uint8)
    cv2.circle(alpha, _centre(index, width_px, height_px), height_px // 4, 255, -1, cv2.LINE_AA)
    return alpha


def frames(count: int, width_px: int = 128, height_px: int = 96) -> list[Frame]:
    """Frames of the moving disc at 25 a second."""
    return [Frame(i, Fraction(i, 25), picture(i, width_px, height_px)) for i in range(count)]


def randomised(config: U2NetConfig = LITE, out_channels: int = 1) -> U2Net:
    """A network in evaluation mode whose batch norms do something, and whose output is neither 0 nor 1."""
    torch.manual_seed(0)
    net = U2Net(config, out_channels).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.3, 1.2)
    return net


class DiscEngine:
    """Finds the disc by its colour, in the network's place: alpha is known and it takes no time."""

    name = "disc"
    device = "cpu"

    def __init__(self) -> None:
        self.calls = 0

    def alpha(self, frames: Tensor) -> Tensor:
        """Normalised `(N, 3, h, w)` -> `(N, 1, h, w)`: how far green stands above red, 0 on the wall, 1 in the disc."""
        self.calls += 1
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        rgb = frames * std + mean
        return ((rgb[:, 1:2] - rgb[:, 0:1]) * 255 / (DISC[1] - DISC[0])).clamp(0, 1)


class Collector(BaseSink):
    """Keeps what it is given."""

    summary = "collected"

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.ended: str | None = None

    def write(self, frame: Frame) -> None:
        self.frames.append(frame)

    def complete(self) -> None:
        self.ended = "complete"

    def discard(self) -> None:
        self.ended = "discarded"


class ListSource:
    """A source over frames in memory."""

    def __init__(self, items: list[Frame], live: bool = False) -> None:
        height, width = items[0].pixels.shape[:2]
        self.info = VideoInfo(width, height, Fraction(25), Fraction(1, 25), len(items), live=live)
        self.decode_error: str | None = None
        self._items = items

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._items)

    def __enter__(self):  # type: ignore[no-untyped-def]
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        pass


def write_clip(
    path: Path, count: int = 24, width_px: int = 128, height_px: int = 96, rate: Fraction = RATE, sound: bool = True
) -> Clip:
    """Writes the moving disc as H.264 with an AAC tone."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=rate, options={"crf": "12", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width_px, height_px, "yuv420p"
        tone = output.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for index in range(count):
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture(index, width_px, height_px), "rgb24")))
        output.mux(video.encode(None))
        if tone:
            for start in range(0, int(count / rate * 48_000), 1024):
                output.mux(tone.encode(_tone(start)))
            output.mux(tone.encode(None))
    return Clip(path, count, width_px, height_px, rate)


def _tone(start: int) -> av.AudioFrame:
    seconds = np.arange(start, start + 1024, dtype=np.float32) / 48_000
    sound = av.AudioFrame.from_ndarray(0.2 * np.sin(2 * np.pi * 440 * seconds)[None], format="fltp", layout="mono")
    sound.sample_rate, sound.pts = 48_000, start
    return sound


def _centre(index: int, width_px: int, height_px: int) -> tuple[int, int]:
    return width_px // 3 + index % (width_px // 3), height_px // 2
