"""Audio channel layouts: read those of a track, choose those of an encoder, reorder PCM channels."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.layout import AudioLayout
from av.filter import Graph
from av.packet import Packet

LAYOUTS = {
    "aac": ("mono", "stereo", "3.0", "4.0", "5.0", "5.1"),
    "libopus": ("mono", "stereo", "3.0", "quad", "5.1", "7.1"),
    "flac": ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1"),
}
"""Channel layouts by encoder, in ascending size, that every decoder of the codec knows.

Layouts that FFmpeg's encoders mix up are left out: libopus gets 5.0 and 6.1 in another order than it states.
"""

UNNAMED_CHANNEL = "NONE"
"""Name of a channel in files that state only a number of them; FFmpeg has a default layout for up to eight."""

MOST_CHANNELS = 8
NO_CHANNELS = "0 channels"
"""FFmpeg's name of a layout that a file does not state."""

SIDE_AS_BACK = {"SL": "BL", "SR": "BR"}
FFMPEG_ORDER = tuple(channel.name for channel in AudioLayout("22.2").channels)
"""FFmpeg's order of loudspeakers."""

CUSTOM_LAYOUT = re.compile(r"\d+ channels \((.+)\)")
"""FFmpeg's name of a layout with channels in a custom order."""


def layout_of(source: Any) -> str:
    """Return FFmpeg's name of a track's layout; use it instead of `source.layout`, which may crash."""
    layout: AudioLayout = source.layout
    name = layout.name
    if CUSTOM_LAYOUT.fullmatch(name):
        # PyAV would free a list that belongs to FFmpeg and crash the process, so this object is never freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return name


def own_order(layout: str) -> list[str]:
    """Return the channels of a layout in custom order, as film editors write 5.1; empty for a standard layout."""
    found = CUSTOM_LAYOUT.fullmatch(layout)
    return found[1].split("+") if found else []


def nearest_layout(codec: str, layout: str) -> str:
    """Return an encoder's smallest layout with all speakers of `layout`, or its largest; stereo for an unknown one."""
    if layout == NO_CHANNELS:
        return "stereo"
    wanted = _speaker_names(AudioLayout(layout))
    known = [name for name in LAYOUTS[codec] if wanted <= _speaker_names(AudioLayout(name))]
    return known[0] if known else LAYOUTS[codec][-1]


class Reordered:
    """A PCM track with channels in custom order, decoded into FFmpeg's order.

    It has the attributes of a stream that `Transcoded` needs. Packets go through a decoder opened with a mere number of
    channels, as the stream's own may crash: see `layout_of`.
    """

    def __init__(self, source: Any, order: Sequence[str]) -> None:
        """Open the decoder; `order` names the channels, and is kept unless these are distinct known speakers."""
        self.metadata, self.disposition, self.time_base = source.metadata, source.disposition, source.time_base
        self.rate, self.format, self.codec = source.rate, source.format, source.codec
        counted = f"{len(order)} channels"
        is_known = set(order) <= set(FFMPEG_ORDER) and len(set(order)) == len(order)
        self.layout = AudioLayout("+".join(name for name in FFMPEG_ORDER if name in order) if is_known else counted)
        self._decoder: AudioCodecContext = av.CodecContext.create(source.codec.name, "r")
        self._decoder.sample_rate, self._decoder.layout = source.rate, counted
        self._map = "|".join(f"{number}-{name}" for number, name in enumerate(order)) if is_known else None
        self._graph: Graph | None = None

    def decode(self, packet: Packet[Any] | None) -> Iterator[av.AudioFrame]:
        """Decode a packet, or flush the decoder on None, to audio frames in FFmpeg's channel order."""
        for sound in self._decoder.decode(packet):
            yield self._reorder(sound, self._map) if self._map else sound

    def _reorder(self, sound: av.AudioFrame, channel_map: str) -> av.AudioFrame:
        self._graph = self._graph or self._open_graph(sound, channel_map)
        self._graph.push(sound)
        return self._graph.pull()  # type: ignore[return-value]

    def _open_graph(self, sound: av.AudioFrame, channel_map: str) -> Graph:
        graph = Graph()
        graph.link_nodes(
            graph.add_abuffer(
                sample_rate=sound.sample_rate,
                format=sound.format.name,
                layout=sound.layout.name,
                time_base=self.time_base,
            ),
            graph.add("channelmap", map=channel_map, channel_layout=self.layout.name),
            graph.add("abuffersink"),
        ).configure()
        return graph


def _speaker_names(layout: AudioLayout) -> set[str]:
    """Return a layout's speaker names; a single pair of side speakers counts as back speakers."""
    names = {channel.name for channel in layout.channels}
    if names == {UNNAMED_CHANNEL} and layout.nb_channels <= MOST_CHANNELS:
        names = {channel.name for channel in AudioLayout(f"{layout.nb_channels}c").channels}
    return names if "BL" in names else {SIDE_AS_BACK.get(name, name) for name in names}
