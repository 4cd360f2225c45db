"""What an interrupted run left behind: how far it is whole, and its packets for the file that goes on from there."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streamseg.errors import OutputError
from streamseg.sink.check import TICK

BEGINNING = Fraction(0)
HALF_A_TICK = TICK / 2
"""Containers round times by at most this (WebM counts milliseconds)."""


def part_of(path: Path) -> Path:
    """The unfinished file beside the finished one."""
    return path.with_name(path.name + ".part")


def left_over(path: Path) -> Path:
    """What an interrupted run left of `path`, out of the way of the next `.part`; it may not be there.

    A run that was interrupted while it took this over began a shorter `.part`, which is of no use.
    """
    aside = path.with_name(path.name + ".part.old")
    part = part_of(path)
    if not aside.exists() and part.exists():
        part.rename(aside)
    return aside


def resume_point(left: Collection[Path]) -> Fraction:
    """The time in seconds up to which all the files are whole, and can go on with a new group of pictures.

    Where that is the beginning, the files are removed.
    """
    common = set.intersection(*(set(_key_times(path)) for path in left))
    point = max(common, default=BEGINNING)
    if not point:
        for path in left:
            path.unlink(missing_ok=True)
    return point


def is_playable(written: Path | BinaryIO) -> bool:
    """Whether a file, or the beginning of one, holds pictures."""
    with closing(_key_times(written)) as times:
        return next(times, None) is not None


def kept_packets(left: Path, until: Fraction, stream: VideoStream) -> Iterator[Packet[Any]]:
    """The pictures before `until` seconds, for `stream`.

    Raises:
        OutputError: they are not what `stream` holds; the run that was interrupted had other settings.
    """
    with av.open(str(left.absolute())) as file:
        source = file.streams.video[0]
        _check_alike(left, source, stream)
        # Files hold H.264 with lengths, encoders give it with start codes; one track cannot mix them.
        convert = BitStreamFilterContext("h264_mp4toannexb", source) if source.codec_context.name == "h264" else None
        for packet in _pictures(file):
            if _time(packet) >= until - HALF_A_TICK:
                return
            for kept in convert.filter(packet) if convert else [packet]:
                kept.stream = stream
                yield kept


def _key_times(source: Path | BinaryIO) -> Generator[Fraction]:
    """When each group of pictures begins; the last one may be broken off, and there may be none."""
    # Absolute, as FFmpeg takes "12:30.mp4" for a protocol.
    opened = str(source.absolute()) if isinstance(source, Path) else source
    with suppress(av.FFmpegError, IndexError), av.open(opened, "r") as file, closing(_pictures(file)) as pictures:
        yield from (_time(packet) for packet in pictures if packet.is_keyframe)


def _pictures(file: InputContainer) -> Generator[Packet[Any]]:
    with suppress(av.FFmpegError):
        for packet in file.demux(file.streams.video[0]):
            if packet.size and packet.pts is not None:
                yield packet


def _time(packet: Packet[Any]) -> Fraction:
    assert packet.pts is not None
    assert packet.time_base is not None
    return packet.pts * packet.time_base


def _check_alike(left: Path, found: VideoStream, wanted: VideoStream) -> None:
    is_there, was_asked = (
        f"{context.codec.canonical_name} of {context.width}x{context.height} px"
        for context in (found.codec_context, wanted.codec_context)
    )
    if is_there != was_asked:
        raise OutputError(f"cannot resume: {left} is {is_there}, not {was_asked}; give the same settings, or remove it")
