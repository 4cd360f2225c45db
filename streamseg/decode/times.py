"""The times of decoded pictures, where the file or the decoder leaves them in disorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any

import av
from av.packet import Packet

from streamseg.decode.hevc_alpha import Decode

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


def until_the_next(pictures: Iterable[av.VideoFrame], end: Callable[[], int | None]) -> Iterator[av.VideoFrame]:
    """Pictures of containers that state durations in the order of decoding, with those that they are seen for.

    Args:
        pictures: in the order in which they are seen; one is held back.
        end: asked after the last one, when it ends, in ticks; None where that is not known.
    """
    held: av.VideoFrame | None = None
    for picture in pictures:
        if held is not None:
            yield _shown_until(picture.pts, held)
        held = picture
    if held is not None:
        yield _shown_until(end(), held)


def _shown_until(end: int | None, picture: av.VideoFrame) -> av.VideoFrame:
    if end is not None and picture.pts is not None and end > picture.pts:
        picture.duration = end - picture.pts
    return picture


def at_their_places(packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Packets of containers that store no presentation times, with those of their places in the file."""
    for packet in packets:
        packet.pts = packet.dts
        yield packet


class InPacketOrder:
    """A decoder for such containers: pictures take the packets' times in their order."""

    def __init__(self, decode: Decode) -> None:
        self._decode, self._free = decode, list[int]()

    def __call__(self, packet: Packet[Any] | None) -> list[av.VideoFrame]:
        """See `Decode`.

        Raises:
            av.FFmpegError: the packet does not decode; its time stays free of a picture.
        """
        due = None if packet is None else packet.pts
        if due is not None:
            heappush(self._free, due)
        try:
            pictures = self._decode(packet)
        except av.FFmpegError:
            if due in self._free:
                self._free.remove(due)
                heapify(self._free)
            raise
        for picture in pictures:
            self._place(picture)
        return pictures

    def _place(self, picture: av.VideoFrame) -> None:
        # What is left from before a key picture was lost without an error.
        while picture.key_frame and picture.pts is not None and self._free and self._free[0] < picture.pts:
            heappop(self._free)
        if self._free:
            picture.pts = heappop(self._free)
