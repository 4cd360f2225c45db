"""Plan of one file: how it is parted, and which of its segments an earlier run has finished."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from streamseg.batch.cuts import WHOLE, length_of, segment_seconds, segments_of
from streamseg.batch.engine import settled
from streamseg.batch.folder import Manifest, SegmentFolder, segments_in
from streamseg.batch.tasks import Plan, Work
from streamseg.decode import TimeRange, open_source
from streamseg.decode.time_range import WHOLE as ALL_TIME
from streamseg.errors import InputError, OutputError
from streamseg.media.storage import AnyPath
from streamseg.settings import Settings
from streamseg.sink.animation import ANIMATIONS
from streamseg.sink.made_from import made_from
from streamseg.sink.mix import background_sound, check_holds_sound
from streamseg.sink.overwriting import files_of, refuse_overwriting
from streamseg.sink.record import MadeFrom, difference


def work_on(
    source: str,
    out: AnyPath,
    settings: Settings,
    workers: int,
    as_images: bool = False,
    time_range: TimeRange = ALL_TIME,
) -> Work:
    """Return the work on a file, in segments of a length that gives each worker some; see `Work`.

    A source that cannot be read is left to its plan to tell of.
    """
    seconds = settings.batch.segment_seconds
    if seconds is None:
        length = None
        with suppress(InputError), open_source(source, time_range) as opened:
            length = length_of(opened)
        seconds = segment_seconds(float(length or 0), workers)
    return Work(source, out, settings, seconds, as_images, time_range)


def plan_segments(work: Work) -> Plan:
    """Part a file, or take up how an earlier run has parted it.

    Raises:
        ConfigError: the background has no sound, and it is asked for.
        InputError: the source cannot be read.
        OutputError: an earlier run has left segments that are made from something else, the output holds no sound, or
            it is an input.
    """
    composite = work.settings.composite
    written = [work.out.parent] if work.as_images else files_of(work.out, composite.kind, work.settings.output)
    refuse_overwriting(written, work.source, composite.bg)
    with open_source(work.source, work.time_range) as source:
        frame_count = source.info.frame_count
        is_parted = work.out.suffix.lower() not in ANIMATIONS  # These cannot be joined.
        segments = segments_of(source, work.segment_seconds) if is_parted else WHOLE
    sound = background_sound(composite)
    if work.as_images:
        check_holds_sound(work.out, sound)
    work = replace(work, settings=work.settings.model_copy(update={"infer": settled(work.settings.infer)}))
    folder, given = work.folder, made_from(work.source, work.settings, work.time_range)
    left = folder.manifest()
    if left:
        _check_fits(left, given, folder)
        folder.clear()
        return Plan(work, segments_in(left), folder.finished(), frame_count)
    if segments != WHOLE:
        cuts = tuple(segment.begin for segment in segments if segment.begin is not None)
        folder.begin(Manifest(made_from=given, cuts=cuts))
    return Plan(work, segments, {}, frame_count)


def _check_fits(manifest: Manifest, given: MadeFrom, folder: SegmentFolder) -> None:
    """Raise OutputError, naming the first difference, if segments are not made from what is given now."""
    differs = difference(manifest.made_from, given)
    if differs:
        raise OutputError(f"cannot go on with {folder.path}: it was made with {differs}; give the same, or remove it")
