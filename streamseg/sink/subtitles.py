"""Subtitles on their way into a container that keeps text in another form."""

from __future__ import annotations

from typing import Any

from av.codec.codec import Properties
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream

from streamseg.sink.metadata import inherit_track

SILENCES = {"mov_text": b"\0\0"}
"""An empty line, in containers whose lines have a begin and no end."""

LONGEST = 0xFFFF
"""Bytes of a line in MP4."""


class Converted:
    """Text decoded and written again; what the new form has no word for (places, most styles) is lost."""

    def __init__(self, output: OutputContainer, source: SubtitleStream, codec: str) -> None:
        """Adds the track to the output.

        Raises:
            av.FFmpegError: the encoder does not open.
            ValueError: the container does not take the codec.
        """
        self._source = source
        source.codec_context.open(strict=False)
        self.stream: SubtitleStream = output.add_stream(codec)  # type: ignore[assignment]
        # The styles, which encoders read as a C string.
        self.stream.codec_context.subtitle_header = (source.codec_context.subtitle_header or b"") + b"\0"
        inherit_track(self.stream, source)
        self._silence = SILENCES.get(codec)
        self._end: int | None = None

    def warp(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        text = self._source.codec_context.decode2(in_utf8(packet))
        if not text:
            return []
        # Times are the packet's, not the decoder's.
        text.start_display_time = 0
        made = self.stream.codec_context.encode_subtitle(text)
        if not made.size or packet.pts is None:
            return []
        made.duration, made.time_base = packet.duration or 0, packet.time_base
        gap = self._gap(packet)
        self._end = packet.pts + made.duration
        return [*gap, self._at(packet.pts, made)]

    def _gap(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """What takes the line before from the screen, where a line otherwise stays until the next."""
        if self._silence is None or self._end is None or packet.pts is None or packet.pts <= self._end:
            return []
        empty: Packet[Any] = Packet(self._silence)
        empty.duration, empty.time_base = packet.pts - self._end, packet.time_base
        return [self._at(self._end, empty)]

    def _at(self, pts: int, packet: Packet[Any]) -> Packet[Any]:
        packet.pts = packet.dts = pts
        packet.is_keyframe, packet.stream = True, self.stream
        return packet

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        return []


def in_utf8(packet: Packet[Any]) -> Packet[Any]:
    """A line with a mark for each byte that is not UTF-8, for which decoders would drop it.

    No container says in which other encoding it is.
    """
    data = bytes(packet)
    text = _readable_sample(data) if packet.stream.codec_context.name == "mov_text" else _readable(data)
    if text == data:
        return packet
    line: Packet[Any] = Packet(text)
    line.pts, line.dts, line.duration, line.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
    return line


def _readable(text: bytes) -> bytes:
    return text.decode(errors="replace").encode()


def _readable_sample(sample: bytes) -> bytes:
    """Of MP4: the length of the text, the text, and its styles; 3GPP TS 26.245, 5.17."""
    end = 2 + int.from_bytes(sample[:2], "big")
    text = _readable(sample[2:end])[:LONGEST]
    return len(text).to_bytes(2, "big") + text + sample[end:]


def is_text(stream: Any) -> bool:
    """Whether a track of subtitles holds text, not pictures."""
    return Properties.TEXT_SUB in Properties(stream.codec_context.codec.properties)
