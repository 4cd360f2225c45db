"""The packets of a file in their order, past what cannot be read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from streamseg.decode.clock import AHEAD, Clock

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
        except IndexError:  # PyAV at the end of a file in which more streams began than it was opened with.
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


def read(container: InputContainer, pictures: VideoStream, wanted: Iterable[Stream]) -> Iterator[Packet[Any]]:
    """The packets of the wanted tracks, on one clock that does not jump.

    Whoever reads a broadcast must begin at its beginning: only from there, its clock is known.

    Raises:
        av.FFmpegError: nothing more can be read.
    """
    streams = list(wanted)
    if not streams or not is_broadcast(container):
        return packets_of(container, streams)
    everything = [pictures, *container.streams.audio, *container.streams.subtitles]
    rate = pictures.average_rate or pictures.guessed_rate
    clock = Clock(pictures.index, 1 / rate if rate else Fraction(0))
    return (packet for packet in clock.timed(packets_of(container, everything)) if packet.stream in streams)


def read_from(
    container: InputContainer, pictures: VideoStream, wanted: Iterable[Stream], origin: Fraction
) -> Iterator[Packet[Any]]:
    """The packets of tracks of sound and subtitles as `read` gives them, from before `origin` on if that is quicker.

    Raises:
        av.FFmpegError: nothing more can be read.
    """
    if origin > 0 and not is_broadcast(container):
        container.seek(int(origin * av.time_base))
    return (packet for packet in read(container, pictures, wanted) if not _is_cut_out(packet))


def _is_cut_out(packet: Packet[Any]) -> bool:
    """Whether an edit list leaves a packet out; the one just before 0 is kept, which sets up a decoder of sound."""
    if not packet.is_discard or packet.pts is None:
        return packet.is_discard
    return not packet.pts < 0 <= packet.pts + (packet.duration or 0)


def beginning(container: InputContainer, pictures: VideoStream) -> Fraction:
    """What the clock shows, in seconds, when the pictures begin or the sound that goes with them."""
    first = _start(pictures) or Fraction(0)
    starts = (_start(track) for track in container.streams.audio)
    # Other programmes of a broadcast have clocks of their own.
    return min([first, *(start for start in starts if start is not None and abs(start - first) <= AHEAD)])


def _start(track: Stream) -> Fraction | None:
    if track.start_time is None or track.time_base is None:
        return None
    return track.start_time * track.time_base


def from_group_before(packets: Iterable[Packet[Any]], time: Fraction) -> Iterator[Packet[Any]]:
    """Leaves out pictures before the last but one group of them that begins by `time`, in seconds.

    The last one would do, if none of its pictures leant on the one before.
    """
    groups: deque[list[Packet[Any]]] = deque([[]], maxlen=2)
    packets = iter(packets)
    for packet in packets:
        seen = None if packet.pts is None else packet.pts * packet.time_base
        if packet.is_keyframe and seen is not None and seen <= time:
            groups.append([])
        groups[-1].append(packet)
        if packet.dts is not None and packet.dts * packet.time_base > time:
            break
    yield from chain(*groups, packets)


def is_broadcast(container: InputContainer) -> bool:
    """Whether it is a container that begins anywhere: amid a group of pictures, on a clock that may jump."""
    return bool(container.format.flags & Flags.ts_discont.value)  # type: ignore[operator]
