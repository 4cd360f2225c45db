"""Network cameras and streams by their address: RTSP, HTTP (MJPEG and others) and HLS."""

from __future__ import annotations

import re

import av

from streamseg.decode.capture_ffmpeg import FFmpegCapture, reason_of
from streamseg.errors import CameraError

STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")

OPEN_SECONDS = READ_SECONDS = 5.0
"""How long a server may take to answer, and to send the next data."""

STREAM_OPTIONS = {"rtsp_flags": "prefer_tcp", "analyzeduration": "2000000"}
"""TCP, where the server has it, loses no packets; what a stream is shows in 2 s of it, not only in FFmpeg's 5."""


class StreamOpener:
    """Opens a network camera or a stream by its address."""

    def __init__(self, url: str) -> None:
        self._url, self._name = url, without_password(url)

    def __call__(self) -> FFmpegCapture:
        """Connect to the server.

        Raises:
            CameraError: the server is not there, does not answer or has no video.
        """
        try:
            container = av.open(self._url, options=dict(STREAM_OPTIONS), timeout=(OPEN_SECONDS, READ_SECONDS))
        except (av.FFmpegError, OSError) as error:
            raise self._error(error) from error
        try:
            return FFmpegCapture(container, self._name, self._error)
        except BaseException:
            container.close()
            raise

    def _error(self, error: Exception) -> CameraError:
        reason = f"no answer within {OPEN_SECONDS:g} s" if isinstance(error, av.ExitError) else reason_of(error)
        if isinstance(error, av.EOFError):
            reason = "the stream has ended"
        return CameraError(
            f"cannot read {self._name}: {reason}; check the address, and whether the server runs",
            "no picture from the network camera: waiting for it",
        )


def is_address(spec: str) -> bool:
    """Whether `spec` is the address of a network camera or stream."""
    return spec.partition("://")[0].lower() in STREAM_SCHEMES and "://" in spec


def without_password(url: str) -> str:
    """Return an address without the user's name and password, for messages."""
    return re.sub("^([^:/]+://)[^/?#]*@", r"\1", url)
