"""Judges streamseg's own pipeline on clips whose mattes are known, beside yardsticks made of the same mattes.

streamseg     what the pipeline makes of the clip with the given settings, offline
bilinear      the same mattes, at the network's size, enlarged bilinearly instead of refined
unsmoothed    the same settings without a temporal filter
own pixels    the same mattes, with the frame's own pixels as the foreground of the composite
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import tee, zip_longest

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamseg.composite.background import Background, open_background
from streamseg.composite.stage import composite
from streamseg.decode import BaseSource, open_source
from streamseg.errors import ConfigError, DataError
from streamseg.frames import Batch, Frame
from streamseg.infer.engines import load_engine
from streamseg.infer.engines.base import Engine
from streamseg.infer.letterbox import Letterbox, small_images
from streamseg.pipeline import mattes
from streamseg.settings import CompositeSettings, Settings
from streamseg.yuv import RgbImage
from train.clips import MASKS, TruthClip
from train.data import Pixels
from train.metrics.clip import ColourMeter, EntranceMeter, MatteMeter, TrailMeter
from train.metrics.matting import unknown_band
from train.metrics.temporal import Flow, estimated_flow
from train.synth.files import Truth
from train.synth.recipes import RATE
from train.synth.scene import laid_over

STREAMSEG, BILINEAR, UNSMOOTHED, OWN_PIXELS = "streamseg", "bilinear", "unsmoothed", "own pixels"

NEW_BACKGROUND = "#808080"
"""Colour behind composites if the settings name no `bg`: far from nothing, so that errors of alpha do not drown those
of the foreground's colour."""

TRUTH_MODEL = "truth"
"""Value of `model` for a network that is right: the true alpha at the network's size. What is left are the errors of
refinement, foreground colour and temporal filter."""

EngineFor = Callable[[TruthClip], Engine]
"""Opens the engine for a pass over a clip."""


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """What was found for a clip.

    Attributes:
        name: of the clip.
        kind: of the clip.
        rows: `streamseg` and the yardsticks -> figures by name, see `train.metrics.clip`.
    """

    name: str
    kind: str
    rows: dict[str, dict[str, float]]


def engine_opener(settings: Settings) -> EngineFor:
    """Return what opens the engine for a pass over a clip: the settings' network, loaded once, or the truth.

    Raises:
        StreamsegError: as `load_engine`.
        ConfigError: the truth is asked for on keyframes alone.
    """
    if settings.infer.model != TRUTH_MODEL:
        engine = load_engine(settings.infer)
        return lambda clip: engine
    if settings.infer.refine:
        raise ConfigError(f"model={TRUTH_MODEL} knows no crops; leave out refine=true")
    if settings.infer.stride > 1:
        raise ConfigError(
            f"model={TRUTH_MODEL} gives a matte for every frame; leave out stride={settings.infer.stride}"
        )
    return lambda clip: TruthEngine(clip.truths(), settings.infer.input_size)


class TruthEngine:
    """Stands in for a network that is right: hands out a clip's true alpha, frame by frame, at the network's size."""

    name, device = TRUTH_MODEL, "cpu"

    def __init__(self, truths: Iterator[Truth], input_size: int) -> None:
        self._truths, self._input_size = truths, input_size

    def alpha(self, frames: Tensor) -> Tensor:
        """Return the next N true mattes `(N, 1, h, w)` for frames `(N, 3, h, w)`, whose pixels are not looked at."""
        truths = [next(self._truths).alpha for _ in frames]
        letterbox = Letterbox.of(truths[0].shape[0], truths[0].shape[1], self._input_size)
        small = small_images([RgbImage(alpha) for alpha in truths], letterbox)
        return torch.from_numpy(small[..., 0]).float()[:, None] / 255


