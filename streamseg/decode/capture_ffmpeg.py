"""Capture through FFmpeg: the frames of an open camera or stream as they arrive."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from typing import cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from streamseg.decode.capture import Granted, Pace, Shot
from streamseg.decode.modes import DEFAULT_FPS, format_name
from streamseg.decode.pixels import SQUARE
from streamseg.decode.video import video_stream
from streamseg.errors import CameraError

MAX_BAD_PACKETS = 100
"""Packets in a row that do not decode after which a camera counts as lost."""

UNTAGGED = 2
"""Matrix number of ISO/IEC 23091-2 for unspecified."""


class FFmpegCapture:
    """Frames of an open FFmpeg container.

    Attributes:
        granted: what the camera delivers.
    """

    def __init__(
        self,
        container: InputContainer,
        name: str,
        describe: Callable[[Exception], CameraError],
        is_device: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to read.

        Args:
            container: is closed with the capture.
            name: of the camera, for messages.
            describe: turns an error of FFmpeg into one line for the user.
            is_device: a camera of this machine, whose untagged YUV is BT.601 at every size.
            clock: monotonic, in seconds.
        """
        stream = video_stream(container, name)
        stream.thread_type = "SLICE"  # Frame threads would hold frames back.
        self.granted = _granted(stream, name)
        self._container, self._describe, self._is_device, self._clock = container, describe, is_device, clock
        self._stream, self._packets = stream, container.demux(stream)
        self._pace = Pace(clock) if _comes_in_blocks(container) else None

    def read(self) -> Shot:
        """See `Capture`."""
        for _ in range(MAX_BAD_PACKETS):
            packet = self._next_packet()
            captured_seconds = self._clock()
            with suppress(av.InvalidDataError):
                for frame in self._stream.codec_context.decode(packet):
                    return self._shot(frame, captured_seconds)
        raise CameraError(f"camera {self.granted.name} sends nothing that can be decoded")

    def close(self) -> None:
        """See `Capture`."""
        self._packets = iter(())  # Lets the last packet go, see `_own`.
        with suppress(av.FFmpegError, OSError):
            self._container.close()

    def _next_packet(self) -> Packet[VideoStream]:
        """Return the next packet that is not empty, as the last one of a stream is; raise CameraError if none comes."""
        try:
            packet = next(packet for packet in self._packets if packet.size)
            return _own(packet) if self._is_device else packet
        except StopIteration:
            raise self._describe(av.EOFError(errno.EPIPE, "the stream has ended")) from None
        except (av.FFmpegError, OSError) as error:
            raise self._describe(error) from error

    def _shot(self, frame: av.VideoFrame, captured_seconds: float) -> Shot:
        if self._is_device and int(frame.colorspace) == UNTAGGED:
            frame.colorspace = int(Colorspace.ITU601)
        if self._pace and frame.time is not None:
            self._pace.wait_for(frame.time)
            captured_seconds = self._clock()
        return Shot(frame, captured_seconds)


def _own(packet: Packet[VideoStream]) -> Packet[VideoStream]:
    """Copy a packet out of the driver's memory.

    FFmpeg hands out Video4Linux's own buffers, and raw frames are views of them: used or merely let go after the
    device was closed, they crash the process (libavdevice/v4l2.c, mmap_release_buffer).
    """
    copy = cast("Packet[VideoStream]", Packet(bytes(packet)))
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    return copy


def _granted(stream: VideoStream, name: str) -> Granted:
    context = stream.codec_context
    codec = (context.pix_fmt or "raw") if context.name == "rawvideo" else context.name
    rate = stream.average_rate or stream.guessed_rate or DEFAULT_FPS
    aspect = stream.sample_aspect_ratio or SQUARE
    return Granted(name, context.width, context.height, Fraction(rate), format_name(codec), Fraction(aspect))


def _comes_in_blocks(container: InputContainer) -> bool:
    """Whether frames come faster than they are shown: segments of HLS, and files on a server."""
    return container.format.name == "hls" or bool(container.duration)


def reason_of(error: Exception) -> str:
    """Return the words of an error of FFmpeg."""
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]
