"""Subtitle tracks of the output that are converted to the container's text format."""

from __future__ import annotations

from typing import Any

from av.codec.codec import Properties
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream

from streamseg.media.packets import copied
from streamseg.sink.metadata import inherit_track

EMPTY_SUBTITLES = {"mov_text": b"\0\0"}
"""An empty subtitle, for formats whose subtitles are shown until the next one."""

MAX_TEXT_BYTES = 0xFFFF
"""Largest text of one subtitle in MP4."""


class Converted:
    """A text track in another codec; positions and most styles are lost."""

    def __init__(self, output: OutputContainer, source: SubtitleStream, codec: str) -> None:
        """Add the track to the output.

        Raises:
            av.FFmpegError: the encoder does not open.
            ValueError: the container does not take the codec.
        """
        self._source = source
        source.codec_context.open(strict=False)
        self.stream: SubtitleStream = output.add_stream(codec)  # type: ignore[assignment]
        # The header holds the styles; encoders read it as a C string.
        self.stream.codec_context.subtitle_header = (source.codec_context.subtitle_header or b"") + b"\0"
        inherit_track(self.stream, source)
        self._empty_subtitle = EMPTY_SUBTITLES.get(codec)
        self._end: int | None = None

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        text = self._source.codec_context.decode2(in_utf8(packet))
        if not text:
            return []
        # The pts of the packet counts, not the decoder's offset.
        text.start_display_time = 0
        encoded = self.stream.codec_context.encode_subtitle(text)
        if not encoded.size or packet.pts is None:
            return []
        encoded.duration, encoded.time_base = packet.duration or 0, packet.time_base
        gap = self._fill_gap(packet)
        self._end = packet.pts + encoded.duration
        return [*gap, self._place(packet.pts, encoded)]

    def _fill_gap(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Return the empty subtitle that ends the previous one, for formats that show a subtitle until the next."""
        if self._empty_subtitle is None or self._end is None or packet.pts is None or packet.pts <= self._end:
            return []
        empty: Packet[Any] = Packet(self._empty_subtitle)
        empty.duration, empty.time_base = packet.pts - self._end, packet.time_base
        return [self._place(self._end, empty)]

    def _place(self, pts: int, packet: Packet[Any]) -> Packet[Any]:
        packet.pts = packet.dts = pts
        packet.is_keyframe, packet.stream = True, self.stream
        return packet

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        return []


def in_utf8(packet: Packet[Any]) -> Packet[Any]:
    """Replace bytes that are not UTF-8 with U+FFFD, as decoders would drop the whole subtitle.

    Containers do not state the text's real encoding.
    """
    data = bytes(packet)
    text = (
        _replace_invalid_in_sample(data) if packet.stream.codec_context.name == "mov_text" else _replace_invalid(data)
    )
    return packet if text == data else copied(packet, text)


def _replace_invalid(text: bytes) -> bytes:
    return text.decode(errors="replace").encode()


def _replace_invalid_in_sample(sample: bytes) -> bytes:
    """Do so in a sample of MP4, which is text length, text and styles; 3GPP TS 26.245, 5.17."""
    end = 2 + int.from_bytes(sample[:2], "big")
    text = _replace_invalid(sample[2:end])[:MAX_TEXT_BYTES]
    return len(text).to_bytes(2, "big") + text + sample[end:]


def is_text(stream: Any) -> bool:
    """Whether a subtitle track holds text, not bitmaps."""
    return Properties.TEXT_SUB in Properties(stream.codec_context.codec.properties)
