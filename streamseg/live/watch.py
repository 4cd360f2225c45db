"""Follows the configuration and the background's file while a camera runs: what is saved takes effect."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from streamseg.controls import CHANGEABLE, Controls
from streamseg.errors import ConfigError
from streamseg.settings import Settings

POLL_SECONDS = 1.0


class FileWatcher:
    """Looks at the files' times once a second, on a thread of its own."""

    def __init__(self, controls: Controls, config: Path | None, load: Callable[[], Settings]) -> None:
        """Begin to watch at `with`.

        Args:
            controls: are changed.
            config: the TOML file, if there is one.
            load: reads the configuration again, under the command's flags.
        """
        self._controls, self._config, self._load = controls, config, load
        self._loaded = controls.current
        self._background = controls.current.composite.bg
        self._config_stamp, self._background_stamp = _stamp(config), _stamp(self._background)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streamseg-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Take over what has been saved since the last look."""
        config_stamp = _stamp(self._config)
        if config_stamp and config_stamp != self._config_stamp:
            self._reload()
        self._config_stamp = config_stamp or self._config_stamp
        background = self._controls.current.composite.bg
        stamp = _stamp(background)
        if background == self._background and stamp and stamp != self._background_stamp:
            self._controls.background_version += 1
        self._background, self._background_stamp = background, stamp  # One that is missing is new when it is back.

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.look()

    def _reload(self) -> None:
        """Apply what has changed in the file; what keys and page have changed meanwhile stays."""
        try:
            loaded = self._load()
            changes = _changes(self._loaded, loaded)
            fixed = sorted(changes.keys() - CHANGEABLE)
            self._controls.change(**{name: value for name, value in changes.items() if name in CHANGEABLE})
        except ConfigError as error:
            self._controls.report(error)
            return
        self._loaded = loaded
        later = f"; {', '.join(fixed)} at the next start" if fixed else ""
        self._controls.notice = f"configuration read again{later}"


def _changes(before: Settings, after: Settings) -> dict[str, Any]:
    """Return the settings that differ: name without its section -> new value."""
    old, new = before.model_dump(), after.model_dump()
    return {name: value for section in new for name, value in new[section].items() if old[section][name] != value}


def _stamp(path: str | Path | None) -> tuple[int, int] | None:
    """Return time and size of a file, or None if there is none."""
    try:
        found = Path(path).stat() if path else None
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size) if found else None
