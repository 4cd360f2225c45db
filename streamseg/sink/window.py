"""Preview window sink, through OpenCV."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import cv2

from streamseg.errors import OutputError
from streamseg.frames import Frame
from streamseg.sink.base import BaseSink, SinkClosed
from streamseg.sink.images import opaque, to_bgr

WINDOW_TITLE = "streamseg (q or Esc to end)"
QUIT_KEYS = (ord("q"), 27)


class PreviewWindow(BaseSink):
    """A window that shows each frame with a line of text."""

    def __init__(self, overlay: Callable[[], str]) -> None:
        """Open the window.

        Args:
            overlay: returns the text for each frame.

        Raises:
            OutputError: there is no display.
        """
        self._overlay, self._is_closed = overlay, False
        check_display()
        cv2.namedWindow(WINDOW_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return "window closed"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        if self._is_closed:
            raise SinkClosed
        bgr = to_bgr(opaque(frame.image).rgb)
        cv2.putText(bgr, self._overlay(), (12, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA)
        cv2.imshow(WINDOW_TITLE, bgr)
        is_closed = cv2.waitKey(1) & 0xFF in QUIT_KEYS or cv2.getWindowProperty(WINDOW_TITLE, cv2.WND_PROP_VISIBLE) < 1
        self._is_closed = bool(is_closed)

    def complete(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()

    discard = complete


def check_display() -> None:
    """Check on Linux that there is a display, without which OpenCV aborts the process.

    Raises:
        OutputError: there is no display.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OutputError(
            "no display for the preview window: give --out FILE.mp4 or --out virtual, or log in with a screen"
        )
