"""HEVC whose second layer is alpha: the layers are taken apart, decoded side by side and joined again.

FFmpeg 9 does this by itself; the one inside PyAV, of 8.1, sees the layer and leaves it out. Colours that are multiplied
by alpha, as Apple's files may hold them, are divided by it again. Layers of more than 8 bits are reduced to 8, which is
the pipeline's own depth.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange

from streamseg.image import Pixels, samples
from streamseg.media import hevc
from streamseg.yuv import BLACK, CHROMA_LEVELS, LAYOUT, LUMA_LEVELS, NEUTRAL_CHROMA

Decode: TypeAlias = "Callable[[Packet[Any] | None], list[av.VideoFrame]]"
"""The frames that are ready after a packet, or those that are left after None."""


def has_alpha_layer(box: bytes) -> bool:
    """Whether a stream's setup, the box `hvcC`, announces alpha."""
    return any(map(hevc.is_alpha_information, hevc.configured_units(box)))


class WithAlphaLayer:
    """Decodes packets to frames with alpha, through one decoder a layer."""

    def __init__(self, box: bytes) -> None:
        """`box`: the stream's setup, `hvcC`."""
        self._length_bytes = hevc.sample_length_bytes(box)
        units = hevc.configured_units(box)
        sets = [nal for nal in units if hevc.nal_type(nal) != hevc.PREFIX_SEI]
        self._colours, self._alpha = (_decoder(_sets_of(layer, sets)) for layer in (0, hevc.ALPHA_LAYER))
        self._mattes: dict[int | None, av.VideoFrame | None] = {}
        self._is_premultiplied = False
        self._premultiplied: set[int | None] = set()
        self._note_use(units)

    def __call__(self, packet: Packet[Any] | None) -> list[av.VideoFrame]:
        """See `Decode`; a frame whose matte does not decode is left out.

        Raises:
            av.FFmpegError: the colours do not decode.
        """
        colours, matte = (None, None) if packet is None else self._layers(packet)
        if packet is not None and matte is not None:
            self._mattes[packet.pts] = None
            if self._is_premultiplied:
                self._premultiplied.add(packet.pts)
        with suppress(av.FFmpegError):
            self._mattes.update((frame.pts, frame) for frame in _decoded(self._alpha, packet, matte))
        ready = _decoded(self._colours, packet, colours)
        return [joined for frame in ready if (joined := self._joined(frame)) is not None]

    def _layers(self, packet: Packet[Any]) -> tuple[Packet[Any] | None, Packet[Any] | None]:
        units = list(hevc.without_lengths(bytes(packet), self._length_bytes))
        self._note_use(units)
        return _layer(packet, units, 0), _layer(packet, units, hevc.ALPHA_LAYER)

    def _note_use(self, units: list[bytes]) -> None:
        """Keep what the last message said: it holds until the next one."""
        for unit in units:
            use = hevc.alpha_use(unit)
            if use is not None:
                self._is_premultiplied = use == hevc.PREMULTIPLIED

    def _joined(self, frame: av.VideoFrame) -> av.VideoFrame | None:
        """A straight frame of yuva420p, opaque where it came without a matte; None if its matte did not decode."""
        if frame.pts not in self._mattes:
            return _joined(frame, None)
        matte = self._mattes.pop(frame.pts)
        is_premultiplied = frame.pts in self._premultiplied
        self._premultiplied.discard(frame.pts)
        if matte is None or (matte.width, matte.height) != (frame.width, frame.height):
            return None
        joined = _joined(frame, matte)
        if is_premultiplied:
            _divide_by_alpha(joined)
        return joined


def _decoder(sets: list[bytes]) -> VideoCodecContext:
    decoder: VideoCodecContext = av.CodecContext.create("hevc", "r")
    decoder.extradata = hevc.with_start_codes(sets)
    decoder.thread_type = "SLICE"  # A frame comes out as soon as it is decoded, in both decoders alike.
    return decoder


