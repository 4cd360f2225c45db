"""What becomes of each track of a source in a container: copied, made anew, or left out; found by trying it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, Protocol

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from streamseg.decode.reading import is_broadcast, read_from
from streamseg.decode.video import picture_stream
from streamseg.sink.channels import Reordered, layout_of, own_order
from streamseg.sink.monotonic import Onward
from streamseg.sink.sound import Copied, Transcoded, setup_of, states_its_setup
from streamseg.sink.subtitles import Converted, is_text

SOUND_OF = {"webm": "libopus", "mp4": "aac", "mov": "aac", "matroska": "flac"}
"""The encoder for sound that a container refuses, by muxer."""

SUBTITLES_OF = {"webm": "webvtt", "mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
"""The same for text."""

KEEP_ORDER = {"mp4", "mov"}
"""Containers that keep channels in an order of their own; others have only their number."""

KINDS = {"audio": "sound", "subtitle": "subtitles"}

TrackAction = Literal["copied", "transcoded", "converted", "left out"]

ZERO = Fraction(0)
FEW_PACKETS = 4
"""Enough for a decoder to give some sound: the first packet may only set it up."""


class Track(Protocol):
    """One track of the output.

    Attributes:
        stream: the output's stream.
    """

    stream: Any

    def warp(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Packets for the output from one of the source's.

        Raises:
            av.FFmpegError: this track cannot hold it.
            ValueError: the same.
        """
        ...

    def flush(self) -> list[Packet[Any]]:
        """What is still held back at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one track.

    Attributes:
        fate: in a word.
        what: which codec it is, and becomes; or why it is left out.
        make: begins it in an output, given the source's track.
    """

    action: TrackAction
    what: str
    make: Callable[[OutputContainer, Any], Track] | None = None


def plan(source: Any, beginning: Sequence[Packet[Any]], muxer: str) -> Plan:
    """What becomes of a track in a container.

    Args:
        source: a track of sound or subtitles.
        beginning: its first packets, none for subtitles; see `beginnings`.
        muxer: FFmpeg's name of the container.
    """
    if source.codec_context is None:  # FFmpeg cannot decode it, and may not know it at all.
        return Plan("left out", f"{KINDS[source.type]} in an unknown codec")
    if source.type == "audio" and not beginning:
        return Plan("left out", f"{codec_of(source)} without packets")
    ways = (way for way in _ways(source, muxer) if _works(way, source, beginning, muxer))
    return next(ways, Plan("left out", codec_of(source)))


def beginnings(path: Path, origin: Fraction = ZERO, end: Fraction | None = None) -> dict[int, list[Packet[Any]]]:
    """The packets that tell how each track of sound begins between `origin` and `end` seconds, by the track's index.

    They are the first few, and of AAC as broadcast the first of each setup that comes later.
    """
    with open_source_file(path) as file:
        sounds = [sound for sound in file.streams.audio if sound.codec_context]
        first: dict[int, list[Packet[Any]]] = {sound.index: [] for sound in sounds}
        unfinished = set(first)
        # What is not asked for is passed over where the container can, and the file may be long. The clock of a
        # broadcast is known from all of its tracks.
        passed_over = Discard.default if is_broadcast(file) else Discard.all
        for stream in file.streams:
            stream.discard = Discard.default if stream in sounds else passed_over
        with suppress(av.FFmpegError):
            packets = read_from(file, picture_stream(file, str(path)), sounds, origin) if sounds else iter(())
            for packet in packets:
                stream, found = packet.stream, first[packet.stream.index]
                if is_whole(packet) and is_within(packet, origin, end) and _tells_more(packet, found):
                    found.append(packet)
                if len(found) == FEW_PACKETS and not states_its_setup(stream):
                    stream.discard = passed_over
                    unfinished.discard(stream.index)
                    if not unfinished:
                        break
    return first


def open_source_file(path: Path) -> InputContainer:
    """Opens a source for its tracks; text in it that is not UTF-8 does no harm.

    Raises:
        av.FFmpegError: it cannot be read.
    """
    return av.open(str(path.absolute()), metadata_errors="replace")


def is_whole(packet: Packet[Any]) -> bool:
    """Whether there is something in a packet, and a time to it."""
    return packet.size > 0 and packet.dts is not None


def is_within(packet: Packet[Any], origin: Fraction, end: Fraction | None) -> bool:
    """Whether a packet begins within a stretch of the source's clock, in seconds."""
    begin = (packet.dts if packet.pts is None else packet.pts) * packet.time_base  # type: ignore[operator]
    return (origin <= 0 or begin >= origin) and (end is None or begin < end)


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of a track's codec."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown codec"


def _tells_more(packet: Packet[Any], found: Sequence[Packet[Any]]) -> bool:
    if len(found) < FEW_PACKETS:
        return True
    return states_its_setup(packet.stream) and setup_of(packet) not in {setup_of(one) for one in found}


def _ways(source: Any, muxer: str) -> Iterator[Plan]:
    """What may become of a track, the best first."""
    name = codec_of(source)
    order = own_order(layout_of(source)) if source.type == "audio" else []
    if not order or muxer in KEEP_ORDER:
        yield Plan("copied", name, Copied)
    if source.type == "audio":
        codec = SOUND_OF[muxer]
        make = partial(_reordered, order=order) if order else Transcoded
        yield Plan("transcoded", f"{name} to {codec.removeprefix('lib')}", partial(make, codec=codec))
    elif is_text(source):
        codec = SUBTITLES_OF[muxer]
        yield Plan("converted", f"{name} to {codec}", partial(Converted, codec=codec))


def _reordered(output: OutputContainer, source: Any, order: Sequence[str], codec: str) -> Track:
    if not codec_of(source).startswith("pcm_"):
        raise ValueError("only PCM can be decoded here without its list of channels")
    return Transcoded(output, Reordered(source, order), codec)


def _works(way: Plan, source: Any, beginning: Sequence[Packet[Any]], muxer: str) -> bool:
    """Whether a container really takes a track so; the muxer's own list of codecs names some that it refuses."""
    assert way.make
    written, count, onward = BytesIO(), 0, Onward()
    try:
        with av.open(written, "w", format=muxer) as output:
            track = way.make(output, source)
            output.start_encoding()
            for packets in (*(track.warp(_copy(packet)) for packet in beginning), track.flush()):
                output.mux([onward(packet) for packet in packets])
                count += len(packets)
        if count:
            with av.open(BytesIO(written.getvalue())) as back:
                return back.streams[0].codec_context is not None
    except (av.FFmpegError, ValueError):
        return False
    finally:
        source.codec_context.flush_buffers()  # It may have decoded to its end.
    return True


def _copy(packet: Packet[Any]) -> Packet[Any]:
    """The packet for one more output, which will change its times."""
    copy: Packet[Any] = Packet(bytes(packet))
    copy.pts, copy.dts, copy.duration, copy.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    copy.is_keyframe = packet.is_keyframe
    return copy
