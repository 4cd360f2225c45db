"""Subtitles on their way into a container that keeps text in another form."""

from __future__ import annotations

from typing import Any

from av.codec.codec import Properties
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream

from streamseg.sink.inherit import inherit_track


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

    def carry(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        text = self._source.codec_context.decode2(packet)
        if not text:
            return []
        # Times are the packet's, not the decoder's.
        text.start_display_time = 0
        made = self.stream.codec_context.encode_subtitle(text)
        made.pts = made.dts = packet.pts
        made.duration, made.time_base, made.stream = packet.duration or 0, packet.time_base, self.stream
        return [made] if made.size else []

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        return []


def is_text(stream: Any) -> bool:
    """Whether a track of subtitles holds text, not pictures."""
    return Properties.TEXT_SUB in Properties(stream.codec_context.codec.properties)
