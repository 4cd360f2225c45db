"""Join: copies the packets of finished segments into one file, with the sound and the other tracks of the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streamseg.batch.folder import Finished
from streamseg.batch.tasks import Work
from streamseg.decode import open_source
from streamseg.errors import OutputError
from streamseg.sink import open_apart
from streamseg.sink.mix import with_background_sound
from streamseg.sink.parts import Part


def join_segments(work: Work, finished: Sequence[Finished]) -> str:
    """Join the segments to the output and return its summary; nothing is encoded again.

    Args:
        work: the file.
        finished: its segments in order.

    Raises:
        StreamsegError: the source cannot be read, or the output not written.
    """
    with open_source(work.source, work.time_range) as source:
        info = with_background_sound(source.info, work.settings.composite)
    sink = open_apart(work.out, info, work.settings.composite.kind, work.settings.output, work.as_images)
    with sink:
        for part in _parts(work, finished):
            sink.take(part)
    return sink.summary


def _parts(work: Work, finished: Sequence[Finished]) -> Iterator[Part]:
    """Yield the segments that have frames; images are numbered on, unless the source itself numbers them."""
    folder, number = work.folder, 0
    for one in finished:
        if one.frames:
            number = number if one.first_index is None else one.first_index
            yield folder.part(one, number)
            number += one.frames
    if not number:
        raise OutputError(f"{work.source} has no frames to write to {work.out}")
