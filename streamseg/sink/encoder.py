"""Video encoders: frames to packets of a stream, on the CPU or by NVENC, and the stream's size, clock and tags."""

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
from streamseg.image import even, pad_to_even
from streamseg.media.stacked import stack
from streamseg.sink.formats import X264, Encoding
from streamseg.yuv import RgbImage, needs_even

NVENC = "h264_nvenc"
NVENC_OPTIONS = {"preset": "p5", "rc": "vbr", "cq": "19", "b": "0", "g": "60"}
"""Intended to match x264 at the standard quality; not measured."""


class Encoder(Protocol):
    """Encoder of one video stream.

    Attributes:
        stream: the stream of the output file.
    """

    stream: VideoStream

    def encode(self, frame: Frame, pts: int, duration: int) -> list[Packet[Any]]:
        """Encode a frame and return the packets that are ready; pts and duration are in ticks of the stream."""
        ...

    def flush(self) -> list[Packet[Any]]:
        """Return the packets that the encoder still holds at the end."""
        ...


class FrameEncoder:
    """An encoder of FFmpeg that takes frames of one pixel format."""

    def __init__(self, stream: VideoStream, layout: str) -> None:
        self.stream, self._layout = stream, layout

    def encode(self, frame: Frame, pts: int, duration: int) -> list[Packet[Any]]:
        """See `Encoder`; takes YUV, RGB, RGBA or grey."""
        converted = frame.image.as_frame(self._layout)
        converted.pts, converted.duration, converted.time_base = pts, duration, self.stream.codec_context.time_base
        return list(self.stream.encode(converted))

    def flush(self) -> list[Packet[Any]]:
        """See `Encoder`."""
        return list(self.stream.encode(None))


class StackedEncoder(FrameEncoder):
    """Encoder of stacked alpha: the matte as grey below the colours."""

    def encode(self, frame: Frame, pts: int, duration: int) -> list[Packet[Any]]:
        """See `Encoder`; takes RGBA."""
        return super().encode(replace(frame, image=RgbImage(stack(pad_to_even(frame.pixels)))), pts, duration)


def on_gpu(encoding: Encoding, info: VideoInfo) -> Encoding:
    """Replace x264 at the standard quality by NVENC where it opens; return any other encoding unchanged."""
    if encoding.options != X264 or not nvidia.has_gpu():
        return encoding
    if not _opens(NVENC, info):
        log_fallback(__name__, f"the CPU encodes H.264, not the GPU: {NVENC} does not open")
        return encoding
    return replace(encoding, codec=NVENC, options=NVENC_OPTIONS)


def _opens(codec: str, info: VideoInfo) -> bool:
    """Whether an encoder opens for frames of the size and rate of `info`."""
    try:
        encoder: VideoCodecContext = av.CodecContext.create(codec, "w")  # type: ignore[assignment]
        encoder.width, encoder.height, encoder.pix_fmt = even(info.width_px), even(info.height_px), "yuv420p"
        encoder.time_base, encoder.framerate, encoder.options = info.time_base, info.rate, dict(NVENC_OPTIONS)
        encoder.open()
    except (av.FFmpegError, ValueError):  # ValueError: FFmpeg was built without this encoder.
        return False
    return True


def add_stream(output: OutputContainer, encoding: Encoding, info: VideoInfo, options: dict[str, str]) -> VideoStream:
    """Add a stream with the encoding's codec, and set its size, time base and colour tags.

    Raises:
        av.FFmpegError: the container does not take the codec.
    """
    stream: VideoStream = output.add_stream(encoding.codec, rate=info.rate, options=options)  # type: ignore[assignment]
    context = stream.codec_context
    stream.disposition = Disposition.default
    # By default the encoder counts frames, which would round variable rates.
    context.time_base = stream.time_base = info.time_base
    context.flags |= Flags.frame_duration  # Without it, packets have no duration and the last gets the mean.
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
        stream.metadata["alpha_mode"] = "1"  # Without it, players ignore the alpha layer.
    return stream
