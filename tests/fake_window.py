"""A stand-in for OpenCV's window, which keeps what it is shown and presses keys."""

from __future__ import annotations

from collections import deque

import cv2
import pytest

from streamseg.image import Pixels


class FakeWindow:
    """Takes the place of OpenCV's window functions.

    Attributes:
        titles: windows that are open.
        shown: what was shown, in RGB.
        size: width and height of the window.
        keys: codes of keys that will be pressed, one after each image.
        visible: what OpenCV says of the window; None where it raises an error.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.titles: set[str] = set()
        self.flags = 0
        self.shown: list[Pixels] = []
        self.size = (0, 0)
        self.keys: deque[int] = deque()
        self.visible: float | None = 1.0
        self._pressed = False
        monkeypatch.setattr("streamseg.sink.window.check_display", lambda: None)
        for name in ("namedWindow", "resizeWindow", "imshow", "waitKeyEx", "getWindowProperty", "destroyAllWindows"):
            monkeypatch.setattr(cv2, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(cv2, "getWindowImageRect", lambda title: (0, 0, *self.size))

    def _namedWindow(self, title: str, flags: int) -> None:
        self.titles.add(title)
        self.flags = flags

    def _resizeWindow(self, title: str, width: int, height: int) -> None:
        self.size = width, height

    def _imshow(self, title: str, bgr: Pixels) -> None:
        self.shown.append(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))

    def _waitKeyEx(self, delay_ms: int) -> int:
        self._pressed = not self._pressed and bool(self.keys)
        return self.keys.popleft() if self._pressed else -1

    def _getWindowProperty(self, title: str, what: int) -> float:
        if self.visible is None:
            raise cv2.error("NULL window")
        return self.visible

    def _destroyAllWindows(self) -> None:
        self.titles.clear()
