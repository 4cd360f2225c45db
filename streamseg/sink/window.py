"""The preview window."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import cv2

from streamseg.errors import OutputError
from streamseg.frames import Frame
from streamseg.sink.base import CompletingSink
from streamseg.sink.pictures import opaque, to_bgr

if TYPE_CHECKING:
    from streamseg.statistics import Statistics

WINDOW_TITLE = "streamseg (q or Esc to end)"
QUIT_KEYS = (ord("q"), 27)


class PreviewWindow(CompletingSink):
    """A window on the screen with frames a second and latency."""

    def __init__(self) -> None:
        check_display()
        cv2.namedWindow(WINDOW_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    @property
    def written(self) -> str:
        """See `Sink`."""
        return "window closed"

    def write(self, frame: Frame, statistics: Statistics) -> None:
        """See `Sink`."""
        shown = to_bgr(opaque(frame.pixels))
        text = f"{statistics.fps:.1f} fps  {statistics.latency_ms():.0f} ms"
        cv2.putText(shown, text, (12, 32), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2, cv2.LINE_AA)
        cv2.imshow(WINDOW_TITLE, shown)
        gone = cv2.waitKey(1) & 0xFF in QUIT_KEYS or cv2.getWindowProperty(WINDOW_TITLE, cv2.WND_PROP_VISIBLE) < 1
        self.closed = bool(gone)

    def complete(self) -> None:
        """Closes the window."""
        cv2.destroyAllWindows()

    discard = complete


def check_display() -> None:
    """OpenCV aborts the whole process without a display, so it is looked for first.

    Raises:
        OutputError: there is none.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise OutputError(
            "no display for the preview window: give --out FILE.mp4 or --out virtual, or log in with a screen"
        )
