"""HEVC with an alpha layer, from two ordinary encoders in step: what Apple's players and editors take as `hvc1`."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext

from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels, pad_to_even, samples
from streamseg.media import hevc
from streamseg.sink.encoder import FrameEncoder, add_stream
from streamseg.sink.formats import Encoding
from streamseg.yuv import NEUTRAL_CHROMA, RgbImage

IN_STEP = "bframes=0:scenecut=0:keyint=60:min-keyint=60:open-gop=0:info=0:repeat-headers=0:log-level=error"
"""Frame types by count alone, so that both encoders choose the same: with B-frames, x265 looks at the frames."""

WITHOUT_TREE, NARROW_PX = ":cutree=0", 64
"""x265's tree of what later frames lean on writes beside its memory where frames are 33 to 48 pixels wide."""

MEASURED_NOT_LOOKED_AT = "psy-rd=0:psy-rdoq=0"
"""For mattes: without the grain that is kept for the eye; x265's own tuning would change the parameter sets."""

MATTE_CRF_LOWER = 6
"""An edge that is off by as much as colours may be, is seen."""


class LayeredEncoder:
    """Colours through one x265, alpha as the luma of another; each pair of packets becomes one of two layers."""

    def __init__(self, output: OutputContainer, encoding: Encoding, info: VideoInfo) -> None:
        """Adds the stream to the file and opens both encoders.

        Raises:
            av.FFmpegError: an encoder does not open.
        """
        options = dict(encoding.options)
        in_step = IN_STEP + WITHOUT_TREE if info.width_px < NARROW_PX else IN_STEP
        self.stream = add_stream(output, encoding, info, {**options, "x265-params": in_step})
        colours = self.stream.codec_context
        colours.codec_tag = "hvc1"
        self._colours = FrameEncoder(self.stream, encoding.layout)
        crf = str(int(options["crf"]) - MATTE_CRF_LOWER)
        self._mattes = _twin(colours, {**options, "crf": crf, "x265-params": f"{in_step}:{MEASURED_NOT_LOOKED_AT}"})
        self._set_up()
        self._neutral: av.VideoFrame | None = None
        self._waiting: tuple[deque[Packet[Any]], deque[Packet[Any]]] = deque(), deque()

    def encode(self, frame: Frame, pts: int, duration: int) -> list[Packet[Any]]:
        """See `Encoder`; takes RGBA."""
        padded = pad_to_even(frame.pixels)
        matte = self._as_luma(padded[..., 3])
        matte.pts, matte.time_base = pts, self._mattes.time_base
        colours = self._colours.encode(replace(frame, image=RgbImage(padded[..., :3])), pts, duration)
        return self._joined(colours, self._mattes.encode(matte))

    def flush(self) -> list[Packet[Any]]:
        """See `Encoder`."""
        return self._joined(self._colours.flush(), self._mattes.encode(None))

    def _set_up(self) -> None:
        """States both layers where a player looks first.

        Raises:
            OutputError: the encoders came to different parameter sets.
        """
        self.stream.codec_context.open()
        self._mattes.open()
        sets, theirs = (
            hevc.ParameterSets.of(context.extradata or b"") for context in (self.stream.codec_context, self._mattes)
        )
        if (sets.sps, sets.pps) != (theirs.sps, theirs.pps):
            raise OutputError("x265 set up the colours and the matte differently, which one file cannot hold")
        self.stream.codec_context.extradata = hevc.configuration(sets)

    def _as_luma(self, alpha: Pixels) -> av.VideoFrame:
        """A matte `(H, W)` as the luma of a frame without colour."""
        height, width = alpha.shape
        frame = av.VideoFrame(width, height, "yuv420p")
        y, cb, cr = map(samples, frame.planes)
        y[:], cb[:], cr[:] = alpha, NEUTRAL_CHROMA, NEUTRAL_CHROMA
        return frame

    def _joined(self, colours: list[Packet[Any]], mattes: list[Packet[Any]]) -> list[Packet[Any]]:
        for queue, packets in zip(self._waiting, (colours, mattes), strict=True):
            queue.extend(packets)
        pairs = min(map(len, self._waiting))
        return [self._pair(*(queue.popleft() for queue in self._waiting)) for _ in range(pairs)]

    def _pair(self, colours: Packet[Any], matte: Packet[Any]) -> Packet[Any]:
        """One access unit of both layers: the alpha layer's slices after the base's."""
        assert (colours.pts, colours.is_keyframe) == (matte.pts, matte.is_keyframe), "the encoders fell out of step"
        head = [hevc.alpha_information()] if colours.is_keyframe else []
        slices = [hevc.at_layer(nal, hevc.ALPHA_LAYER) for nal in hevc.nal_units(bytes(matte))]
        joined: Packet[Any] = Packet(hevc.with_lengths([*head, *hevc.nal_units(bytes(colours)), *slices]))
        joined.pts, joined.dts, joined.time_base = colours.pts, colours.dts, colours.time_base
        joined.is_keyframe, joined.stream = colours.is_keyframe, self.stream
        joined.duration = colours.duration
        return joined


def _twin(colours: VideoCodecContext, options: dict[str, str]) -> VideoCodecContext:
    """An encoder like `colours`, with other options."""
    twin: VideoCodecContext = av.CodecContext.create(colours.name, "w")  # type: ignore[assignment]
    twin.width, twin.height, twin.pix_fmt = colours.width, colours.height, colours.pix_fmt
    twin.time_base, twin.framerate = colours.time_base, colours.framerate
    twin.sample_aspect_ratio = colours.sample_aspect_ratio
    twin.color_primaries, twin.color_trc = colours.color_primaries, colours.color_trc
    twin.colorspace, twin.color_range = colours.colorspace, colours.color_range
    twin.flags |= Flags.global_header  # Parameter sets apart from the packets, as the file's stream has them.
    twin.options = options
    return twin
