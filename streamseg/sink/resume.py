"""Resumption of an interrupted video: find its last keyframe and copy the packets before it to the new file."""

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
from streamseg.media.storage import AnyPath, for_ffmpeg
from streamseg.sink.check import TICK

BEGINNING = Fraction(0)
HALF_A_TICK = TICK / 2
"""Largest rounding error, in seconds, of times in a container (WebM counts milliseconds)."""


def part_of(path: Path) -> Path:
    """Return the path of the unfinished file, NAME.part."""
    return path.with_name(path.name + ".part")


def unfinished(path: Path) -> tuple[Path, Path]:
    """Return the paths of the unfinished file, NAME.part, and of one that is being copied to it, NAME.part.old."""
    return part_of(path), path.with_name(path.name + ".part.old")


def left_over(path: Path) -> Path:
    """Move the part file of an interrupted run to NAME.part.old, and return that path; the file may not exist.

    An existing NAME.part.old stays: a run interrupted while copying it left a NAME.part that is shorter.
    """
    part, aside = unfinished(path)
    if not aside.exists() and part.exists():
        part.rename(aside)
    return aside


def resume_point(left: Collection[Path]) -> Fraction:
    """Return the time, in seconds, of the last keyframe that all the files share: a new encoder continues there.

    The files are removed where that is the beginning.
    """
    common = set.intersection(*(set(_keyframe_times(path)) for path in left))
    point = max(common, default=BEGINNING)
    if not point:
        for path in left:
            path.unlink(missing_ok=True)
    return point


def is_playable(written: Path | BinaryIO) -> bool:
    """Whether a file, or the beginning of one, holds a keyframe."""
    with closing(_keyframe_times(written)) as times:
        return next(times, None) is not None


def copied_packets(left: AnyPath, stream: VideoStream, until: Fraction | None = None) -> Iterator[Packet[Any]]:
    """Yield the video packets of a file that was written with the same settings, assigned to `stream`.

    Args:
        left: what an interrupted run left, or a part that was written apart.
        stream: of the output.
        until: seconds from which on packets are left out; None for all of the file.

    Raises:
        OutputError: their codec or size is not that of `stream`, as the interrupted run had other settings.
    """
    with av.open(for_ffmpeg(left), "r") as file:
        source = file.streams.video[0]
        _check_same_format(left, source, stream)
        # Files store H.264 with NAL lengths, encoders return it with start codes; one track cannot mix them.
        convert = BitStreamFilterContext("h264_mp4toannexb", source) if source.codec_context.name == "h264" else None
        for packet in _video_packets(file):
            if until is not None and _pts_seconds(packet) >= until - HALF_A_TICK:
                return
            for kept in convert.filter(packet) if convert else [packet]:
                kept.stream = stream
                yield kept


def _keyframe_times(source: Path | BinaryIO) -> Generator[Fraction]:
    """Yield the pts, in seconds, of the keyframes of a file that may be truncated or unreadable."""
    # Absolute, as FFmpeg would take "12:30.mp4" for a protocol.
    opened = str(source.absolute()) if isinstance(source, Path) else source
    with suppress(av.FFmpegError, IndexError), av.open(opened, "r") as file, closing(_video_packets(file)) as packets:
        yield from (_pts_seconds(packet) for packet in packets if packet.is_keyframe)


def _video_packets(file: InputContainer) -> Generator[Packet[Any]]:
    with suppress(av.FFmpegError):
        for packet in file.demux(file.streams.video[0]):
            if packet.size and packet.pts is not None:
                yield packet


def _pts_seconds(packet: Packet[Any]) -> Fraction:
    assert packet.pts is not None
    assert packet.time_base is not None
    return packet.pts * packet.time_base


def _check_same_format(left: AnyPath, found: VideoStream, wanted: VideoStream) -> None:
    existing, expected = (
        f"{context.codec.canonical_name} of {context.width}x{context.height} px"
        for context in (found.codec_context, wanted.codec_context)
    )
    if existing != expected:
        raise OutputError(f"cannot resume: {left} is {existing}, not {expected}; give the same settings, or remove it")
