"""The smoothing stage: filter mattes in time, in the frames' order, and leave out what is not to be shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from streamseg.frames import Batch, Frame
from streamseg.settings import SmoothSettings
from streamseg.smooth.filters import open_filter
from streamseg.smooth.gate import PresenceGate
from streamseg.smooth.motion import LOOK_AHEAD, Alpha, MotionFilter
from streamseg.smooth.scene_cuts import CutDetector
from streamseg.smooth.seams import SceneMemory, Seams
from streamseg.smooth.subject import CENTRE, SubjectTracker


@dataclass(frozen=True, slots=True)
class _Moment:
    """When a frame is.

    Attributes:
        pts: of the frame.
        elapsed_seconds: since the frame before; 0 where nothing of it holds.
        scene_seconds: the same, but the scene goes on where the image is only mirrored.
        mirrored: see `Frame`.
    """

    pts: Fraction
    elapsed_seconds: float
    scene_seconds: float
    mirrored: bool


class MatteSmoother:
    """Smooths the mattes of one stream; with nothing to do it leaves them unchanged.

    Motion, gate and subject need mattes on the host; the plain filters run on any device, see `on_device`.
    """

    def __init__(self, settings: SmoothSettings, look_ahead: int = 0, seams: Seams | None = None) -> None:
        """Start a stream.

        Args:
            settings: of the stage; `keep` is a point of the camera's own image where frames are mirrored.
            look_ahead: later frames that a matte waits for if the filter makes use of them.
            seams: the ends of the stretch that the stream is of, if it is not the whole video.
        """
        self._look_ahead, self._seams, self._cuts = look_ahead, seams, CutDetector()
        self._last: Frame | None = None
        self._moments: deque[_Moment] = deque()  # Of the frames whose mattes wait.
        self._settings = settings
        self._open_filters()
        self._open_gate()
        self._open_subject()

    def _open_filters(self) -> None:
        settings = self._settings
        self._temporal = open_filter(settings)
        in_motion = settings.smooth == "motion"
        self._motion = MotionFilter(settings.motion_seconds, self._look_ahead) if in_motion else None

    def _open_gate(self) -> None:
        self._gate = PresenceGate() if self._settings.gate else None

    def _open_subject(self) -> None:
        self._subject = subject_tracker(self._settings)

    def change(self, settings: SmoothSettings) -> None:
        """Use other settings from the next matte on; not while mattes wait.

        What they do not concern goes on: whoever was chosen stays, though mattes are smoothed in another way.
        """
        if settings is self._settings:
            return
        changed = {name for name, value in settings if getattr(self._settings, name) != value}
        self._settings = settings
        if changed & {"subject", "keep"}:
            self._open_subject()
        if "gate" in changed:
            self._open_gate()
        if changed - {"subject", "keep", "gate"}:
            self._open_filters()

    def step(self, frame: Frame, alpha: Tensor) -> Tensor:
        """Smooth the next frame's matte at once; for a smoother that does not look ahead. See `push`."""
        (smoothed,) = self.push(frame, alpha)
        return smoothed

    def push(self, frame: Frame, alpha: Tensor) -> list[Tensor]:
        """Take the next frame and return the mattes that are finished by it, in order.

        A scene begins at a scene cut, after a card, and where pts does not increase: nothing of what was before is
        known in it.

        Args:
            frame: the frame.
            alpha: its matte `(1, h, w)` in [0, 1].
        """
        if frame.card is not None:
            self._last = None
            return [alpha]
        if not (self._temporal or self._motion or self._gate or self._subject):
            return [alpha]
        moment = self._moment_of(frame)
        elapsed_seconds = moment.elapsed_seconds
        self._moments.append(moment)
        if self._motion:
            height, width = alpha.shape[-2:]
            grey, *_ = frame.image.reduced_planes(width, height)
            return [self._shown(matte) for matte in self._motion.push(grey, alpha[0].numpy(), elapsed_seconds)]
        if self._temporal:
            if elapsed_seconds == 0:
                self._temporal.reset()
            alpha = self._temporal.step(alpha, elapsed_seconds)
        return [self._shown(alpha[0].numpy())] if self._gate or self._subject else [alpha]

    def flush(self) -> list[Tensor]:
        """Return the mattes that still wait for later frames, of which there are none."""
        return [self._shown(matte) for matte in self._motion.flush()] if self._motion else []

    def _moment_of(self, frame: Frame) -> _Moment:
        is_cut = self._cuts.is_cut(frame.image)
        last, self._last = self._last, frame
        if last is None:
            return _Moment(frame.pts, 0.0, 0.0, frame.mirrored)
        passed_seconds = max(0.0, float(frame.pts - last.pts))
        is_turned = frame.mirrored != last.mirrored
        return _Moment(
            pts=frame.pts,
            elapsed_seconds=0.0 if is_cut or is_turned else passed_seconds,
            scene_seconds=0.0 if is_cut and not is_turned else passed_seconds,
            mirrored=frame.mirrored,
        )

    def _shown(self, alpha: Alpha) -> Tensor:
        """Leave out of the next smoothed matte what is not to be shown."""
        moment = self._moments.popleft()
        if self._seams:
            self._recall(self._seams.memory_at(moment.pts, self._memory()))
        if self._gate:
            alpha = self._gate.step(alpha, moment.elapsed_seconds)
        if self._subject:
            turn = slice(None, None, -1 if moment.mirrored else 1)  # The tracker sees the camera's own image.
            alpha = self._subject.step(np.ascontiguousarray(alpha[:, turn]), moment.scene_seconds)[:, turn]
        return torch.from_numpy(np.ascontiguousarray(alpha, np.float32))[None]

    def _memory(self) -> SceneMemory:
        gate, subject = self._gate, self._subject
        return SceneMemory(gate.memory if gate else None, subject.memory if subject else None)

    def _recall(self, memory: SceneMemory) -> None:
        if self._gate and memory.gate:
            self._gate.memory = memory.gate
        if self._subject and memory.subject:
            self._subject.memory = memory.subject


