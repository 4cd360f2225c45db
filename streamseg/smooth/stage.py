"""The smoothing stage: run the temporal filter over mattes in the frames' order and reset it at scene cuts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from streamseg.frames import Batch, Frame
from streamseg.settings import SmoothSettings
from streamseg.smooth.filters import open_filter
from streamseg.smooth.scene_cuts import CutDetector


class MatteSmoother:
    """Smooths the mattes of one stream, on the device that they are on; without a filter they stay unchanged."""

    def __init__(self, settings: SmoothSettings) -> None:
        self._settings, self._temporal, self._cuts = settings, open_filter(settings), CutDetector()
        self._last: Frame | None = None

    def change(self, settings: SmoothSettings) -> None:
        """Use other settings from the next matte on, which starts the new filter."""
        if settings != self._settings:
            self._settings, self._temporal, self._last = settings, open_filter(settings), None

    def step(self, frame: Frame, alpha: Tensor) -> Tensor:
        """Smooth the next frame's matte `(1, h, w)` in [0, 1].

        The filter is reset at a scene cut and where pts does not increase.

        Args:
            frame: the frame, for its pts and for scene cuts.
            alpha: its matte.
        """
        if self._temporal is None:
            return alpha
        if frame.card is not None:
            self._temporal.reset()
            return alpha
        elapsed_seconds = float(frame.pts - self._last.pts) if self._last else 0.0
        if self._cuts.is_cut(frame.image) or elapsed_seconds <= 0:
            self._temporal.reset()
        self._last = frame
        return self._temporal.step(alpha, elapsed_seconds)


def smooth(batches: Iterable[Batch], settings: SmoothSettings | Callable[[], SmoothSettings]) -> Iterator[Batch]:
    """Smooth the mattes of batches in the frames' order; the result does not depend on the batch size.

    Args:
        batches: frames and their mattes.
        settings: of the filter, or a function that returns those of the next batch.
    """
    settings_now = settings if callable(settings) else lambda: settings
    smoother = MatteSmoother(settings_now())
    for batch in batches:
        smoother.change(settings_now())
        pairs = zip(batch.frames, batch.alpha, strict=True)
        yield replace(batch, alpha=torch.stack([smoother.step(frame, alpha) for frame, alpha in pairs]))
