"""Sound as samples on a clock: of one track of a file, or of a background video that begins anew at its end."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.layout import AudioLayout
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition, Stream

from streamseg.composite.background import playing_time
from streamseg.decode.reading import is_broadcast, read_from
from streamseg.decode.video import video_stream
from streamseg.media.storage import AnyPath
from streamseg.sink.metadata import SECONDARY_AUDIO
from streamseg.sink.sound import Decoder
from streamseg.sink.track_action import decodable, is_whole, open_source_file

Samples = npt.NDArray[np.float32]
"""`(channels, count)`, where full scale is 1."""

DECODED_FORMAT, DECODED_SCALE = "s32p", np.float32(2**-31)
"""Format that sound is decoded to, and what makes full scale 1 of it. FFmpeg lets sums of channels, as where stereo
becomes mono, exceed full scale in floats alone."""

ROUNDING_SAMPLES = 2
"""Samples by which the times of two pieces that follow on each other may differ, from resampling."""

SHORTEST_ROUND_SECONDS = Fraction(1, 50)
"""Least time after which a background's sound begins anew, for pictures that state next to no duration."""


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """Rate and loudspeakers of samples.

    Attributes:
        rate_hz: samples a second.
        layout: FFmpeg's name of the channel layout.
    """

    rate_hz: int
    layout: str

    @property
    def channels(self) -> int:
        """Number of channels."""
        count: int = AudioLayout(self.layout).nb_channels
        return count

    def silence(self, count: int) -> Samples:
        """Return samples that are zero."""
        return np.zeros((self.channels, count), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Consecutive samples, of which the first has the number `begin`."""

    begin: int
    samples: Samples

    @property
    def end(self) -> int:
        return self.begin + len(self.samples[0])


class TrackSamples:
    """The samples of one track, read forward; silence where it has none.

    Attributes:
        first: number of the first sample, or None if there is none.
    """

    def __init__(self, path: AnyPath, index: int, start_time: Fraction, wanted: SampleFormat) -> None:
        """Open the file for this track alone.

        Args:
            path: the file.
            index: of the track.
            start_time: time on the file's clock, in seconds, of the sample number 0; those before it are passed over.
            wanted: format of the samples.

        Raises:
            av.FFmpegError: the file cannot be read.
            ValueError: see `decodable`.
        """
        self._wanted = wanted
        self._file = open_source_file(path)
        track = self._file.streams[index]
        _read_only(self._file, track)
        decoder = Decoder(decodable(track), DECODED_FORMAT, wanted.layout, wanted.rate_hz)
        packets = read_from(self._file, video_stream(self._file, str(path)), [track], start_time)
        self._pieces = self._decoded(decoder, packets, start_time)
        self._next = next(self._pieces, None)
        self.first = self._next.begin if self._next else None

    def read(self, begin: int, end: int) -> Samples:
        """Return the samples with the numbers `[begin, end)`, which must not be before those read last."""
        samples = self._wanted.silence(end - begin)
        while self._next and self._next.begin < end:
            piece = self._next
            first, last = max(begin, piece.begin), min(end, piece.end)
            if first < last:
                samples[:, first - begin : last - begin] = piece.samples[:, first - piece.begin : last - piece.begin]
            if piece.end > end:
                break
            self._next = next(self._pieces, None)
        return samples

    def close(self) -> None:
        """Close the file."""
        self._pieces.close()
        self._file.close()

    def _decoded(self, decoder: Decoder, packets: Iterable[Packet[Any]], start_time: Fraction) -> Generator[_Piece]:
        end = None
        for frame in _frames(decoder, packets):
            time = (frame.pts or 0) * (frame.time_base or Fraction(1, self._wanted.rate_hz))
            begin = round((time - start_time) * self._wanted.rate_hz)
            if end is not None and abs(begin - end) <= ROUNDING_SAMPLES:
                begin = end
            end = begin + frame.samples
            if end > 0:
                kept = max(0, -begin)
                samples: Samples = np.multiply(frame.to_ndarray()[:, kept:], DECODED_SCALE, dtype=np.float32)
                yield _Piece(begin + kept, samples)


class LoopedSamples:
    """The samples of a background video's sound, which begins anew when its pictures do."""

    def __init__(self, path: AnyPath, index: int, wanted: SampleFormat, begin: Fraction) -> None:
        """Open the video.

        Args:
            path: the video.
            index: of its track of sound.
            wanted: format of the samples.
            begin: time, in seconds, at which the video begins.

        Raises:
            av.FFmpegError: the file cannot be read.
            InputError: the file cannot be read.
        """
        self._path, self._index, self._wanted, self._begin = path, index, wanted, begin
        self._start_time, end_time = playing_time(path)
        self._length = max(end_time - self._start_time, SHORTEST_ROUND_SECONDS)
        self._round = 0
        self._track = self._opened()

    def read(self, begin: int, end: int) -> Samples:
        """Return the samples with the numbers `[begin, end)`, which must not be before those read last."""
        before = min(end, max(begin, self._number_of(0)))
        pieces = [self._wanted.silence(before - begin)]
        while before < end:
            if before >= self._number_of(self._round + 1):
                self._round += 1
                self._track.close()
                self._track = self._opened()
            first, last = self._number_of(self._round), min(end, self._number_of(self._round + 1))
            pieces.append(self._track.read(before - first, last - first))
            before = last
        return np.concatenate(pieces, axis=1)

    def close(self) -> None:
        """Close the video."""
        self._track.close()

    def _number_of(self, round_number: int) -> int:
        """Return the number of the sample with which a round begins."""
        return round((self._begin + round_number * self._length) * self._wanted.rate_hz)

    def _opened(self) -> TrackSamples:
        return TrackSamples(self._path, self._index, self._start_time, self._wanted)


def main_sound(file: InputContainer) -> AudioStream | None:
    """Return the track of sound that players choose: the one marked as default, or else the first that is no comment.

    None if there is no track of a known codec.
    """
    known = [track for track in file.streams.audio if track.codec_context]
    marked = [track for track in known if track.disposition & Disposition.default]
    plain = [track for track in known if not track.disposition & SECONDARY_AUDIO]
    return next(iter([*marked, *plain, *known]), None)


def _frames(decoder: Decoder, packets: Iterable[Packet[Any]]) -> Iterator[av.AudioFrame]:
    """Decode packets up to the end, or to where the demuxer fails."""
    with suppress(av.FFmpegError):
        for packet in packets:
            if is_whole(packet):
                yield from decoder.decode(packet)
    yield from decoder.decode(None)


def _read_only(file: InputContainer, track: Stream) -> None:
    """Let the demuxer skip all other tracks where it can; the clock of a broadcast depends on all of them."""
    if not is_broadcast(file):
        for other in file.streams:
            if other is not track:
                other.discard = Discard.all
