"""Video files, and the test pattern that FFmpeg draws."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from streamseg.decode.base import ClosingSource, check_size
from streamseg.errors import InputError
from streamseg.frames import Frame, Pixels, VideoInfo

TEST_PATTERN = "testsrc"
DEFAULT_RATE = Fraction(25)
DEFAULT_TIME_BASE = Fraction(1, 90_000)

MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
"""Matrix coefficients as ISO/IEC 23091-2 numbers them (what frames are tagged with), to the scaler's names."""

HD_HEIGHT_PX = 720
"""Untagged video from this height on is BT.709, below it BT.601, as players assume."""


class VideoFile(ClosingSource):
    """Whatever FFmpeg demuxes and decodes: a file, or its test pattern through `lavfi`."""

    def __init__(self, url: str, format_name: str | None = None) -> None:
        self._url = url
        self._container = _open_container(url, format_name)
        self._upright = _UprightRgb()
        try:
            self._first = self._decode_first()
        except BaseException:
            self._container.close()
            raise
        self.info = self._describe(self._first.pixels, is_file=format_name is None)

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Closes the file; the decoder's threads end with the last reference to this object."""
        self._frames.close()
        self._container.close()

    def _decode_first(self) -> Frame:
        streams = self._container.streams
        # The cover picture of a song is a video stream to FFmpeg.
        moving = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
        if not moving:
            found = "only sound" if streams.audio else "and no sound either"
            raise InputError(f"{self._url} has no video stream, {found}; give a file with pictures")
        self._stream = moving[0]
        self._stream.thread_type = "AUTO"
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise InputError(self.damage or f"{self._url} holds no video frame")
        check_size(first.pixels, self._url)
        return first

    def _decode(self) -> Generator[Frame]:
        """Decodes until the end or an error; that, and what the decoder had to make up, is noted as damage."""
        packets, index, end = 0, 0, Fraction(0)
        time_base = self._stream.time_base or DEFAULT_TIME_BASE
        rate = self._stream.average_rate or DEFAULT_RATE
        next_time = Fraction(0)
        try:
            for packet in self._container.demux(self._stream):
                packets += packet.size > 0
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * time_base)
                if packet.is_corrupt:
                    self._note_made_up(index)
                for decoded in packet.decode():
                    if decoded.is_corrupt:
                        self._note_made_up(index)
                    moment = next_time if decoded.pts is None else decoded.pts * (decoded.time_base or time_base)
                    yield Frame(index, moment, self._upright(decoded), time.monotonic())
                    index, next_time = index + 1, moment + 1 / rate
        except av.FFmpegError as error:
            self.damage = f"{self._url} is damaged after frame {index}: {_reason(error)}"
        else:
            self.damage = self._cut_short(packets, index, end) or self.damage

    def _note_made_up(self, index: int) -> None:
        self.damage = self.damage or f"{self._url} is damaged near frame {index}: pictures there are missing or wrong"

    def _cut_short(self, packets: int, frames: int, end: Fraction) -> str | None:
        """One line if the file ends before its header says so."""
        stream = self._stream
        if stream.frames:
            # AVI counts a repeated picture without storing it, but its duration is right.
            length = ((stream.start_time or 0) + (stream.duration or 0)) * (stream.time_base or DEFAULT_TIME_BASE)
            if packets < stream.frames and not 0 < length <= end:
                return f"{self._url} is cut short: {frames} of {stream.frames} frames could be read"
        # Matroska counts no frames; its tag is rounded and may hold a long last picture.
        stated = _seconds(stream.metadata.get("DURATION", ""))
        if end + 1 < stated:
            return f"{self._url} is cut short: the pictures end at {float(end):.1f} s of {stated:.1f} s"
        return None

    def _describe(self, first: Pixels, is_file: bool) -> VideoInfo:
        return VideoInfo(
            width_px=first.shape[1],
            height_px=first.shape[0],
            rate=self._stream.average_rate or self._stream.guessed_rate or DEFAULT_RATE,
            time_base=self._stream.time_base or DEFAULT_TIME_BASE,
            frame_count=self._stream.frames or None,
            path=Path(self._url) if is_file and self._container.streams.audio else None,
        )


class _UprightRgb:
    """Decoded frames to upright RGB `(H, W, 3)`, through one scaler context."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Pixels:
        rgb = self._reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=_matrix(frame),
            src_color_range=frame.color_range or ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT,
        )
        pixels = rgb.to_ndarray()
        # Rotation is counter-clockwise in degrees, as numpy's quarter turns are.
        turned = np.rot90(pixels, round(frame.rotation / 90) % 4) if frame.rotation else pixels
        return np.ascontiguousarray(turned, dtype=np.uint8)


def is_test_pattern(spec: str) -> bool:
    """Whether `spec` names the test pattern."""
    return spec.partition("=")[0] == TEST_PATTERN


def open_test_pattern(spec: str) -> VideoFile:
    """Opens `testsrc` (720p) or `testsrc=WIDTHxHEIGHT`: moving shapes at 30 frames a second without end.

    Raises:
        InputError: the size is not understood.
    """
    _, _, size = spec.partition("=")
    width, _, height = (size or "1280x720").partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"test pattern {spec!r} is not understood; write testsrc or testsrc=1280x720")
    return VideoFile(f"testsrc2=size={width}x{height}:rate=30", "lavfi")


def _open_container(url: str, format_name: str | None) -> InputContainer:
    try:
        # FFmpeg takes "12:30.mp4" for a protocol named 12; no absolute path looks like one.
        return av.open(url if format_name else str(Path(url).absolute()), format=format_name)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"cannot read {url} as video: {_reason(error)}") from error


def _matrix(frame: av.VideoFrame) -> Colorspace:
    guess = Colorspace.ITU709 if frame.height >= HD_HEIGHT_PX else Colorspace.ITU601
    return MATRICES.get(int(frame.colorspace), guess)


def _seconds(clock: str) -> float:
    """Hours:minutes:seconds -> seconds, 0 if it is anything else."""
    parts = clock.split(":")
    try:
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
    except (IndexError, ValueError):
        return 0.0


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]
