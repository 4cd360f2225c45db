"""The backgrounds that the page offers, under ids in place of paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import webcolors

from streamseg.composite.gradient import PREFIX, is_gradient
from streamseg.controls import Controls
from streamseg.errors import ConfigError
from streamseg.live.uploads import Uploads

NONE, BLUR, START = "none", "blur", "start"
"""Ids of no background, of the blurred camera, and of the file that the run was started with."""
FOLDER, UPLOAD = "folder/", "upload/"
"""What the ids of the folder's files, by name, and of uploads begin with."""

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".webm", ".mkv", ".gif"})


@dataclass(frozen=True, slots=True)
class Choice:
    """A file that can be chosen as background.

    Attributes:
        id: what the page calls it.
        name: what the user calls it.
        path: the file.
        is_video: whether it moves.
    """

    id: str
    name: str
    path: Path
    is_video: bool


class Backgrounds:
    """Translates between the page's ids and the setting `bg`, which may be a path."""

    def __init__(self, controls: Controls, uploads: Uploads) -> None:
        self._controls, self._uploads = controls, uploads
        bg = controls.current.composite.bg
        self._start = bg if bg and bg != BLUR and not _colour_of(bg) else None

    def files(self) -> list[Choice]:
        """Return the files that can be chosen: the one of the start, those of the folder, and what was uploaded."""
        folder = [
            Choice(FOLDER + path.name, path.name, path, path.suffix.lower() in VIDEO_SUFFIXES)
            for path in self._controls.backgrounds()
        ]
        uploads = [
            Choice(UPLOAD + identity, upload.name, upload.background.path, upload.background.is_video)
            for identity, upload in self._uploads.kept.items()
        ]
        start = []
        if self._start and self._start not in [str(choice.path) for choice in folder]:
            path = Path(self._start)
            start = [Choice(START, path.name, path, path.suffix.lower() in VIDEO_SUFFIXES)]
        return start + folder + uploads

    def choice(self, identity: str) -> Choice | None:
        """Return the file with an id, if there is one."""
        return next((choice for choice in self.files() if choice.id == identity), None)

    def value_of(self, identity: object) -> str | None:
        """Return the setting `bg` for an id, a colour or a gradient.

        Raises:
            ConfigError: it is neither.
        """
        if identity in (None, NONE):
            return None
        if isinstance(identity, str):
            if identity == BLUR:
                return BLUR
            if found := self.choice(identity) or _colour_of(identity):
                return found if isinstance(found, str) else str(found.path)
        raise ConfigError(
            "bg is a colour such as #00b140, a gradient such as gradient:#102030,#405060, blur, none, or the id of a "
            f"background in the list; got {identity!r:.80}"
        )

    def id_of(self, bg: str | None) -> str:
        """Return the id of the setting `bg`: that of a file, `none`, `blur`, #rrggbb or a gradient of such colours."""
        if bg is None:
            return NONE
        if bg == BLUR:
            return BLUR
        by_path = {str(choice.path): choice.id for choice in self.files()}
        return by_path.get(bg) or _colour_of(bg) or "other"


def _colour_of(bg: str) -> str | None:
    """Return #rrggbb of a colour, or a gradient with its colours as #rrggbb; None for other text."""
    if not is_gradient(bg):
        return _hex_of(bg)
    colours = [_hex_of(name.strip()) for name in bg.removeprefix(PREFIX).split(",")]
    return PREFIX + ",".join(map(str, colours)) if len(colours) > 1 and None not in colours else None


def _hex_of(colour: str) -> str | None:
    """Return #rrggbb of a colour's name, of #rgb or of itself, or None for other text."""
    try:
        return str(webcolors.normalize_hex(colour) if colour.startswith("#") else webcolors.name_to_hex(colour))
    except ValueError:
        return None
