"""Sound on its way to the output: copied packet by packet, or decoded and encoded again."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.codec import Codec
from av.codec.codec import Properties
from av.container import OutputContainer
from av.packet import Packet

from streamseg.sink.channels import Reordered, layout_of, nearest_layout
from streamseg.sink.metadata import inherit_track

FORMATS = {"aac": "fltp", "libopus": "flt", "flac": "s16"}
DEEP_FORMATS = {"flac": "s32"}
"""For lossless sound of more than 16 bits."""

OF_16_BITS = {"u8", "u8p", "s16", "s16p"}
USUAL_HZ = 48_000
"""What Opus counts in, and where a file does not say."""


class Shape(NamedTuple):
    """What a stretch of sound has to have in common to go through one resampler."""

    format: str
    layout: str
    rate_hz: int


class Copied:
    """The same packets, bit by bit; subtitles too."""

    def __init__(self, output: OutputContainer, source: Any) -> None:
        """Adds the track to the output.

        Raises:
            ValueError: the container does not take the codec.
        """
        self.stream = output.add_stream_from_template(source)
        inherit_track(self.stream, source)
        self._unwrap = BitStreamFilterContext("aac_adtstoasc", source) if states_its_setup(source) else None
        self._setup: bytes | None = None

    def warp(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        packets = self._unwrapped(packet, self._unwrap) if self._unwrap else [packet]
        for one in packets:
            one.stream = self.stream
        return packets

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        return []

    def _unwrapped(self, packet: Packet[Any], unwrap: BitStreamFilterContext) -> list[Packet[Any]]:
        """AAC without the setup before it, which has to be that of the whole track."""
        self._setup = self._setup or setup_of(packet)
        if setup_of(packet) != self._setup:
            raise ValueError("the setup of this AAC changes midway, which its track cannot say")
        return unwrap.filter(packet)


def states_its_setup(source: Any) -> bool:
    """Whether a track is AAC as broadcast, with its setup before every packet; files have one for the whole track."""
    return source.codec_context.name == "aac" and not source.codec_context.extradata


def setup_of(packet: Packet[Any]) -> bytes:
    """Profile, rate and channels of a packet of AAC as broadcast (ADTS, ISO/IEC 14496-3)."""
    head = bytes(memoryview(packet)[2:4])
    return bytes((head[0] & 0xFD, head[1] & 0xC0)) if len(head) == 2 else b""


class Transcoded:
    """Sound decoded and encoded again; it may change its rate and its channels on the way."""

    def __init__(self, output: OutputContainer, source: AudioStream | Reordered, codec: str) -> None:
        """Adds the track to the output and opens its encoder.

        Raises:
            av.FFmpegError: the encoder does not open.
        """
        rate_hz = USUAL_HZ if codec == "libopus" else nearest_rate_hz(codec, source.rate or USUAL_HZ)
        layout = nearest_layout(codec, layout_of(source))
        self._source: AudioStream | Reordered = source
        self._tick = source.time_base or Fraction(0)
        self.stream: AudioStream = output.add_stream(codec, rate=rate_hz, layout=layout)  # type: ignore[assignment]
        self.stream.format = _format(codec, source)
        inherit_track(self.stream, source)
        self.stream.codec_context.open()
        self._resampler = self._new_resampler()
        self._shape: Shape | None = None
        self._end = Fraction(0)

    def warp(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        return [made for sound in self._decoded(packet) for made in self._encode(sound)]

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        last = [made for sound in self._decoded(None) for made in self._encode(sound)]
        return [*last, *self._drain(), *self.stream.encode(None)]

    def _decoded(self, packet: Packet[Any] | None) -> list[av.AudioFrame]:
        """The sound in a packet, or what is left at the end; none where it is damaged."""
        try:
            return list(self._source.decode(packet))
        except av.FFmpegError:
            return []

    def _encode(self, sound: av.AudioFrame) -> Iterator[Packet[Any]]:
        self._place(sound)
        shape = Shape(sound.format.name, sound.layout.name, sound.sample_rate)
        if shape != self._shape:
            yield from self._drain()
            self._resampler, self._shape = self._new_resampler(), shape
        for piece in self._resampler.resample(sound):
            yield from self.stream.encode(piece)

    def _place(self, sound: av.AudioFrame) -> None:
        """Times to the sample: the source's clock may be coarse, and a decoder's last sound may have no time."""
        begin = self._end if sound.pts is None else sound.pts * (sound.time_base or self._tick)
        if abs(begin - self._end) <= self._tick:
            begin = self._end
        self._end = begin + Fraction(sound.samples, sound.sample_rate)
        sound.pts, sound.time_base = round(begin * sound.sample_rate), Fraction(1, sound.sample_rate)

    def _drain(self) -> Iterator[Packet[Any]]:
        for piece in self._resampler.resample(None):
            yield from self.stream.encode(piece)

    def _new_resampler(self) -> AudioResampler:
        context = self.stream.codec_context
        return AudioResampler(context.format, context.layout, context.sample_rate)


def nearest_rate_hz(codec: str, rate_hz: int) -> int:
    """The lowest rate of an encoder that loses nothing, or its highest."""
    rates = Codec(codec, "w").audio_rates
    if not rates:
        return rate_hz
    return min((rate for rate in rates if rate >= rate_hz), default=max(rates))


def _format(codec: str, source: AudioStream | Reordered) -> str:
    is_lossless = Properties.LOSSLESS in Properties(source.codec.properties)
    is_deep = is_lossless and source.format is not None and source.format.name not in OF_16_BITS
    return DEEP_FORMATS.get(codec, FORMATS[codec]) if is_deep else FORMATS[codec]
