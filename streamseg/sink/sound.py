"""Audio tracks of the output: packets copied from the source, or transcoded."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
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
"""Sample formats for lossless sources of more than 16 bits."""

SAMPLE_FORMATS_UP_TO_16_BITS = {"u8", "u8p", "s16", "s16p"}
DEFAULT_RATE_HZ = 48_000
"""Sample rate of Opus, and of tracks that do not state one."""


MAX_AMPLITUDE = 64.0
"""Floats beyond it, where full scale is 1, come from damage."""


class AudioFormat(NamedTuple):
    """Properties of audio frames that one resampler needs to be constant."""

    format: str
    layout: str
    rate_hz: int


class Copied:
    """An audio or subtitle track whose packets are copied unchanged."""

    def __init__(self, output: OutputContainer, source: Any) -> None:
        """Add the track to the output.

        Raises:
            ValueError: the container does not take the codec.
        """
        self.stream = output.add_stream_from_template(source)
        inherit_track(self.stream, source)
        self._adts_filter = BitStreamFilterContext("aac_adtstoasc", source) if states_its_setup(source) else None
        self._setup: bytes | None = None

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        packets = self._without_adts(packet, self._adts_filter) if self._adts_filter else [packet]
        for one in packets:
            one.stream = self.stream
        return packets

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        return []

    def _without_adts(self, packet: Packet[Any], adts_filter: BitStreamFilterContext) -> list[Packet[Any]]:
        """Strip the ADTS header of a packet; raise ValueError if it differs from the track's first one."""
        self._setup = self._setup or setup_of(packet)
        if setup_of(packet) != self._setup:
            raise ValueError("the setup of this AAC changes midway, which its track cannot say")
        return adts_filter.filter(packet)


def states_its_setup(source: Any) -> bool:
    """Whether a track is AAC in ADTS, as broadcast: a header before every packet, and none for the whole track."""
    return source.codec_context.name == "aac" and not source.codec_context.extradata


def setup_of(packet: Packet[Any]) -> bytes:
    """Return the bits of an ADTS header that hold profile, sample rate and channels (ISO/IEC 14496-3)."""
    head = bytes(memoryview(packet)[2:4])
    return bytes((head[0] & 0xFD, head[1] & 0xC0)) if len(head) == 2 else b""


class Transcoded:
    """An audio track that is decoded and encoded again."""

    def __init__(self, output: OutputContainer, source: AudioStream | Reordered, codec: str) -> None:
        """Add the track to the output and open its encoder.

        Raises:
            av.FFmpegError: the encoder does not open.
        """
        self.stream = add_encoder(output, source, codec)
        inherit_track(self.stream, source)
        context = self.stream.codec_context
        context.open()
        self._decoder = Decoder(source, context.format.name, context.layout.name, context.sample_rate)

    def convert(self, packet: Packet[Any]) -> list[Packet[Any]]:
        """See `Track`."""
        return [made for piece in self._decoder.decode(packet) for made in self.stream.encode(piece)]

    def flush(self) -> list[Packet[Any]]:
        """See `Track`."""
        last = [made for piece in self._decoder.decode(None) for made in self.stream.encode(piece)]
        return [*last, *self.stream.encode(None)]


def add_encoder(output: OutputContainer, source: AudioStream | Reordered, codec: str) -> AudioStream:
    """Add a track to an output whose rate, channels and depth are the nearest to the source's that an encoder has."""
    rate_hz = DEFAULT_RATE_HZ if codec == "libopus" else nearest_rate_hz(codec, source.rate or DEFAULT_RATE_HZ)
    layout = nearest_layout(codec, layout_of(source))
    stream: AudioStream = output.add_stream(codec, rate=rate_hz, layout=layout)  # type: ignore[assignment]
    stream.format = _sample_format(codec, source)
    return stream


class Decoder:
    """Decodes one audio track to one format; the track's own sample rate and channels may change midway."""

    def __init__(self, source: AudioStream | Reordered, sample_format: str, layout: str, rate_hz: int) -> None:
        """Take the track, and FFmpeg's names of the wanted sample format and channel layout."""
        self._source = source
        self._wanted = AudioFormat(sample_format, layout, rate_hz)
        self._tick_seconds = source.time_base or Fraction(0)
        self._resampler = AudioResampler(*self._wanted)
        self._audio_format: AudioFormat | None = None
        self._end = Fraction(0)

    def decode(self, packet: Packet[Any] | None) -> Iterator[av.AudioFrame]:
        """Yield the audio frames of a packet with exact pts, or on None those still held; none of a damaged packet."""
        for frame in self._decoded(packet):
            yield from self._resampled(limited(frame))
        if packet is None:
            yield from self._resampler.resample(None)

    def _decoded(self, packet: Packet[Any] | None) -> list[av.AudioFrame]:
        """Decode a packet, or flush the decoder on None; return no frames where the packet is damaged."""
        try:
            return list(self._source.decode(packet))
        except av.FFmpegError:
            return []

    def _resampled(self, frame: av.AudioFrame) -> Iterator[av.AudioFrame]:
        self._set_pts(frame)
        audio_format = AudioFormat(frame.format.name, frame.layout.name, frame.sample_rate)
        if audio_format != self._audio_format:
            yield from self._resampler.resample(None)
            self._resampler, self._audio_format = AudioResampler(*self._wanted), audio_format
        yield from self._resampler.resample(frame)

    def _set_pts(self, frame: av.AudioFrame) -> None:
        """Set the pts of a frame, exact to one sample: the source's ticks may be coarse, and the last pts missing."""
        begin = self._end if frame.pts is None else frame.pts * (frame.time_base or self._tick_seconds)
        if abs(begin - self._end) <= self._tick_seconds:
            begin = self._end
        self._end = begin + Fraction(frame.samples, frame.sample_rate)
        frame.pts, frame.time_base = round(begin * frame.sample_rate), Fraction(1, frame.sample_rate)


def limited(frame: av.AudioFrame) -> av.AudioFrame:
    """Return a decoded frame, clipped to full scale if damage made its floats immense.

    FFmpeg's AAC encoder never ends on some of those.
    """
    if not frame.format.name.startswith(("flt", "dbl")):
        return frame
    values = frame.to_ndarray()
    if np.abs(values).max(initial=0) <= MAX_AMPLITUDE:  # False for what is not a number, too.
        return frame
    clipped: npt.NDArray[Any] = np.nan_to_num(values).clip(-1, 1).astype(values.dtype)
    quiet = av.AudioFrame.from_ndarray(clipped, format=frame.format.name, layout=frame.layout.name)
    quiet.sample_rate, quiet.pts, quiet.time_base = frame.sample_rate, frame.pts, frame.time_base
    return quiet


def nearest_rate_hz(codec: str, rate_hz: int) -> int:
    """Return the lowest sample rate of an encoder that is at least `rate_hz`, or else its highest, in Hz."""
    rates = Codec(codec, "w").audio_rates
    if not rates:
        return rate_hz
    return min((rate for rate in rates if rate >= rate_hz), default=max(rates))


def _sample_format(codec: str, source: AudioStream | Reordered) -> str:
    is_lossless = Properties.LOSSLESS in Properties(source.codec.properties)
    is_deep = is_lossless and source.format is not None and source.format.name not in SAMPLE_FORMATS_UP_TO_16_BITS
    return DEEP_FORMATS.get(codec, FORMATS[codec]) if is_deep else FORMATS[codec]
