"""Choice for each track of the source: copy, transcode, convert or leave out, decided by trial in the container."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from io import BytesIO
from typing import Any, Literal, Protocol

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from streamseg.decode.reading import is_broadcast, read_from
from streamseg.decode.video import video_stream
from streamseg.media.packets import copied
from streamseg.media.storage import AnyPath, for_ffmpeg
from streamseg.sink.channels import Reordered, layout_of, own_order
from streamseg.sink.monotonic import MonotonicTimes
from streamseg.sink.sound import Copied, Transcoded, setup_of, states_its_setup
from streamseg.sink.subtitles import Converted, is_text

AUDIO_ENCODERS = {"webm": "libopus", "mp4": "aac", "mov": "aac", "matroska": "flac"}
"""Encoder for audio that the container does not take, by muxer."""

SUBTITLE_ENCODERS = {"webm": "webvtt", "mp4": "mov_text", "mov": "mov_text", "matroska": "subrip"}
"""Encoder for text subtitles that the container does not take, by muxer."""

KEEP_CHANNEL_ORDER = {"mp4", "mov"}
"""Muxers that store a custom order of channels; others store only their number."""

KINDS = {"audio": "sound", "subtitle": "subtitles"}

TrackAction = Literal["copied", "transcoded", "converted", "left out"]

ZERO = Fraction(0)
PROBE_PACKETS = 4
"""Packets for which a decoder returns some audio: the first may only prime it."""


class Track(Protocol):
    """One track of the output.

    Attributes:
        stream: the output's stream.
    """

    stream: Any

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Return the packets of the output for a packet of the source.

        Raises:
            av.FFmpegError: the packet does not fit this track.
            ValueError: the packet does not fit this track.
        """
        ...

    def flush(self) -> list[Packet[Any]]:
        """Return the packets still held at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """The action for one track.

    Attributes:
        action: what is done with it.
        what: its codec, and the codec that it is converted to; or why it is left out.
        make: adds the track to an output, given the source's stream; None if it is left out.
    """

    action: TrackAction
    what: str
    make: Callable[[OutputContainer, Any], Track] | None = None


def plan(source: Any, beginning: Sequence[Packet[Any]], muxer: str) -> Plan:
    """Choose the action for a track in a container.

    Args:
        source: an audio or subtitle stream.
        beginning: its first packets, empty for subtitles; see `beginnings`.
        muxer: FFmpeg's name of the container.
    """
    if source.codec_context is None:  # FFmpeg cannot decode it, and may not know it at all.
        return Plan("left out", f"{KINDS[source.type]} in an unknown codec")
    if source.type == "audio" and not beginning:
        return Plan("left out", f"{codec_of(source)} without packets")
    accepted = (one for one in _candidates(source, muxer) if _is_accepted(one, source, beginning, muxer))
    return next(accepted, Plan("left out", codec_of(source)))


def beginnings(path: AnyPath, start_time: Fraction = ZERO, end: Fraction | None = None) -> dict[int, list[Packet[Any]]]:
    """Read the first packets of each audio track between `start_time` and `end` seconds, by stream index.

    For AAC in ADTS, the first packet of each later header is read too.
    """
    with open_source_file(path) as file:
        sounds = [sound for sound in file.streams.audio if sound.codec_context]
        first: dict[int, list[Packet[Any]]] = {sound.index: [] for sound in sounds}
        unfinished = set(first)
        # Discarded streams are skipped where the container can, as the file may be long. The clock of a broadcast
        # depends on all of its tracks.
        unused = Discard.default if is_broadcast(file) else Discard.all
        for stream in file.streams:
            stream.discard = Discard.default if stream in sounds else unused
        with suppress(av.FFmpegError):
            packets = read_from(file, video_stream(file, str(path)), sounds, start_time) if sounds else iter(())
            for packet in packets:
                stream, found = packet.stream, first[packet.stream.index]
                if is_whole(packet) and is_within(packet, start_time, end) and _adds_information(packet, found):
                    found.append(packet)
                if len(found) == PROBE_PACKETS and not states_its_setup(stream):
                    stream.discard = unused
                    unfinished.discard(stream.index)
                    if not unfinished:
                        break
    return first


def open_source_file(path: AnyPath) -> InputContainer:
    """Open a source for its other tracks; metadata that is not UTF-8 is replaced.

    Raises:
        av.FFmpegError: the file cannot be read.
    """
    return av.open(for_ffmpeg(path), "r", metadata_errors="replace")


def is_whole(packet: Packet[Any]) -> bool:
    """Whether a packet has data and a dts."""
    return packet.size > 0 and packet.dts is not None


def is_within(packet: Packet[Any], start_time: Fraction, end: Fraction | None) -> bool:
    """Whether a packet begins within `[start_time, end)` of the source's clock, in seconds; subtitles may end there."""
    begin = (packet.dts if packet.pts is None else packet.pts) * packet.time_base  # type: ignore[operator]
    has_come = begin >= start_time
    if packet.stream.type == "subtitle" and packet.duration:
        has_come = begin + packet.duration * packet.time_base > start_time
    return (start_time <= 0 or has_come) and (end is None or begin < end)


def codec_of(stream: Stream) -> str:
    """Return FFmpeg's name of a stream's codec."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else "unknown codec"


def _adds_information(packet: Packet[Any], found: Sequence[Packet[Any]]) -> bool:
    if len(found) < PROBE_PACKETS:
        return True
    return states_its_setup(packet.stream) and setup_of(packet) not in {setup_of(one) for one in found}


def _candidates(source: Any, muxer: str) -> Iterator[Plan]:
    """Yield the possible actions for a track, the best first."""
    name = codec_of(source)
    order = own_order(layout_of(source)) if source.type == "audio" else []
    if not order or muxer in KEEP_CHANNEL_ORDER:
        yield Plan("copied", name, Copied)
    if source.type == "audio":
        codec = AUDIO_ENCODERS[muxer]
        yield Plan("transcoded", f"{name} to {codec.removeprefix('lib')}", partial(_transcode, codec=codec))
    elif is_text(source):
        codec = SUBTITLE_ENCODERS[muxer]
        yield Plan("converted", f"{name} to {codec}", partial(Converted, codec=codec))


def _transcode(output: OutputContainer, source: Any, codec: str) -> Track:
    return Transcoded(output, decodable(source), codec)


def decodable(source: Any) -> AudioStream | Reordered:
    """Return a track of sound as `Decoder` takes it.

    Raises:
        ValueError: its channels are in an order of their own, and it is not PCM.
    """
    order = own_order(layout_of(source))
    if order and not codec_of(source).startswith("pcm_"):
        raise ValueError("only PCM can be decoded here without its list of channels")
    return Reordered(source, order) if order else source


def _is_accepted(candidate: Plan, source: Any, beginning: Sequence[Packet[Any]], muxer: str) -> bool:
    """Whether a container takes a track, by writing its first packets; the muxer's codec list names some it refuses."""
    assert candidate.make
    written, count, ascending = BytesIO(), 0, MonotonicTimes()
    try:
        with av.open(written, "w", format=muxer) as output:
            track = candidate.make(output, source)
            output.start_encoding()
            for packets in (*(track.convert(copied(packet)) for packet in beginning), track.flush()):
                output.mux([ascending(packet) for packet in packets])
                count += len(packets)
        if count:
            with av.open(BytesIO(written.getvalue())) as back:
                return back.streams[0].codec_context is not None
    except (av.FFmpegError, ValueError):
        return False
    finally:
        source.codec_context.flush_buffers()  # The decoder may have been flushed.
    return True
