"""FFmpeg's filters on decoded frames: interlaced pictures become whole ones, high dynamic range becomes BT.709."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph

DEINTERLACE = ("bwdif", "mode=send_frame:deint=interlaced")
"""One whole picture from two fields, at the rate of the frames; pictures that are not interlaced pass."""

TO_BT709 = (
    "scale",
    "out_primaries=bt709:out_transfer=bt709:out_color_matrix=bt709:out_range=tv:intent=perceptual:flags=accurate_rnd",
)
"""Perceptual tone mapping: white of 203 cd/m2 (ITU-R BT.2408) turns light grey, and highlights keep their drawing."""

HDR_TRANSFERS = {16, 18}
"""PQ and HLG as ISO/IEC 23091-2 numbers transfer characteristics."""


class Filters:
    """Does to every frame what its tags ask for; the graph is built when a frame first needs it."""

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graph: Graph | None = None
        self._format: tuple[object, ...] = ()
        self._interlaced = False

    def __call__(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """One frame in; those that are ready come out, which may be the ones before it."""
        self._interlaced = self._interlaced or frame.interlaced_frame
        chain = self._chain(frame)
        form = (frame.width, frame.height, frame.format.name, frame.color_trc, tuple(chain))
        if form != self._format:
            yield from self.flush()
            self._format, self._graph = form, self._build(frame, chain) if chain else None
        if self._graph is None:
            yield frame
            return
        self._graph.vpush(frame)
        yield from self._ready()

    def flush(self) -> Iterator[av.VideoFrame]:
        """What is still held back at the end."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()
        self._graph, self._format = None, ()

    def _chain(self, frame: av.VideoFrame) -> list[tuple[str, str]]:
        deinterlace = [DEINTERLACE] if self._interlaced else []
        return deinterlace + ([TO_BT709, ("format", "pix_fmts=yuv444p")] if is_hdr(frame) else [])

    def _build(self, frame: av.VideoFrame, chain: list[tuple[str, str]]) -> Graph:
        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or self._time_base
        )
        steps = [source, *(graph.add(name, arguments) for name, arguments in chain), graph.add("buffersink")]
        graph.link_nodes(*steps).configure()
        return graph

    def _ready(self) -> Iterator[av.VideoFrame]:
        assert self._graph is not None
        while True:
            try:
                yield self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):  # It wants more, or there is no more.
                return


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether the frame's values mean light as PQ or HLG do."""
    return int(frame.color_trc) in HDR_TRANSFERS