def subject_tracker(settings: SmoothSettings) -> SubjectTracker | None:
    """Return what keeps the one subject that the settings ask for, or None if all stay."""
    if not settings.picks:
        return None
    if settings.keep is None and settings.subject == "largest":
        return SubjectTracker("largest")
    return SubjectTracker(settings.keep or CENTRE)


def on_device(settings: SmoothSettings) -> SmoothSettings:
    """Return the settings for mattes that stay on a GPU: a filter that needs no flow, no gate and no subject."""
    smooth = "one-euro" if settings.smooth == "motion" else settings.smooth
    return settings.model_copy(update={"smooth": smooth, "gate": False, "subject": "all", "keep": None})


def smooth(
    batches: Iterable[Batch],
    settings: SmoothSettings | Callable[[], SmoothSettings],
    looks_ahead: bool = False,
    seams: Seams | None = None,
) -> Iterator[Batch]:
    """Smooth the mattes of batches in the frames' order; the result does not depend on the batch size.

    Args:
        batches: frames and their mattes.
        settings: of the stage, or a function that returns those of the next batch.
        looks_ahead: whether mattes may wait for the next frames, `LOOK_AHEAD` at most; not if the settings change.
        seams: the ends of the stretch that the frames are of, if they are not the whole video.
    """
    settings_now = settings if callable(settings) else lambda: settings
    smoother = MatteSmoother(settings_now(), LOOK_AHEAD if looks_ahead else 0, seams)
    waiting: deque[Batch] = deque()
    finished: deque[Tensor] = deque()
    for batch in batches:
        smoother.change(settings_now())
        waiting.append(batch)
        for frame, alpha in zip(batch.frames, batch.alpha, strict=True):
            finished.extend(smoother.push(frame, alpha))
        yield from _complete(waiting, finished, seams)
    finished.extend(smoother.flush())
    yield from _complete(waiting, finished, seams)


def _complete(waiting: deque[Batch], finished: deque[Tensor], seams: Seams | None) -> Iterator[Batch]:
    """Yield the batches all of whose mattes are finished, and take them from both queues."""
    while waiting and len(finished) >= len(waiting[0].frames):
        batch = waiting.popleft()
        mattes = [finished.popleft() for _ in batch.frames]
        if seams:
            for frame, matte in zip(batch.frames, mattes, strict=True):
                seams.note(frame.pts, matte)
        yield replace(batch, alpha=torch.stack(mattes))
