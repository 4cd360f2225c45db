"""Cuts: where a video is parted into segments that are matted apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from streamseg.decode import BaseSource, SeekableSource
from streamseg.decode.images import ImageFiles
from streamseg.decode.video import VideoFile

SHORTEST_SECONDS, LONGEST_SECONDS = 20.0, 60.0
"""Lengths between which a segment's is chosen: what is matted twice about a cut takes a second or two."""

SEGMENTS_A_WORKER = 4
"""Wanted number of segments for each worker, so that none has long to wait for the others at the end."""

MAX_BROADCAST_SEGMENTS = 16
"""Most segments of a file that has to be read from its beginning to reach any place in it: reading it grows with the
number, and decoding starts with the segment."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch `[begin, end)` of a source, by pts in seconds.

    Attributes:
        number: 0, 1, 2, ... in the order of time.
        begin: pts from which on frames belong to it; None for those from the source's beginning on.
        end: pts from which on they belong to the next one; None for all that are left.
    """

    number: int
    begin: Fraction | None = None
    end: Fraction | None = None

    def holds(self, pts: Fraction) -> bool:
        """Whether the frame at `pts` belongs to it."""
        return (self.begin is None or pts >= self.begin) and (self.end is None or pts < self.end)

    def __str__(self) -> str:
        begin, end = float(self.begin or 0), "the end" if self.end is None else f"{float(self.end):g}"
        return f"{begin:g} to {end} s"


WHOLE = (Segment(0),)
"""The only segment of a source that is not parted."""


def segments_of(source: BaseSource, seconds: float) -> tuple[Segment, ...]:
    """Part a source into segments of about `seconds`; one that cannot be entered amid, or is shorter, is not parted.

    A video is cut where decoding can begin near: one without keyframes would be decoded from its beginning each time.

    Args:
        source: its frames cannot be read afterwards.
        seconds: length of a segment.
    """
    length = length_of(source)
    if length is None or not isinstance(source, SeekableSource):
        return WHOLE
    if isinstance(source, VideoFile) and source.is_read_from_beginning:
        seconds = max(seconds, float(length) / MAX_BROADCAST_SEGMENTS)
    count = max(1, math.floor(float(length) / seconds + 0.5))
    wanted = [source.first_pts + Fraction(seconds) * number for number in range(1, count)]
    cuts = [cut for cut in wanted if not isinstance(source, VideoFile) or _can_be_entered(source, cut, seconds)]
    return from_cuts(cuts)


def from_cuts(cuts: Sequence[Fraction]) -> tuple[Segment, ...]:
    """Return the segments between cuts at these pts, in ascending order."""
    return tuple(Segment(number, begin, end) for number, (begin, end) in enumerate(pairwise([None, *cuts, None])))


def length_of(source: BaseSource) -> Fraction | None:
    """Return the time from the first frame to the end of the last one in seconds, as far as it is stated."""
    if isinstance(source, VideoFile):
        return None if source.end_pts is None else source.end_pts - source.first_pts
    if isinstance(source, ImageFiles) and source.info.frame_count:
        return source.info.frame_count / source.info.rate
    return None


def segment_seconds(length_seconds: float, workers: int) -> float:
    """Return a segment's length that gives each worker some, within reason."""
    wanted = length_seconds / (SEGMENTS_A_WORKER * workers)
    return min(max(wanted, SHORTEST_SECONDS), LONGEST_SECONDS)


def _can_be_entered(source: VideoFile, cut: Fraction, seconds: float) -> bool:
    """Whether decoding can begin so near before a cut that less than one segment's length is decoded in vain."""
    if source.is_read_from_beginning:
        return True
    entry = source.entry_before(cut)
    return entry is not None and cut - entry < seconds
