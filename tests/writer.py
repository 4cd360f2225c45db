"""Writes a clip, a line a frame, for `test_resume` to kill: `python -m tests.writer OUT KIND [--resume]`."""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import cast

import numpy as np

from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.image import Pixels
from streamseg.sink import open_sink
from streamseg.sink.base import Sink

WIDTH_PX, HEIGHT_PX, COUNT = 96, 64, 260
RATE = Fraction(30000, 1001)
INFO = VideoInfo(WIDTH_PX, HEIGHT_PX, RATE, Fraction(1, 30000), COUNT)


def frame(index: int, kind: Kind) -> Frame:
    """A square that moves over a slope, at uneven times."""
    pixels = np.zeros((HEIGHT_PX, WIDTH_PX, 4), np.uint8)
    pixels[..., 0] = np.arange(WIDTH_PX) * 2
    pixels[..., 1] = np.arange(HEIGHT_PX)[:, None] * 3
    at = index % 60
    pixels[20:40, at : at + 30, 2:] = 255
    time = Fraction(index * 1001 + 200 * (index % 3), 30000)
    return Frame(index, time, {"foreground": pixels, "composite": _rgb(pixels), "matte": pixels[..., 3].copy()}[kind])


def write(sink: Sink, kind: Kind) -> None:
    """All frames; nothing of a run's statistics is looked at here."""
    with sink:
        for index in range(COUNT):
            sink.write(frame(index, kind))
            print(index, flush=True)
    print("complete", flush=True)


def _rgb(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[..., :3])


if __name__ == "__main__":
    out, kind, *flags = sys.argv[1:]
    write(open_sink(out, INFO, cast(Kind, kind), resume="--resume" in flags), cast(Kind, kind))
