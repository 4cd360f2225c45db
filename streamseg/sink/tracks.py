"""Audio and subtitle tracks of the source, copied or converted into the output beside the new video."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from streamseg.decode.reading import read_from
from streamseg.decode.video import video_stream
from streamseg.media.storage import AnyPath
from streamseg.sink.metadata import choose_default, inherit_attachments, inherit_chapters, inherit_file
from streamseg.sink.monotonic import MonotonicTimes
from streamseg.sink.track_action import (
    ZERO,
    Track,
    TrackAction,
    beginnings,
    is_whole,
    is_within,
    open_source_file,
    plan,
)

MAX_INTERLEAVE_US = "250000"
"""Microseconds that the muxer waits for a track's next packet: subtitles may be minutes apart."""

FIRST_TICK = Fraction(1, av.time_base)
"""Time in seconds to seek to where a file that is in its midst is to be read from its beginning."""

SHOWN_SECONDS = 10
"""Time before the beginning for which subtitles are looked for that are still shown at it."""


class SourceTracks:
    """The audio and subtitle tracks of a source file, with its metadata, chapters and attachments."""

    def __init__(
        self,
        output: OutputContainer,
        path: AnyPath,
        start_time: Fraction = ZERO,
        end: Fraction | None = None,
        without: int | None = None,
    ) -> None:
        """Open the source a second time, for these tracks alone.

        Args:
            output: the container that the tracks are added to.
            path: the source file.
            start_time: the source's time, in seconds, that is 0 in the output.
            end: the source's time, in seconds, at which the tracks end; None for its end.
            without: index of a track that is passed over, since it is mixed with another sound.

        Raises:
            av.FFmpegError: the source cannot be read.
        """
        self._start_time, self._end = start_time, end
        self._tracks: dict[int, Track] = {}
        self._times: dict[int, MonotonicTimes] = {}
        self._names_by_action: dict[TrackAction, list[str]] = {
            "copied": [],
            "transcoded": [],
            "converted": [],
            "left out": [],
        }
        first_packets = beginnings(path, start_time, end)
        self._source = open_source_file(path)
        for stream in (*self._source.streams.audio, *self._source.streams.subtitles):
            if stream.index == without:
                continue
            self._add(output, stream, first_packets.get(stream.index, []))
        if self._tracks:
            # With FFmpeg's default, a killed run would lose up to ten seconds of video.
            output.options["max_interleave_delta"] = MAX_INTERLEAVE_US
        if without is None:
            choose_default([track.stream for track in self._tracks.values() if track.stream.type == "audio"])
        self._names_by_action["left out"] += inherit_attachments(output, self._source)
        inherit_file(output, self._source)
        inherit_chapters(output, self._source, start_time, end)
        self._inputs = [stream for stream in self._source.streams if stream.index in self._tracks]
        self._video = video_stream(self._source, str(path))
        self._packets = self._packets_from(ZERO)
        self._next_packet: Packet[Stream] | None = None

    @property
    def kept(self) -> str:
        """Describe what was done with the tracks, for the summary; empty where there are none."""
        return ", ".join(f"{', '.join(names)} {done}" for done, names in self._names_by_action.items() if names)

    def begin_earlier(self, seconds: Fraction) -> None:
        """Let 0 in the output be an earlier time of the source, by `seconds`; before the first packet is read."""
        was, self._start_time = self._start_time, self._start_time - seconds
        self._packets = self._packets_from(FIRST_TICK if was > 0 else ZERO)

    def packets(self, until: Fraction | None) -> Iterator[Packet[Any]]:
        """Yield packets for the output up to `until` seconds, or all that are left."""
        while (packet := self._next_packet or self._read_packet()) is not None:
            self._next_packet = packet
            if until is not None and packet.dts is not None and packet.dts * packet.time_base > until:
                return
            self._next_packet = None
            index = packet.stream.index
            yield from self._in_order(index, partial(self._tracks[index].convert, packet))

    def flush(self) -> Iterator[Packet[Any]]:
        """Yield the last packets of transcoded tracks."""
        for index, track in self._tracks.items():
            yield from self._in_order(index, track.flush)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _add(self, output: OutputContainer, stream: Stream, beginning: Sequence[Packet[Any]]) -> None:
        planned = plan(stream, beginning, output.format.name)
        self._names_by_action[planned.action].append(planned.what)
        if planned.make:
            self._tracks[stream.index] = planned.make(output, stream)
            self._times[stream.index] = MonotonicTimes()

    def _in_order(self, index: int, make: Callable[[], list[Packet[Any]]]) -> list[Packet[Any]]:
        """Return the packets that `make` returns with ascending times, or none if the source packet is damaged."""
        with suppress(av.FFmpegError, ValueError):
            return [self._times[index](packet) for packet in make()]
        return []

    def _packets_from(self, least: Fraction) -> Iterator[Packet[Any]]:
        """Read the source, on the clock that the video was read by, from where what is shown at 0 may begin.

        Args:
            least: earliest time, in seconds, to seek to.
        """
        has_subtitles = any(stream.type == "subtitle" for stream in self._inputs)
        seek_to = self._start_time - (SHOWN_SECONDS if has_subtitles else 0)
        return read_from(self._source, self._video, self._inputs, max(least, seek_to))

    def _read_packet(self) -> Packet[Stream] | None:
        """Read the next packet within the time range; return None at the end or at an error of the demuxer."""
        with suppress(av.FFmpegError):
            for packet in self._packets:
                if is_whole(packet) and is_within(packet, self._start_time, self._end):
                    return self._shift_to_output(packet)
        return None

    def _shift_to_output(self, packet: Packet[Stream]) -> Packet[Stream]:
        """Shift a packet to the output's clock, rounded to ticks; unchanged where both begin at 0.

        Of subtitles that are shown at the beginning or at the end, the part between the two is left.
        """
        shift = round(self._start_time / packet.time_base)
        if shift:
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.pts = None if packet.pts is None else packet.pts - shift
        if packet.stream.type == "subtitle" and packet.pts is not None and packet.duration:
            until = packet.pts + packet.duration
            if self._end is not None:
                until = min(until, round((self._end - self._start_time) / packet.time_base))
            if shift and packet.pts < 0:
                packet.pts = packet.dts = 0
            packet.duration = until - packet.pts
        return packet
