"""Camera modes: formats, sizes and frame rates, and the choice of the mode nearest to what is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

DEFAULT_SIZE = (1280, 720)
"""Width and height in pixels that a camera is asked for where the user names no size."""
DEFAULT_FPS = Fraction(30)

PREFERRED_CODECS = ("nv12", "yuv420p", "yuyv422", "uyvy422", "yuv422p", "mjpeg", "bgr24", "rgb24", "gray")
"""Formats that a camera is read in, by FFmpeg's names: raw YUV before JPEG, which loses detail and takes time."""

FORMAT_NAMES = {
    "mjpeg": "MJPEG",
    "h264": "H.264",
    "hevc": "HEVC",
    "yuyv422": "YUYV",
    "uyvy422": "UYVY",
    "nv12": "NV12",
    "yuv420p": "YUV 4:2:0",
    "yuv422p": "YUV 4:2:2",
    "gray": "grey",
}
"""FFmpeg's names of codecs and pixel formats -> what users know them by."""

RATE_TOLERANCE = Fraction(99, 100)
"""30000/1001 fps reaches 30."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A size that a camera delivers in a format.

    Attributes:
        codec: FFmpeg's name of the codec or, of raw video, of the pixel format; the driver's four letters if FFmpeg
            has none.
        width_px: width.
        height_px: height.
        rates: frames per second, highest first; empty where the driver does not say.
    """

    codec: str
    width_px: int
    height_px: int
    rates: tuple[Fraction, ...] = ()

    def rate_for(self, fps: Fraction) -> Fraction:
        """Return the lowest rate that reaches `fps`, else the highest; `fps` itself where the driver does not say."""
        reached = [rate for rate in self.rates if rate >= fps * RATE_TOLERANCE]
        return min(reached, default=max(self.rates, default=fps))


def choose_mode(
    modes: Iterable[Mode], size: tuple[int, int] | None = None, fps: Fraction | None = None
) -> tuple[Mode, Fraction] | None:
    """Choose the mode with the nearest size that is not smaller, if there is one, and a rate that reaches `fps`.

    Where no mode has both, a size that the user named comes before the rate, and the rate before the default size.

    Args:
        modes: what the camera offers.
        size: width and height in pixels that the user named.
        fps: frames per second that the user named.

    Returns:
        The mode and the rate to ask for; None if there is no mode in a format that can be read.
    """
    width, height = size or DEFAULT_SIZE
    wanted_fps = fps or DEFAULT_FPS

    def rank(mode: Mode) -> tuple[object, ...]:
        is_smaller = mode.width_px < width or mode.height_px < height
        by_size = (is_smaller, abs(mode.width_px * mode.height_px - width * height))
        rate = mode.rate_for(wanted_fps)
        by_rate = (max(Fraction(0), wanted_fps * RATE_TOLERANCE - rate), round(abs(rate - wanted_fps)))
        order = (by_size, by_rate) if size else (by_rate[0], by_size, by_rate[1])
        return (*order, PREFERRED_CODECS.index(mode.codec))

    readable = [mode for mode in modes if mode.codec in PREFERRED_CODECS]
    if not readable:
        return None
    best = min(readable, key=rank)
    return best, best.rate_for(wanted_fps)


def format_name(codec: str) -> str:
    """Return what users know a codec or a pixel format by."""
    return FORMAT_NAMES.get(codec, codec.upper())


def rate_text(rate: Fraction) -> str:
    """Format a frame rate: 30, 29.97, 7.5."""
    return f"{float(rate):.2f}".rstrip("0").rstrip(".")
