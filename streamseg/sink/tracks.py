"""The source's other tracks, sound and subtitles, on their way to the output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from streamseg.decode.reading import read_from
from streamseg.decode.video import picture_stream
from streamseg.sink.metadata import choose_default, inherit_attachments, inherit_chapters, inherit_file
from streamseg.sink.monotonic import Onward
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

LONGEST_WAIT_US = "250000"
"""Microseconds that tracks wait for one another: a subtitle may be minutes away, and the sound at its end."""


class SourceTracks:
    """The audio and subtitle tracks of a source file, with its metadata, chapters and attachments."""

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
        self._start_time, self._end = origin, end
        self._tracks: dict[int, Track] = {}
        self._onward: dict[int, Onward] = {}
        self._done: dict[TrackAction, list[str]] = {"copied": [], "transcoded": [], "converted": [], "left out": []}
        first = beginnings(path, origin, end)
        self._source = open_source_file(path)
        for stream in (*self._source.streams.audio, *self._source.streams.subtitles):
            self._add(output, stream, first.get(stream.index, []))
        if self._tracks:
            # FFmpeg's ten seconds of pictures would be missing from what a killed run leaves.
            output.options["max_interleave_delta"] = LONGEST_WAIT_US
        choose_default([track.stream for track in self._tracks.values() if track.stream.type == "audio"])
        self._done["left out"] += inherit_attachments(output, self._source)
        inherit_file(output, self._source)
        if not origin and end is None:
            inherit_chapters(output, self._source)
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
            index = packet.stream.index
            yield from self._in_order(index, partial(self._tracks[index].warp, packet))

    def flush(self) -> Iterator[Packet[Any]]:
        """The last packets of sound that is transcoded."""
        for index, track in self._tracks.items():
            yield from self._in_order(index, track.flush)

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def _add(self, output: OutputContainer, stream: Stream, beginning: Sequence[Packet[Any]]) -> None:
        planned = plan(stream, beginning, output.format.name)
        self._done[planned.action].append(planned.what)
        if planned.make:
            self._tracks[stream.index] = planned.make(output, stream)
            self._onward[stream.index] = Onward()

    def _in_order(self, index: int, make: Callable[[], list[Packet[Any]]]) -> list[Packet[Any]]:
        """What a track makes, or nothing where it is damaged: that costs a packet, not the file."""
        with suppress(av.FFmpegError, ValueError):
            return [self._onward[index](packet) for packet in make()]
        return []

    def _next(self) -> Packet[Stream] | None:
        """The next packet with something in it that begins within the time_range, or None at the end or at damage."""
        with suppress(av.FFmpegError):
            for packet in self._packets:
                if is_whole(packet) and is_within(packet, self._start_time, self._end):
                    return self._shifted(packet)
        return None

    def _shifted(self, packet: Packet[Stream]) -> Packet[Stream]:
        """To the output's clock; exact where both begin together."""
        shift = round(self._start_time / packet.time_base)
        if shift:
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.pts = None if packet.pts is None else packet.pts - shift
        return packet
