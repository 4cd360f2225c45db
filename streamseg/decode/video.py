"""Video files, and the test pattern that FFmpeg draws."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
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
        """Closes the file."""
        self._container.close()

    def _decode_first(self) -> Frame:
        if not self._container.streams.video:
            raise InputError(f"{self._url} has no video stream, only sound; give a file with pictures")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise InputError(self.damage or f"{self._url} holds no video frame")
        check_size(first.pixels, self._url)
        return first

    def _decode(self) -> Iterator[Frame]:
        """Decodes until the end or the first damage, which is noted; what came before is good."""
        packets, index = 0, 0
        time_base = self._stream.time_base or DEFAULT_TIME_BASE
        rate = self._stream.average_rate or DEFAULT_RATE
        next_time = Fraction(0)
        try:
            for packet in self._container.demux(self._stream):
                packets += packet.size > 0
                for decoded in packet.decode():
                    moment = next_time if decoded.pts is None else decoded.pts * (decoded.time_base or time_base)
                    yield Frame(index, moment, self._upright(decoded), time.monotonic())
                    index, next_time = index + 1, moment + 1 / rate
        except (av.FFmpegError, ValueError) as error:
            self.damage = f"{self._url} is damaged after frame {index}: {_reason(error)}"
        else:
            if packets < self._stream.frames:
                self.damage = f"{self._url} is cut short: {index} of {self._stream.frames} frames could be read"

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
        return av.open(url, format=format_name)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"cannot read {url} as video: {_reason(error)}") from error


def _matrix(frame: av.VideoFrame) -> Colorspace:
    guess = Colorspace.ITU709 if frame.height >= HD_HEIGHT_PX else Colorspace.ITU601
    return MATRICES.get(int(frame.colorspace), guess)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).splitlines()[0]
