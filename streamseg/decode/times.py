"""The times of decoded pictures, where the file or the decoder leaves them in disorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush

import av

OUT_OF_ORDER = 4
"""Places that a picture may come too late, after damage."""


def in_order(pictures: Iterable[av.VideoFrame], may_differ: Callable[[], bool]) -> Iterator[av.VideoFrame]:
    """Pictures by their times; a decoder that has lost some may give those around them in another order.

    Args:
        pictures: as the decoder gives them.
        may_differ: whether their order is not to be relied on by now; until then, none is held back.
    """
    waiting: list[tuple[int, int, av.VideoFrame]] = []
    for number, picture in enumerate(pictures):
        if picture.pts is None:
            yield picture
            continue
        heappush(waiting, (picture.pts, number, picture))
        while len(waiting) > (OUT_OF_ORDER if may_differ() else 0):
            yield heappop(waiting)[2]
    while waiting:
        yield heappop(waiting)[2]
