"""Preview window with keys, through OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from streamseg.controls import Controls
from streamseg.errors import OutputError, StreamsegError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.sink.base import BaseSink, SinkClosed
from streamseg.sink.display import check_display, quieten_toolkit, room_px
from streamseg.sink.images import opaque
from streamseg.sink.overlay import Stamp, key_list, letters_px, recording_mark, text_band
from streamseg.yuv import RgbImage

WINDOW_TITLE = "streamseg (h: keys)"

NOTICE_SECONDS = 6.0
"""Time for which the newest notice is shown."""

FIGURES_SECONDS = 0.5
"""Time between two updates of the figures, which nobody could read at the camera's rate."""

HELD_FRAMES = 2
"""A key that comes again within so many frames is being held down."""

SPECIAL_KEYS = {
    27: "Esc",
    32: "Space",
    65361: "Left",  # X11
    65363: "Right",
    0x250000: "Left",  # Windows
    0x270000: "Right",
    63234: "Left",  # macOS
    63235: "Right",
    ord("="): "+",  # Where + is typed with the shift key.
    ord("_"): "-",
}
"""OpenCV's codes of keys that are more than the character of their code."""


class PreviewWindow(BaseSink):
    """A window that shows each frame, with figures on top and keys that act on the controls of the run.

    Attributes:
        is_closed: the user closed it; the next frame raises SinkClosed.
        figures_shown: whether the figures and notices are drawn over the picture.
        help_shown: whether the list of keys is drawn over the picture.
    """

    def __init__(self, info: VideoInfo, controls: Controls | None = None, overlay: Callable[[], str] = str) -> None:
        """Open the window as large as the screen allows, but not larger than the frames.

        It must be opened and written to in one thread, on macOS the main thread.

        Args:
            info: size of the frames.
            controls: what the keys change; without them, there are only the keys of the window itself.
            overlay: returns the line of figures, asked for twice a second.

        Raises:
            OutputError: there is no display.
        """
        check_display()
        quieten_toolkit()
        self.controls, self._overlay, self._aspect = controls, overlay, float(info.pixel_aspect)
        self.is_closed, self.figures_shown, self.help_shown = False, True, False
        self._bindings = [binding for binding in KEYS if controls or not binding.needs_controls]
        self._figures, self._figures_seconds = "", -np.inf
        self._notice, self._notice_count, self._notice_seconds = "", 0, -np.inf
        self._frames = 0
        self._pressed_at: dict[str, int] = {}
        # Without WINDOW_KEEPRATIO, which takes the shape of the image that was drawn for the shape of the window.
        try:
            cv2.namedWindow(WINDOW_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise OutputError(f"no preview window: {error.err}; is opencv-python-headless installed?") from error
        room = room_px()
        self._opened_px = fitted(info.width_px * self._aspect, info.height_px, *room, largest=1)
        cv2.resizeWindow(WINDOW_TITLE, *self._opened_px)

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return "window closed"

    def write(self, frame: Frame) -> None:
        """Show the frame and act on the keys that were pressed; see `Sink`."""
        if self.is_closed:
            raise SinkClosed
        self._frames += 1
        cv2.imshow(WINDOW_TITLE, self._drawn(frame))
        while (code := cv2.waitKeyEx(1)) != -1:
            self._press(key_name(code))
        self.is_closed |= not _is_visible()

    def complete(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()

    discard = complete

    def _press(self, key: str) -> None:
        """Do what a key stands for; one that is held down switches only once."""
        is_held = self._frames - self._pressed_at.get(key, -HELD_FRAMES - 1) <= HELD_FRAMES
        self._pressed_at[key] = self._frames
        for binding in self._bindings:
            if key in binding.keys and (binding.repeats or not is_held):
                try:
                    binding.action(self)
                except StreamsegError as error:
                    if self.controls:
                        self.controls.report(error)

    def _drawn(self, frame: Frame) -> Pixels:
        """Return the frame as BGR in the window's size, so that letters are sharp, between black bars if need be."""
        width, height = cv2.getWindowImageRect(WINDOW_TITLE)[2:]
        if width < 1 or height < 1:  # Not on the screen yet.
            width, height = self._opened_px
        pixels = _resized(
            frame.pixels, *fitted(frame.image.shape[1] * self._aspect, frame.image.shape[0], width, height)
        )
        bgr = cv2.cvtColor(opaque(RgbImage(pixels)).rgb, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
        self._draw_over(bgr)
        return _between_bars(bgr, width, height)

    def _draw_over(self, bgr: Pixels) -> None:
        """Draw figures, notice, recording mark and list of keys onto BGR `(H, W, 3)`."""
        height, width = bgr.shape[:2]
        size_px = letters_px(height)
        margin_px = round(0.7 * size_px)
        room = width - 2 * margin_px
        if self.controls and self.controls.current.live.recording:
            mark = recording_mark(size_px)
            mark.lay_over(bgr, width - margin_px - mark.width_px, margin_px)
            room -= mark.width_px + margin_px
        if self.figures_shown and not self.help_shown:  # The list of keys may reach over them.
            figures, notice = self._current_figures(), self._current_notice()
            if figures:
                text_band(figures, size_px, room).lay_over(bgr, margin_px, margin_px)
            if notice:
                band = text_band(notice, size_px, width - 2 * margin_px)
                band.lay_over(bgr, (width - band.width_px) // 2, height - margin_px - band.height_px)
        if self.help_shown:
            _centre(key_list(tuple((binding.keys, binding.does) for binding in self._bindings), height), bgr)

    def _current_figures(self) -> str:
        now = time.monotonic()
        if now - self._figures_seconds >= FIGURES_SECONDS:
            self._figures, self._figures_seconds = self._overlay(), now
        return self._figures

    def _current_notice(self) -> str:
        """Return the controls' notice until it has been shown for some seconds."""
        now = time.monotonic()
        if self.controls and self.controls.notice_count != self._notice_count:
            self._notice, self._notice_count = self.controls.notice, self.controls.notice_count
            self._notice_seconds = now
        return self._notice if now - self._notice_seconds < NOTICE_SECONDS else ""


@dataclass(frozen=True)
class Binding:
    """Keys of the window and what they do.

    Attributes:
        keys: their names, see `key_name`.
        does: what they do, for the list of keys.
        action: does it.
        needs_controls: it changes the run, not the window.
        repeats: it is done again and again while the key is held down.
    """

    keys: tuple[str, ...]
    does: str
    action: Callable[[PreviewWindow], object]
    needs_controls: bool = False
    repeats: bool = False


def _controlled(
    keys: tuple[str, ...], does: str, action: Callable[[Controls], object], repeats: bool = False
) -> Binding:
    """Return a binding that acts on the controls."""

    def act(window: PreviewWindow) -> None:
        if window.controls:
            action(window.controls)

    return Binding(keys, does, act, needs_controls=True, repeats=repeats)


def _switch(attribute: str) -> Callable[[PreviewWindow], None]:
    """Return the action that switches an attribute of the window."""
    return lambda window: setattr(window, attribute, not getattr(window, attribute))


KEYS = (
    _controlled(("Right", "n"), "next background", lambda controls: controls.step_background(1), repeats=True),
    _controlled(("Left", "p"), "previous background", lambda controls: controls.step_background(-1), repeats=True),
    _controlled(("+",), "blur more", lambda controls: controls.step_blur(1), repeats=True),
    _controlled(("-",), "blur less", lambda controls: controls.step_blur(-1), repeats=True),
    _controlled(("m",), "mirror", lambda controls: controls.toggle("mirror")),
    _controlled(("v",), "view the matte", lambda controls: controls.toggle("matte_only")),
    _controlled(("Space",), "pause behind a card", lambda controls: controls.toggle("paused")),
    _controlled(("s",), "save a snapshot", Controls.ask_snapshot),
    _controlled(("r",), "record, or stop recording", lambda controls: controls.toggle("recording")),
    Binding(("o",), "hide or show the figures", _switch("figures_shown")),
    Binding(("h", "?"), "hide or show these keys", _switch("help_shown")),
    Binding(("q", "Esc"), "quit", lambda window: setattr(window, "is_closed", True)),
)
"""All keys of the window."""


def key_name(code: int) -> str:
    """Return the name of a key from OpenCV's code of it: a small letter, a sign or a name of `SPECIAL_KEYS`."""
    # GTK adds bits for keys such as Num Lock, Windows codes arrows in higher bits alone.
    code = code & 0xFFFF or code
    return SPECIAL_KEYS.get(code) or (chr(code).lower() if code < 128 else "")


def fitted(
    width: float, height: float, room_width_px: int, room_height_px: int, largest: float = np.inf
) -> tuple[int, int]:
    """Return the largest size in pixels, in given proportions, that has room, at most `largest` times the given one."""
    scale = min(room_width_px / width, room_height_px / height, largest)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _is_visible() -> bool:
    try:
        return cv2.getWindowProperty(WINDOW_TITLE, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:  # Qt has no such window any more.
        return False


def _resized(pixels: Pixels, width: int, height: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    is_much_smaller = 2 * width < pixels.shape[1]
    interpolation = cv2.INTER_AREA if is_much_smaller else cv2.INTER_LINEAR
    return cv2.resize(pixels, (width, height), interpolation=interpolation).astype(np.uint8, copy=False)


def _between_bars(bgr: Pixels, width: int, height: int) -> Pixels:
    left, top = (width - bgr.shape[1]) // 2, (height - bgr.shape[0]) // 2
    right, bottom = width - bgr.shape[1] - left, height - bgr.shape[0] - top
    if not (left or top or right or bottom):
        return bgr
    return cv2.copyMakeBorder(bgr, top, bottom, left, right, cv2.BORDER_CONSTANT).astype(np.uint8, copy=False)


def _centre(stamp: Stamp, bgr: Pixels) -> None:
    stamp.lay_over(bgr, (bgr.shape[1] - stamp.width_px) // 2, (bgr.shape[0] - stamp.height_px) // 2)
