"""Matting of one segment of a video, with the frames about it that its mattes depend on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from streamseg.batch.cuts import Segment
from streamseg.batch.engine import engine_of
from streamseg.batch.folder import Finished
from streamseg.batch.tasks import SegmentTask, Tell, Whole, Work
from streamseg.composite.background import chosen_background
from streamseg.composite.colour_match import TIME_CONSTANT_SECONDS
from streamseg.decode import BaseSource, SeekableSource, TimeRange, open_source
from streamseg.decode.images import ImageFiles
from streamseg.decode.time_range import WHOLE
from streamseg.errors import InputError, OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.infer.keyframes import KeyframeInterval
from streamseg.media.storage import AnyPath
from streamseg.pipeline import run
from streamseg.settings import Settings
from streamseg.sink import MadeOtherwise, open_apart, open_file, open_sink
from streamseg.sink.animation import ANIMATIONS
from streamseg.sink.base import BaseSink
from streamseg.sink.made_from import made_from
from streamseg.sink.mix import with_background_sound
from streamseg.smooth.filters import settling_seconds
from streamseg.smooth.motion import LOOK_AHEAD
from streamseg.smooth.seams import Seams
from streamseg.smooth.stage import on_device

if TYPE_CHECKING:
    from streamseg.infer.engines.base import Engine

FRAMES_BEFORE = 2
"""Frames that a segment begins earlier, beside the time that its filter needs."""

COLOURS_SETTLE_SECONDS = 6.5 * TIME_CONSTANT_SECONDS
"""Time after which less than 1/255 is left of what the matching of colours saw before."""


def matte_segment(task: SegmentTask, tell: Tell) -> Finished:
    """Matte a segment into the folder of its output; see `SegmentTask`.

    Raises:
        StreamsegError: the source cannot be read, or the segment not written.
    """
    started = time.monotonic()
    engine, folder, segment = engine_of(task.work.settings.infer), task.work.folder, task.segment
    seams = Seams(segment.begin, segment.end, task.known)
    with (
        folder.attempt(segment.number, task.attempt) as target,
        open_source(task.work.source, task.work.time_range) as source,
    ):
        stretch = Stretch(source, segment, task.work.settings)
        if _skip(source, task, engine):
            _write(stretch, target, task, engine, seams, tell)
        finished = stretch.finished(socket.gethostname(), time.monotonic() - started)
        folder.accept(finished, target, seams)
    return finished


def matte_whole(work: Work, tell: Tell) -> Whole:
    """Matte a file in one piece, from where an interrupted run left it.

    Raises:
        StreamsegError: the source cannot be read, or the output not written.
    """
    started = time.monotonic()
    engine = engine_of(work.settings.infer)
    with (
        open_source(work.source, work.time_range) as source,
        _open_whole(work, with_background_sound(source.info, work.settings.composite)) as sink,
    ):
        statistics = run(source, engine, sink, work.settings, on_frame=lambda so_far: tell(so_far.frames))
    finished = Finished(
        number=0,
        frames=statistics.frames,
        damage=source.decode_error,
        machine=socket.gethostname(),
        seconds=round(time.monotonic() - started, 3),
    )
    return Whole(sink.summary, finished)


def _open_whole(work: Work, info: VideoInfo) -> BaseSink:
    if work.as_images:
        return open_sink(str(work.out), info, work.settings.composite.kind, work.settings.output)
    return open_to_go_on(work.source, work.out, info, work.settings, work.time_range)


def open_to_go_on(
    source: str, out: AnyPath, info: VideoInfo, settings: Settings, time_range: TimeRange = WHOLE
) -> BaseSink:
    """Open a file, to go on with what an interrupted run left of it if that is made from the same.

    Raises:
        StreamsegError: the output cannot be written, or what it is made from not be read.
    """
    kind, output = settings.composite.kind, settings.output
    if out.suffix.lower() in ANIMATIONS:  # These are short, and start over.
        return open_file(out, info, kind, output)
    given = made_from(source, settings, time_range)
    try:
        return open_file(out, info, kind, output, resume=True, made_from=given)
    except MadeOtherwise:
        return open_file(out, info, kind, output, made_from=given)


def lead_in_seconds(settings: Settings, info: VideoInfo, engine: Engine) -> Fraction:
    """Return the time by which a segment has to begin earlier for its mattes to be those of the whole video.

    The first frame that is read counts as a keyframe, so that one keyframe interval is lost before the filter settles.
    """
    filters = [settings.smooth, *([on_device(settings.smooth)] if isinstance(engine, StreamedEngine) else [])]
    seconds = max(settling_seconds(smooth) for smooth in filters)
    if settings.composite.bg and settings.composite.match_colors:
        seconds = max(seconds, COLOURS_SETTLE_SECONDS)
    interval_frames = settings.infer.stride if settings.infer.stride > 1 else 0
    return Fraction(seconds) + (FRAMES_BEFORE + interval_frames) / info.rate


def _skip(source: BaseSource, task: SegmentTask, engine: Engine) -> bool:
    """Skip to where a segment is read from; return whether there is anything."""
    if task.segment.begin is None or not isinstance(source, SeekableSource):
        return True
    begin = task.segment.begin - lead_in_seconds(task.work.settings, source.info, engine) * task.lead_in
    if begin > source.first_pts:
        try:
            source.skip_to(begin)
        except InputError:  # The source ends before that, though its header says otherwise.
            return False
    return True


def _write(stretch: Stretch, target: Path, task: SegmentTask, engine: Engine, seams: Seams, tell: Tell) -> None:
    """Run the pipeline on a segment."""
    composite = task.work.settings.composite
    info = replace(stretch.info, path=None, frame_count=None)
    try:
        inner = open_apart(target, info, composite.kind, task.work.settings.output, task.work.as_images)
        with (
            chosen_background(composite, begin=stretch.first_pts) as background,
            SegmentSink(inner, task.segment, tell) as sink,
        ):
            run(stretch, engine, sink, task.work.settings, background=background, seams=seams)
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None)
        if reason:  # The line tells of the segment's own file, which is removed.
            raise OutputError(f"cannot write {task.work.out}: {reason}") from error.__cause__
        raise


class Stretch(BaseSource):
    """The frames of a segment, with those before and after it that its mattes depend on.

    Attributes:
        first_pts: pts of the first frame of the whole source.
    """

    def __init__(self, source: BaseSource, segment: Segment, settings: Settings) -> None:
        """Take a source, which will not be closed, to be read from where it is by then."""
        self.info = source.info
        self.first_pts = source.first_pts if isinstance(source, SeekableSource) else None
        self._source, self._segment, self._settings = source, segment, settings
        self._frames = 0
        self._first: _Place | None = None
        self._last: _Place | None = None
        self._before_pts: Fraction | None = None
        self._following_pts: Fraction | None = None

    def __iter__(self) -> Iterator[Frame]:
        is_enough = _Enough(KeyframeInterval(self._settings.infer.stride, self.info.rate))
        for frame in self._source:
            self._note(frame)
            yield frame
            if self._following_pts is not None and is_enough(frame):
                return

    def finished(self, machine: str, seconds: float) -> Finished:
        """Describe the segment, once its frames have been read.

        Args:
            machine: where it was matted.
            seconds: time that it took.
        """
        first, last = self._first, self._last
        return Finished(
            number=self._segment.number,
            frames=self._frames,
            first_pts=first and first.pts,
            last_pts=last and last.pts,
            end=last and last.end,
            before_pts=self._before_pts,
            following_pts=self._following_pts,
            first_index=first.index if first and isinstance(self._source, ImageFiles) else None,
            damage=self._source.damage_within(self._segment.begin, self._segment.end),
            machine=machine,
            seconds=round(seconds, 3),
        )

    def _note(self, frame: Frame) -> None:
        if self._segment.holds(frame.pts):
            tick = self.info.time_base
            duration = frame.duration or 1 / self.info.rate
            end = tick * (round(frame.pts / tick) + round(duration / tick))  # As sinks write it.
            self._last = _Place(frame.index, frame.pts, end)
            self._first = self._first or self._last
            self._frames += 1
        elif self._segment.end is not None and frame.pts >= self._segment.end:
            if self._following_pts is None:
                self._following_pts = frame.pts
        else:
            self._before_pts = frame.pts


@dataclass(frozen=True, slots=True)
class _Place:
    """A frame without its image."""

    index: int
    pts: Fraction
    end: Fraction


class _Enough:
    """Tells when a segment has been read far enough past its end for the first matte after it to be the right one.

    The filter looks ahead, and what it sees there depends on the next keyframe.
    """

    def __init__(self, interval: KeyframeInterval) -> None:
        self._interval, self._frames = interval, 0
        self._index: int | None = None

    def __call__(self, frame: Frame) -> bool:
        """Take the next frame after the segment; return whether it is the last one needed."""
        before, self._index = self._index, self._interval.index_of(frame)
        self._frames += 1
        return self._frames > LOOK_AHEAD and (self._interval.frames == 1 or before != self._index)


class SegmentSink(BaseSink):
    """Writes the frames of a segment, and passes over those about it."""

    def __init__(self, inner: BaseSink, segment: Segment, tell: Tell) -> None:
        """Take the segment's own sink, and what is told of the frames written to it."""
        self._inner, self._segment, self._tell = inner, segment, tell
        self._first_index: int | None = None
        self._frames = 0

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return self._inner.summary

    def write(self, frame: Frame) -> None:
        """See `Sink`; images are numbered within the segment."""
        if not self._segment.holds(frame.pts):
            return
        if self._first_index is None:
            self._first_index = frame.index
        self._inner.write(replace(frame, index=frame.index - self._first_index))
        self._frames += 1
        self._tell(self._frames)

    def complete(self) -> None:
        """See `BaseSink`."""
        self._inner.complete()

    def discard(self) -> None:
        """See `BaseSink`."""
        self._inner.discard()
