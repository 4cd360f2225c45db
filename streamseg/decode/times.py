"""Presentation times of decoded frames, where the container or a damaged stream leaves them wrong or out of order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any

import av
from av.packet import Packet

from streamseg.decode.hevc_alpha import Decode

MAX_REORDERED_FRAMES = 4
"""Frames that a frame may come too late by, after damage."""


def in_order(frames: Iterable[av.VideoFrame], may_reorder: Callable[[], bool]) -> Iterator[av.VideoFrame]:
    """Yield frames sorted by pts: a decoder that has lost frames may return their neighbours out of order.

    Args:
        frames: in the order in which the decoder returns them.
        may_reorder: asked after each frame whether the decoder's order is unreliable by now; until then, no frame is
            held back.
    """
    waiting: list[tuple[int, int, av.VideoFrame]] = []
    for number, frame in enumerate(frames):
        if frame.pts is None:
            yield frame
            continue
        heappush(waiting, (frame.pts, number, frame))
        while len(waiting) > (MAX_REORDERED_FRAMES if may_reorder() else 0):
            yield heappop(waiting)[2]
    while waiting:
        yield heappop(waiting)[2]


def with_presented_durations(frames: Iterable[av.VideoFrame], end: Callable[[], int | None]) -> Iterator[av.VideoFrame]:
    """Yield frames with the duration up to the next frame, for containers whose durations follow decoding order.

    Args:
        frames: in presentation order; one is held back.
        end: asked after the last frame for its end, in ticks; None where that is unknown.
    """
    held: av.VideoFrame | None = None
    for frame in frames:
        if held is not None:
            yield _set_end(held, frame.pts)
        held = frame
    if held is not None:
        yield _set_end(held, end())


def _set_end(frame: av.VideoFrame, end: int | None) -> av.VideoFrame:
    if end is not None and frame.pts is not None and end > frame.pts:
        frame.duration = end - frame.pts
    return frame


def pts_from_dts(packets: Iterable[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Yield packets of containers that store no pts, such as AVI, with the dts in its place."""
    for packet in packets:
        packet.pts = packet.dts
        yield packet


class InPacketOrder:
    """A decoder for containers that store no pts: frames get the packets' dts in ascending order."""

    def __init__(self, decode: Decode) -> None:
        self._decode, self._free_pts = decode, list[int]()

    def __call__(self, packet: Packet[Any] | None) -> list[av.VideoFrame]:
        """Decode a packet, or flush the decoder on None; see `Decode`.

        Raises:
            av.FFmpegError: the packet does not decode; no other frame gets its time.
        """
        pts = None if packet is None else packet.pts
        if pts is not None:
            heappush(self._free_pts, pts)
        try:
            frames = self._decode(packet)
        except av.FFmpegError:
            if pts in self._free_pts:
                self._free_pts.remove(pts)
                heapify(self._free_pts)
            raise
        for frame in frames:
            self._set_pts(frame)
        return frames

    def _set_pts(self, frame: av.VideoFrame) -> None:
        # Times from before a keyframe belong to frames that were lost without an error.
        while frame.key_frame and frame.pts is not None and self._free_pts and self._free_pts[0] < frame.pts:
            heappop(self._free_pts)
        if self._free_pts:
            frame.pts = heappop(self._free_pts)
