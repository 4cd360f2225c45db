"""The packets of a file in their order, past what cannot be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

UNREADABLE_IN_A_ROW = 1000
"""Packets that may be passed over until a file is given up."""


def packets_of(container: InputContainer, streams: Iterable[Stream]) -> Iterator[Packet[Any]]:
    """Every packet with something in it from where the file stands; those that are damaged are passed over.

    Raises:
        av.FFmpegError: nothing more can be read.
    """
    wanted, failed = list(streams), 0
    while wanted:
        try:
            for packet in container.demux(wanted):
                failed = 0
                if packet.size:
                    yield packet
            return
        except av.InvalidDataError:
            failed += 1
            if failed > UNREADABLE_IN_A_ROW:
                raise


def first_picture(container: InputContainer, stream: VideoStream) -> av.VideoFrame | None:
    """The first picture that decodes, if one does.

    Raises:
        av.FFmpegError: the file cannot be read.
    """
    for packet in packets_of(container, [stream]):
        with suppress(av.FFmpegError):
            for picture in stream.codec_context.decode(packet):
                return picture
    return next(iter(stream.codec_context.decode(None)), None)


def is_broadcast(container: InputContainer) -> bool:
    """Whether it is a container that begins anywhere, amid a group of pictures and at any time on its clock."""
    return bool(container.format.flags & Flags.ts_discont.value)  # type: ignore[operator]
