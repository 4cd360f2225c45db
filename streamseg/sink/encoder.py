"""Pixels in, packets for a file out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from streamseg.fallback import log_fallback
from streamseg.frames import Frame, VideoInfo
from streamseg.hardware import nvidia
from streamseg.media.stacked import stack
from streamseg.sink.formats import X264, Encoding
from streamseg.sink.planes import ToPlanes, even, needs_even, pad_to_even

NVENC = "h264_nvenc"
NVENC_OPTIONS = {"preset": "p5", "rc": "vbr", "cq": "19", "b": "0", "g": "60"}
"""Meant to be as good as x264 at our standard quality; not compared, for want of a GPU."""


class Encoder(Protocol):
    """One stream of pictures on its way into a file.

    Attributes:
        stream: the stream of the file.
    """

    stream: VideoStream

    def encode(self, frame: Frame, pts: int, duration: int) -> list[Packet[Any]]:
        """One picture at `pts` for `duration`, both in the stream's time base -> the packets that are ready."""
        ...

    def flush(self) -> list[Packet[Any]]:
        """The packets that are left at the end."""
        ...


class FrameEncoder:
    """One encoder of FFmpeg's."""

    def __init__(self, stream: VideoStream, layout: str) -> None:
        self.stream, self._to_planes = stream, ToPlanes(layout)

    def encode(self, frame: Frame, pts: int, duration: int) -> list[Packet[Any]]:
        """See `Encoder`; takes any kind of picture."""
        picture = self._to_planes(frame.image)
        picture.pts, picture.duration, picture.time_base = pts, duration, self.stream.codec_context.time_base
        return list(self.stream.encode(picture))

    def flush(self) -> list[Packet[Any]]:
        """See `Encoder`."""
        return list(self.stream.encode(None))


class StackedEncoder(FrameEncoder):
    """Alpha as grey below the colours."""

    def encode(self, frame: Frame, pts: int, duration: int) -> list[Packet[Any]]:
        """See `Encoder`; takes RGBA."""
        return super().encode(replace(frame, image=stack(pad_to_even(frame.pixels))), pts, duration)


def on_gpu(encoding: Encoding, info: VideoInfo) -> Encoding:
    """H.264 at the standard quality by the GPU's encoder, where there is one that opens; else the encoding as it is."""
    if encoding.options != X264 or not nvidia.has_gpu():
        return encoding
    if not _opens(NVENC, info):
        log_fallback(__name__, f"the CPU encodes H.264, not the GPU: {NVENC} does not open")
        return encoding
    return replace(encoding, codec=NVENC, options=NVENC_OPTIONS)


def _opens(codec: str, info: VideoInfo) -> bool:
    """Whether there is an encoder for pictures of that size."""
    try:
        encoder: VideoCodecContext = av.CodecContext.create(codec, "w")  # type: ignore[assignment]
        encoder.width, encoder.height, encoder.pix_fmt = even(info.width_px), even(info.height_px), "yuv420p"
        encoder.time_base, encoder.framerate, encoder.options = info.time_base, info.rate, dict(NVENC_OPTIONS)
        encoder.open()
    except (av.FFmpegError, ValueError):  # ValueError: FFmpeg was built without it
        return False
    return True


def add_stream(output: OutputContainer, encoding: Encoding, info: VideoInfo, options: dict[str, str]) -> VideoStream:
    """A stream of the encoding's codec, with its size, clock and colours set.

    Raises:
        av.FFmpegError: the container does not take it.
    """
    stream: VideoStream = output.add_stream(encoding.codec, rate=info.rate, options=options)  # type: ignore[assignment]
    context = stream.codec_context
    stream.disposition = Disposition.default
    # The encoder otherwise counts in frames, which rounds variable rates.
    context.time_base = stream.time_base = info.time_base
    context.flags |= Flags.frame_duration  # Otherwise packets have none, and the last one gets the mean.
    size_px = info.width_px, info.height_px
    stream.width, stream.height = map(even, size_px) if needs_even(encoding.layout) else size_px
    if encoding.stacked:
        stream.height *= 2
    stream.pix_fmt = encoding.layout
    context.sample_aspect_ratio = info.pixel_aspect
    context.color_primaries, context.color_trc = int(ColorPrimaries.BT709), int(ColorTrc.BT709)
    if encoding.layout.startswith("yuv"):
        context.colorspace, context.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
    if encoding.layout == "yuva420p":
        stream.metadata["alpha_mode"] = "1"  # Without it, players do not look for the second layer.
    return stream
