"""FFmpeg filters for decoded frames: deinterlace, and tone map HDR (PQ, HLG) to BT.709."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph

DEINTERLACE = ("bwdif", "mode=send_frame:deint=interlaced")
"""One frame from two fields, at the frame rate; progressive frames pass unchanged."""

TO_BT709 = (
    "scale",
    "out_primaries=bt709:out_transfer=bt709:out_color_matrix=bt709:out_range=tv:intent=perceptual:flags=accurate_rnd",
)
"""Perceptual tone mapping: reference white of 203 cd/m2 (ITU-R BT.2408) turns light grey, highlights keep detail."""

HDR_TRANSFERS = {16, 18}
"""Transfer characteristics PQ and HLG; ISO/IEC 23091-2."""


class Filters:
    """Filter each frame as its tags require; the graph is built for the first frame that needs one."""

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._graph: Graph | None = None
        self._format: tuple[object, ...] = ()
        self._interlaced = False

    def __call__(self, frame: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """Filter a frame and yield the frames that are ready, which may be earlier ones."""
        self._interlaced = self._interlaced or frame.interlaced_frame
        chain = self._chain(frame)
        frame_format = (frame.width, frame.height, frame.format.name, frame.color_trc, tuple(chain))
        if frame_format != self._format:
            yield from self.flush()
            self._format, self._graph = frame_format, self._build(frame, chain) if chain else None
        if self._graph is None:
            yield frame
            return
        self._graph.vpush(frame)
        yield from self._ready()

    def flush(self) -> Iterator[av.VideoFrame]:
        """Yield the frames that the graph still holds at the end."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()
        self._graph, self._format = None, ()

    def _chain(self, frame: av.VideoFrame) -> list[tuple[str, str]]:
        """Return the names and arguments of the filters that a frame needs."""
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
            except (av.BlockingIOError, av.EOFError):  # The graph needs another frame, or is at its end.
                return


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether the frame is tagged as PQ or HLG."""
    return int(frame.color_trc) in HDR_TRANSFERS
