"""The source's other tracks: sound and subtitles, copied packet by packet, or transcoded where it must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream

from streamseg.decode.reading import read_from
from streamseg.decode.video import picture_stream

TRANSCODE_TO = {"webm": "libopus", "mp4": "aac", "mov": "aac", "matroska": "flac"}
"""The sound that a container takes where it refuses the source's, by muxer."""

Fate = Literal["copied", "transcoded", "left out"]

OPUS_HZ = 48_000
ZERO = Fraction(0)

OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
"""Metadata that describes the source's container, not its contents."""


class Track(Protocol):
    """One track of the output."""

    def carry(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """Packets for the output from one of the source's."""
        ...

    def flush(self) -> list[Packet[Any]]:
        """What is still held back at the end."""
        ...


class Copied:
    """The same packets, bit by bit."""

    def __init__(self, output: OutputContainer, source: Any) -> None:
        self._stream = output.add_stream_from_template(source)
        self._stream.metadata.update(contents(source.metadata))
        self._unwrap: BitStreamFilterContext | None = None
        if source.codec_context.name == "aac" and not source.codec_context.extradata:
            # Broadcast streams state the codec's setup before every packet, files once for the whole track.
            self._unwrap = BitStreamFilterContext("aac_adtstoasc", source)

    def carry(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        packets = self._unwrap.filter(packet) if self._unwrap else [packet]
        for one in packets:
            one.stream = self._stream
        return packets

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        return []


class Transcoded:
    """Sound decoded and encoded again; damage in it is passed over."""

    def __init__(self, output: OutputContainer, source: AudioStream, codec: str) -> None:
        rate = OPUS_HZ if codec == "libopus" else source.rate
        self._stream: AudioStream = output.add_stream(codec, rate=rate, layout=source.layout.name)  # type: ignore[assignment]
        self._stream.metadata.update(contents(source.metadata))
        self._stream.codec_context.open()
        context = self._stream.codec_context
        self._resampler = AudioResampler(context.format, context.layout, rate, context.frame_size or None)

    def carry(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        with suppress(av.FFmpegError):
            return [made for sound in packet.decode() for made in self._encode(sound)]  # type: ignore[arg-type]
        return []

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        return [*self._encode(None), *self._stream.encode(None)]

    def _encode(self, sound: av.AudioFrame | None) -> Iterator[Packet[Any]]:
        for piece in self._resampler.resample(sound):
            yield from self._stream.encode(piece)


class SourceTracks:
    """The audio and subtitle tracks of a source file, with its metadata and chapters, on their way to the output."""

    def __init__(
        self, output: OutputContainer, path: Path, origin: Fraction = ZERO, end: Fraction | None = None
    ) -> None:
        """Opens the source a second time, for these tracks alone.

        Args:
            output: where the tracks go.
            path: the source.
            origin: what its clock shows, in seconds, when the output's shows 0.
            end: the time on its clock at which the tracks end.

        Raises:
            av.FFmpegError: it cannot be read.
        """
        self._origin, self._end = origin, end
        self._source: InputContainer = av.open(str(path.absolute()))
        self._tracks: dict[int, Track] = {}
        self._done: dict[str, list[str]] = {"copied": [], "transcoded": [], "left out": []}
        for stream in (*self._source.streams.audio, *self._source.streams.subtitles):
            self._add(output, stream)
        output.metadata.update(contents(self._source.metadata))
        if not origin and end is None:
            output.set_chapters(self._source.chapters())
        inputs = [stream for stream in self._source.streams if stream.index in self._tracks]
        # On the clock that the pictures were read by.
        self._packets = read_from(self._source, picture_stream(self._source, str(path)), inputs, origin)
        self._waiting: Packet[Stream] | None = None

    @property
    def kept(self) -> str:
        """What became of the tracks, for the user."""
        if not any(self._done.values()):
            return "no sound"
        return ", ".join(f"{', '.join(names)} {done}" for done, names in self._done.items() if names)

    def packets(self, until: Fraction | None) -> Iterator[Packet[Any]]:
        """The packets that begin at or before `until` seconds, or all that are left, for the output's streams."""
        while (packet := self._waiting or self._next()) is not None:
            self._waiting = packet
            if until is not None and packet.dts is not None and packet.dts * packet.time_base > until:
                return
            self._waiting = None
            yield from self._tracks[packet.stream.index].carry(packet)

    def flush(self) -> Iterator[Packet[Any]]:
        """The last packets of sound that is transcoded."""
        for track in self._tracks.values():
            yield from track.flush()

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def _add(self, output: OutputContainer, stream: Any) -> None:
        """Copies a track if the container takes it, transcodes sound if not, and leaves other tracks out."""
        codec = codec_of(stream)
        what = fate(stream, output)
        if what == "copied":
            self._tracks[stream.index] = Copied(output, stream)
            self._done["copied"].append(codec)
        elif what == "transcoded":
            replacement = TRANSCODE_TO[output.format.name]
            self._tracks[stream.index] = Transcoded(output, stream, replacement)
            self._done["transcoded"].append(f"{codec} to {replacement.removeprefix('lib')}")
        else:
            self._done["left out"].append(codec)

    def _next(self) -> Packet[Stream] | None:
        """The next packet with something in it that begins within the stretch, or None at the end or at damage."""
        with suppress(av.FFmpegError):
            for packet in self._packets:
                if packet.size and packet.dts is not None and self._is_within(packet):
                    return self._shifted(packet)
        return None

    def _is_within(self, packet: Packet[Stream]) -> bool:
        begin = (packet.dts if packet.pts is None else packet.pts) * packet.time_base  # type: ignore[operator]
        return (self._origin <= 0 or begin >= self._origin) and (self._end is None or begin < self._end)

    def _shifted(self, packet: Packet[Stream]) -> Packet[Stream]:
        """To the output's clock; exact where both begin together."""
        shift = round(self._origin / packet.time_base)
        if shift:
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.pts = None if packet.pts is None else packet.pts - shift
        return packet


def codec_of(stream: Stream) -> str:
    """FFmpeg's name of a track's codec."""
    return stream.codec_context.name if stream.codec_context else "unknown"


def fate(stream: Stream, output: OutputContainer) -> Fate:
    """What becomes of a track of sound or subtitles in a container."""
    if codec_of(stream) in output.supported_codecs:
        return "copied"
    return "transcoded" if stream.type == "audio" and output.format.name in TRANSCODE_TO else "left out"


def contents(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that still holds in another container: titles, languages, dates."""
    return {key: text for key, text in metadata.items() if key.lower() not in OF_THE_FILE}
