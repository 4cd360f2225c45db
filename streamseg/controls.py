"""What can be changed while a live run goes on: one state object for the window's keys, the page and the TOML file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamseg.errors import ConfigError
from streamseg.settings import Settings, SmoothSettings, changed_settings

CHANGEABLE = frozenset(
    {
        *("model", "input_size", "smooth", "gate", "subject", "keep"),
        *("bg", "blur", "fit", "matte_only", "feather", "light_wrap", "match_colors", "shadow"),
        *("mirror", "paused", "recording"),
    }
)
"""Names of the settings that take effect while the pipeline runs."""

BLUR_STEP = 1.25
BLUR_RANGE = (0.25, 4.0)

BACKGROUND_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".gif", ".bmp", ".mp4", ".mov", ".webm", ".mkv"}
)
"""What counts as a background in a folder of them."""

Listener = Callable[[Settings], object]


class Controls:
    """The settings of a live run; stages read `current` before each frame, any thread may change it.

    Attributes:
        notice_count: number of notices and problems so far; two may have the same words.
        background_version: grows when the background's file has been saved anew.
    """

    def __init__(self, settings: Settings) -> None:
        self._current = settings
        self._lock = threading.RLock()
        self._listeners: list[Listener] = []
        self._snapshots_asked = 0
        self._first_background = settings.composite.bg
        self._notice, self._is_problem = "", False
        self.notice_count = 0
        self.background_version = 0

    @property
    def current(self) -> Settings:
        """The settings that the next frame is made with."""
        return self._current

    @property
    def smooth(self) -> SmoothSettings:
        """Those of smoothing, whose `keep` is a point of the camera's own image, mirrored or not."""
        current = self._current
        return mirrored(current.smooth) if current.live.mirror else current.smooth

    @property
    def notice(self) -> str:
        """The last thing worth telling the user, such as the file of a snapshot; see `report` for problems."""
        return self._notice

    @notice.setter
    def notice(self, words: str) -> None:
        self._tell(words, is_problem=False)

    @property
    def is_problem(self) -> bool:
        """Whether the notice tells of something that went wrong."""
        return self._is_problem

    def report(self, problem: object) -> None:
        """Tell the user of something that went wrong, such as a background that cannot be read."""
        self._tell(str(problem), is_problem=True)

    def _tell(self, words: str, is_problem: bool) -> None:
        with self._lock:
            self._notice, self._is_problem = words, is_problem
            self.notice_count += 1

    def change(self, /, **values: Any) -> Settings:
        """Change settings by name, all or none.

        Args:
            values: names of `CHANGEABLE` and their new values.

        Raises:
            ConfigError: a setting cannot be changed while the pipeline runs, or its value is not allowed.
        """
        fixed = sorted(values.keys() - CHANGEABLE)
        if fixed:
            listed = ", ".join(sorted(CHANGEABLE))
            raise ConfigError(f"{fixed[0]!r:.42} cannot be changed while the camera runs; these can: {listed}")
        with self._lock:
            before = self._current
            self._current = changed_settings(before, values)
            if self._current.live.mirror != before.live.mirror and "keep" not in values:  # The same person stays.
                self._current = self._current.model_copy(update={"smooth": mirrored(self._current.smooth)})
            current, listeners = self._current, list(self._listeners)
        if current != before:
            for listener in listeners:
                listener(current)
        return current

    def toggle(self, name: str) -> Settings:
        """Switch a setting that is on or off: `mirror`, `paused`, `recording` or `matte_only`."""
        with self._lock:
            current = self._current
            section = current.composite if name == "matte_only" else current.live
            return self.change(**{name: not getattr(section, name)})

    def backgrounds(self) -> list[Path]:
        """Return the images and videos of the folder of backgrounds, by name; none while it cannot be read."""
        folder = self._current.live.backgrounds
        try:
            return sorted(filter(_is_background, folder.iterdir())) if folder else []
        except OSError:  # It may have been taken away, as a drive of the network may be.
            return []

    def step_background(self, step: int) -> Settings:
        """Take the next (1) or previous (-1) background: those of the folder, the blur, then the one of the start."""
        choices: list[str | None] = [*map(str, self.backgrounds()), "blur"]
        if self._first_background not in choices:
            choices.append(self._first_background)
        with self._lock:
            shown = self._current.composite.bg
            position = choices.index(shown) + step if shown in choices else min(0, step)
            chosen = choices[position % len(choices)]
            settings = self.change(bg=chosen)
            self.notice = f"background: {Path(chosen).name if chosen else 'none'}"
        return settings

    def step_blur(self, step: int) -> Settings:
        """Blur the background, more with each positive step and less with each negative one."""
        with self._lock:
            blur = self._current.composite.blur * BLUR_STEP**step
            low, high = BLUR_RANGE
            blur = min(max(blur, low), high)
            settings = self.change(bg="blur", blur=blur)
            self.notice = f"blur: {blur:.2f}"
        return settings

    def ask_snapshot(self) -> None:
        """Ask for the next frame to be written as an image."""
        with self._lock:
            self._snapshots_asked += 1

    def take_snapshot_request(self) -> bool:
        """Return whether a snapshot was asked for; it is asked for no longer."""
        with self._lock:
            asked, self._snapshots_asked = self._snapshots_asked > 0, 0
        return asked

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Call a function with the settings after each change, in the thread that changes them.

        Returns:
            A function that ends the calls.
        """
        with self._lock:
            self._listeners.append(listener)

        def forget() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return forget


def _is_background(path: Path) -> bool:
    """Whether a path of the folder is a file that can be one, and is not hidden: macOS puts ._x.jpg beside x.jpg."""
    is_named_so = path.suffix.lower() in BACKGROUND_SUFFIXES and not path.name.startswith(".")
    try:
        return is_named_so and path.is_file()
    except OSError:
        return False


def mirrored(settings: SmoothSettings) -> SmoothSettings:
    """Return the settings for the mirror image of the frames; twice mirrored, they are as before."""
    if settings.keep is None:
        return settings
    across, down = settings.keep
    return settings.model_copy(update={"keep": (round(1 - across, 6), down)})
