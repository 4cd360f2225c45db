"""Which channels a track of sound has, and which of them its new codec knows."""

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
"""The loudspeakers that each codec has a number for, which every decoder knows.

Without those that FFmpeg's encoders mix up: libopus gets 5.0 and 6.1 in another order than it states.
"""

COUNTED = "NONE"
"""The name of a channel in files that only count them; up to eight, FFmpeg has one usual layout for each number."""

MOST_CHANNELS = 8
NO_CHANNELS = "0 channels"
"""FFmpeg's name of a layout that a file does not tell."""

SIDE_AS_BACK = {"SL": "BL", "SR": "BR"}
IN_ORDER = tuple(channel.name for channel in AudioLayout("22.2").channels)
"""FFmpeg's order of loudspeakers."""

OWN_ORDER = re.compile(r"\d+ channels \((.+)\)")
"""How FFmpeg names a layout that is neither usual nor merely counted."""


def layout_of(source: Any) -> str:
    """FFmpeg's name of a track's layout; to be asked in place of `source.layout`."""
    layout: AudioLayout = source.layout
    name = layout.name
    if OWN_ORDER.fullmatch(name):
        # PyAV would free a list that belongs to FFmpeg, which ends the process. So this object is never freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(layout))
    return name


def own_order(layout: str) -> list[str]:
    """The channels of a layout in an order of its own, as film editors write 5.1; empty where it is a usual one."""
    found = OWN_ORDER.fullmatch(layout)
    return found[1].split("+") if found else []


def nearest_layout(codec: str, layout: str) -> str:
    """The smallest layout of an encoder that has all loudspeakers of `layout`, or its largest; stereo for none."""
    if layout == NO_CHANNELS:
        return "stereo"
    wanted = _speakers(AudioLayout(layout))
    known = [name for name in LAYOUTS[codec] if wanted <= _speakers(AudioLayout(name))]
    return known[0] if known else LAYOUTS[codec][-1]


class Reordered:
    """A track of PCM in an order of its own, decoded into FFmpeg's.

    It has what `Transcoded` needs of a stream. Its packets go through a decoder that only counts the channels: for the
    stream's own, see `layout_of`.
    """

    def __init__(self, source: Any, order: Sequence[str]) -> None:
        """`order`: the channels' names; where they are not all different loudspeakers, their order stays."""
        self.metadata, self.disposition, self.time_base = source.metadata, source.disposition, source.time_base
        self.rate, self.format, self.codec = source.rate, source.format, source.codec
        counted = f"{len(order)} channels"
        is_known = set(order) <= set(IN_ORDER) and len(set(order)) == len(order)
        self.layout = AudioLayout("+".join(name for name in IN_ORDER if name in order) if is_known else counted)
        self._decoder: AudioCodecContext = av.CodecContext.create(source.codec.name, "r")
        self._decoder.sample_rate, self._decoder.layout = source.rate, counted
        self._map = "|".join(f"{number}-{name}" for number, name in enumerate(order)) if is_known else None
        self._graph: Graph | None = None

    def decode(self, packet: Packet[Any] | None) -> Iterator[av.AudioFrame]:
        """As a stream's."""
        for sound in self._decoder.decode(packet):
            yield self._in_order(sound, self._map) if self._map else sound

    def _in_order(self, sound: av.AudioFrame, channel_map: str) -> av.AudioFrame:
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


def _speakers(layout: AudioLayout) -> set[str]:
    """The loudspeakers' names, without the difference between side and back where there is but one pair."""
    names = {channel.name for channel in layout.channels}
    if names == {COUNTED} and layout.nb_channels <= MOST_CHANNELS:
        names = {channel.name for channel in AudioLayout(f"{layout.nb_channels}c").channels}
    return names if "BL" in names else {SIDE_AS_BACK.get(name, name) for name in names}