def _sets_of(layer: int, sets: list[bytes]) -> list[bytes]:
    """The parameter sets of one layer, as if it were the only one; a layer without its own uses the first's."""
    kinds = {hevc.nal_type(nal) for nal in sets if hevc.layer_of(nal) == layer}
    chosen = [nal for nal in sets if hevc.layer_of(nal) == (layer if hevc.nal_type(nal) in kinds else 0)]
    return [hevc.at_layer(nal, 0) for nal in chosen]


def _layer(packet: Packet[Any], units: list[bytes], layer: int) -> Packet[Any] | None:
    """The packet with one layer's units alone, if it has any."""
    own: Packet[Any] = Packet(
        hevc.with_start_codes(hevc.at_layer(nal, 0) for nal in units if hevc.layer_of(nal) == layer)
    )
    own.pts, own.dts, own.time_base = packet.pts, packet.dts, packet.time_base
    return own if own.size else None


def _decoded(decoder: VideoCodecContext, packet: Packet[Any] | None, own: Packet[Any] | None) -> list[av.VideoFrame]:
    """What a decoder makes of its part of a packet; the end, which is None, flushes it, and nothing must not."""
    return [] if own is None and packet is not None else decoder.decode(own)


def _joined(frame: av.VideoFrame, matte: av.VideoFrame | None) -> av.VideoFrame:
    """A frame of yuva420p; without a matte, all of it is opaque."""
    joined = av.VideoFrame(frame.width, frame.height, "yuva420p")
    for ours, theirs in zip(joined.planes, _in_bytes(frame, LAYOUT).planes, strict=False):
        samples(ours)[:] = samples(theirs)
    samples(joined.planes[3])[:] = 255 if matte is None else _matte_levels(matte)
    joined.pts = frame.pts
    joined.colorspace, joined.color_range = frame.colorspace, frame.color_range
    joined.color_trc, joined.color_primaries = frame.color_trc, frame.color_primaries
    return joined


def _matte_levels(matte: av.VideoFrame) -> Pixels:
    """A matte's luma `(H, W)`; FFmpeg takes grey frames for full range, and would convert them on the way to YUV."""
    layout = "gray" if matte.format.name.startswith("gray") else LAYOUT
    return samples(_in_bytes(matte, layout).planes[0])


def _in_bytes(frame: av.VideoFrame, layout: str) -> av.VideoFrame:
    """The frame at 8 bits in a layout, its levels in the range in which they are."""
    if frame.format.name == layout:
        return frame
    return frame.reformat(format=layout, src_color_range=ColorRange.MPEG, dst_color_range=ColorRange.MPEG)


def _divide_by_alpha(frame: av.VideoFrame) -> None:
    """Make a premultiplied frame of yuva420p straight; where nothing shows, it becomes black.

    Cb and Cr, of half the size, hold means of multiplied colours: means of alpha divide them.
    """
    y, cb, cr, alpha = map(samples, frame.planes)
    is_full = int(frame.color_range) == int(ColorRange.JPEG)
    black, white = (0, 255) if is_full else (BLACK, BLACK + LUMA_LEVELS)
    reach = NEUTRAL_CHROMA - 1 if is_full else CHROMA_LEVELS // 2
    weight = alpha.astype(np.float32) / 255
    small_weight = cv2.resize(weight, cb.shape[::-1], interpolation=cv2.INTER_AREA)
    y[:] = _divided(y, weight, black).clip(black, white).round()
    for plane in (cb, cr):
        plane[:] = (
            _divided(plane, small_weight, NEUTRAL_CHROMA).clip(NEUTRAL_CHROMA - reach, NEUTRAL_CHROMA + reach).round()
        )


def _divided(plane: Pixels, weight: cv2.typing.MatLike, zero: int) -> npt.NDArray[np.float32]:
    """Divide levels about `zero` by weights in [0, 1] of the same shape; `zero` where the weight is 0."""
    around = plane.astype(np.float32) - zero
    return np.divide(around, weight, out=np.zeros_like(around), where=weight > 0) + zero
