"""Demuxing: the packets of a container in file order, past unreadable data and over clock discontinuities."""

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

from streamseg.decode.clock import MAX_FORWARD_SECONDS, Clock

MAX_ERRORS_IN_A_ROW = 1000
"""Unreadable packets in a row after which reading ends with the demuxer's error."""


def packets_of(container: InputContainer, streams: Iterable[Stream]) -> Iterator[Packet[Any]]:
    """Yield every non-empty packet from the container's current position; unreadable packets are skipped.

    Raises:
        av.FFmpegError: 1000 packets in a row are unreadable, or reading failed otherwise.
    """
    wanted, errors = list(streams), 0
    while wanted:
        try:
            for packet in container.demux(wanted):
                errors = 0
                if packet.size:
                    yield packet
            return
        except IndexError:  # PyAV at the end of a file in which more streams began than it was opened with.
            return
        except (av.InvalidDataError, av.BlockingIOError):  # The latter from transport streams with a gap.
            errors += 1
            if errors > MAX_ERRORS_IN_A_ROW:
                raise


def first_frame_of(container: InputContainer, stream: VideoStream) -> av.VideoFrame | None:
    """Return the first frame that decodes, or None.

    Raises:
        av.FFmpegError: the file cannot be read.
    """
    for packet in packets_of(container, [stream]):
        with suppress(av.FFmpegError):
            for frame in stream.codec_context.decode(packet):
                return frame
    return next(iter(stream.codec_context.decode(None)), None)


def read(container: InputContainer, video: VideoStream, wanted: Iterable[Stream]) -> Iterator[Packet[Any]]:
    """Yield the packets of the wanted tracks on one continuous clock.

    A broadcast must be read from its beginning: only from there is its clock known.

    Args:
        container: the opened file.
        video: the stream whose clock the other tracks follow.
        wanted: the streams to read.

    Raises:
        av.FFmpegError: the rest of the file cannot be read.
    """
    streams = list(wanted)
    if not streams or not is_broadcast(container):
        return packets_of(container, streams)
    all_streams = [video, *container.streams.audio, *container.streams.subtitles]
    rate = video.average_rate or video.guessed_rate
    clock = Clock(video.index, 1 / rate if rate else Fraction(0))
    return (packet for packet in clock.timed(packets_of(container, all_streams)) if packet.stream in streams)


def read_from(
    container: InputContainer, video: VideoStream, wanted: Iterable[Stream], start_time: Fraction
) -> Iterator[Packet[Any]]:
    """Yield packets of sound and subtitles as `read` does, seeking to before `start_time` where the format can.

    Args:
        container: the opened file.
        video: the stream whose clock the other tracks follow.
        wanted: the streams to read.
        start_time: seconds on the file's clock; packets before it may be left out.

    Raises:
        av.FFmpegError: the rest of the file cannot be read.
    """
    if start_time > 0 and not is_broadcast(container):
        container.seek(int(start_time * av.time_base))
    return (packet for packet in read(container, video, wanted) if not _is_cut_by_edit_list(packet))


def _is_cut_by_edit_list(packet: Packet[Any]) -> bool:
    """Whether an edit list removes a packet; the packet just before 0 is kept, as it primes an audio decoder."""
    if not packet.is_discard or packet.pts is None:
        return packet.is_discard
    return not packet.pts < 0 <= packet.pts + (packet.duration or 0)


def beginning(container: InputContainer, video: VideoStream) -> Fraction:
    """Return the file's time, in seconds, at which the video begins, or the sound that goes with it."""
    video_start = _start_seconds(video) or Fraction(0)
    audio_starts = (_start_seconds(track) for track in container.streams.audio)
    # Other programmes of a broadcast have clocks of their own.
    near = [start for start in audio_starts if start is not None and abs(start - video_start) <= MAX_FORWARD_SECONDS]
    return min([video_start, *near])


def _start_seconds(track: Stream) -> Fraction | None:
    if track.start_time is None or track.time_base is None:
        return None
    return track.start_time * track.time_base


def from_group_before(packets: Iterable[Packet[Any]], time: Fraction) -> Iterator[Packet[Any]]:
    """Skip video packets up to the last but one group of pictures that begins by `time`, in seconds.

    The last group alone would do only where none of its frames refers to the group before (a closed GOP).
    """
    groups: deque[list[Packet[Any]]] = deque([[]], maxlen=2)
    packets = iter(packets)
    for packet in packets:
        pts_seconds = None if packet.pts is None else packet.pts * packet.time_base
        if packet.is_keyframe and pts_seconds is not None and pts_seconds <= time:
            groups.append([])
        groups[-1].append(packet)
        if packet.dts is not None and packet.dts * packet.time_base > time:
            break
    yield from chain(*groups, packets)


def is_broadcast(container: InputContainer) -> bool:
    """Whether the format, such as MPEG-TS, may begin amid a group of pictures and on a clock that may jump."""
    return bool(container.format.flags & Flags.ts_discont.value)  # type: ignore[operator]