def judge_clip(clip: TruthClip, engine_for: EngineFor, settings: Settings) -> ClipFigures:
    """Run the pipeline over a clip and judge what comes out, beside the yardsticks.

    One frame is looked at at a time; memory does not grow with the clip. Without a temporal filter there is no row
    `unsmoothed`.

    Raises:
        DataError: the truth has more or fewer frames than the clip, or another size.
        StreamsegError: a stage failed.
    """
    rows = _judge_all(clip, engine_for, settings)
    if settings.smooth.smooth != "none":
        unsmoothed = settings.model_copy(update={"smooth": settings.smooth.model_copy(update={"smooth": "none"})})
        rows[UNSMOOTHED] = _judge_mattes(clip, engine_for, unsmoothed)
    return ClipFigures(clip.name, clip.kind, rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Finished:
    """What the pipeline makes of one frame: the matte at both sizes, and perhaps the composite and the cut-out."""

    frame: Frame
    small_alpha: npt.NDArray[np.float32]
    matte: Pixels
    composite: Pixels | None = None
    cutout: Pixels | None = None


class _Meters:
    """All that one row of a clip is judged by; what its kind does not have is left out."""

    def __init__(self, clip: TruthClip) -> None:
        self._matte, self._colour = MatteMeter(binary=clip.kind == MASKS), ColourMeter()
        self._trail = TrailMeter() if clip.kind == "hand" else None
        self._entrance = EntranceMeter(RATE) if clip.kind == "enters" else None

    def add_matte(self, matte: Pixels, truth: Truth, flow: Flow | None) -> None:
        self._matte.add(matte, truth.alpha, flow)
        for meter in (self._trail, self._entrance):
            if meter:
                meter.add(matte, truth.alpha)

    def add_composite(self, made: Pixels | None, back: Pixels, truth: Truth) -> None:
        """Judge a composite in the band against the true foreground over the same background."""
        if made is not None and truth.foreground is not None:
            right = laid_over(back, truth.foreground, truth.alpha)
            self._colour.add("band.composite", made, right, unknown_band(truth.alpha))

    def add_cutout(self, made: Pixels | None, truth: Truth) -> None:
        """Judge the cut-out's colours in the band, where the true foreground has a colour."""
        if made is not None and truth.foreground is not None:
            where = unknown_band(truth.alpha) & (truth.alpha > 0)
            self._colour.add("band.foreground", made[..., :3], truth.foreground, where)

    def scores(self) -> dict[str, float]:
        scores = self._matte.scores() | self._colour.scores()
        for meter in (self._trail, self._entrance):
            scores |= meter.scores() if meter else {}
        return scores


def _judge_all(clip: TruthClip, engine_for: EngineFor, settings: Settings) -> dict[str, dict[str, float]]:
    """Judge the settings' mattes, composites and cut-outs, and the yardsticks that are made of the same mattes."""
    meters = {row: _Meters(clip) for row in (STREAMSEG, BILINEAR, OWN_PIXELS)}
    chosen = settings.composite
    with (
        closing(open_background(chosen.bg or NEW_BACKGROUND, chosen.fit)) as background,
        closing(mattes(_opened(clip), engine_for(clip), settings)) as batches,
    ):
        for made, truth, flow in _beside_truth(clip, _finished(batches, chosen, background)):
            back = background.frame_at(made.frame)
            meters[STREAMSEG].add_matte(made.matte, truth, flow)
            meters[STREAMSEG].add_composite(made.composite, back, truth)
            meters[STREAMSEG].add_cutout(made.cutout, truth)
            meters[BILINEAR].add_matte(_enlarged(made.small_alpha, made.matte.shape), truth, flow)
            own = laid_over(back, made.frame.image.rgb, made.matte)
            meters[OWN_PIXELS].add_composite(own, back, truth)
    return {row: each.scores() for row, each in meters.items()}


def _judge_mattes(clip: TruthClip, engine_for: EngineFor, settings: Settings) -> dict[str, float]:
    """Judge the settings' mattes alone."""
    meters = _Meters(clip)
    with closing(mattes(_opened(clip), engine_for(clip), settings)) as batches:
        for made, truth, flow in _beside_truth(clip, _finished(batches, settings.composite, None)):
            meters.add_matte(made.matte, truth, flow)
    return meters.scores()


def _finished(
    batches: Iterable[Batch], settings: CompositeSettings, background: Background | None
) -> Iterator[_Finished]:
    """Run the compositing stage as the pipeline does: for the matte and, before a background, for the rest as well."""
    own, *copies = tee(batches, 4 if background else 2)
    matte = composite(copies[0], settings.model_copy(update={"bg": None, "matte_only": True}))
    if not background:
        yield from (
            _Finished(frame, small, made.pixels) for (frame, small), made in zip(_one_by_one(own), matte, strict=True)
        )
        return
    plain = settings.model_copy(update={"bg": None, "matte_only": False})
    before, cutout = composite(copies[1], plain, background), composite(copies[2], plain)
    for (frame, small), *made in zip(_one_by_one(own), matte, before, cutout, strict=True):
        yield _Finished(frame, small, *(each.pixels for each in made))


def _one_by_one(batches: Iterable[Batch]) -> Iterator[tuple[Frame, npt.NDArray[np.float32]]]:
    """Yield every frame with its matte `(h, w)` at the network's size."""
    for batch in batches:
        for frame, alpha in zip(batch.frames, batch.alpha, strict=True):
            yield frame, alpha[0].numpy()


def _beside_truth(clip: TruthClip, finished: Iterable[_Finished]) -> Iterator[tuple[_Finished, Truth, Flow | None]]:
    """Yield what was made of a frame with its truth and the motion since the frame before, estimated if not known."""
    luma: Pixels | None = None
    for index, (made, truth) in enumerate(zip_longest(finished, clip.truths())):
        if made is None or truth is None:
            more, fewer = ("frames", "mattes") if made else ("mattes", "frames")
            raise DataError(
                f"{clip.name} has more {more} than {fewer}, of which there are {index}; it must have as many"
            )
        if made.matte.shape != truth.alpha.shape:
            raise DataError(
                f"{clip.name}: frames are {made.matte.shape} px and mattes {truth.alpha.shape} px (height, width)"
            )
        flow, before = truth.flow, luma
        if clip.kind == MASKS:
            luma = made.frame.image.y.copy()
            flow = estimated_flow(before, luma) if before is not None else None
        yield made, truth, flow


def _enlarged(alpha: npt.NDArray[np.float32], shape: tuple[int, ...]) -> Pixels:
    """Return the bilinear yardstick: alpha `(h, w)` in [0, 1] -> `(H, W)` uint8."""
    enlarged = cv2.resize(alpha, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return (enlarged * 255).round().astype(np.uint8)


def _opened(clip: TruthClip) -> BaseSource:
    return open_source(str(clip.path))
