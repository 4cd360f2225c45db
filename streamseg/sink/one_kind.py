"""Sink of a live run's file: it holds frames of one kind, whatever keys and page show meanwhile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from streamseg.frames import Frame, Kind
from streamseg.sink.base import BaseSink
from streamseg.sink.images import opaque
from streamseg.yuv import RgbImage


class OneKindSink(BaseSink):
    """Hands on every frame as a frame of one kind."""

    def __init__(self, sink: BaseSink, kind: Kind) -> None:
        """Take the sink, which is opened for frames of that kind."""
        self._sink, self._kind, self.claim = sink, kind, sink.claim

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return self._sink.summary

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        self._sink.write(as_kind(frame, self._kind))

    def complete(self) -> None:
        """See `BaseSink`."""
        self._sink.complete()

    def cut_short(self) -> None:
        """See `BaseSink`."""
        self._sink.cut_short()

    def discard(self) -> None:
        """See `BaseSink`."""
        self._sink.discard()


def as_kind(frame: Frame, kind: Kind) -> Frame:
    """Return a finished frame of a live run as a frame of a kind.

    A composite is what is shown, over a checkerboard where there is no background. Foreground and matte are the frame's
    own, whatever background is shown; those of a card are empty.
    """
    if frame.kind == kind:
        return frame
    if kind == "composite":
        return replace(frame, image=opaque(frame.image))
    rgba = frame.cutout() if frame.cutout else np.zeros((*frame.image.shape[:2], 4), np.uint8)
    return replace(frame, image=RgbImage(rgba if kind == "foreground" else np.ascontiguousarray(rgba[..., 3])))
