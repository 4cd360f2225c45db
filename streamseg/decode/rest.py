"""Why a live source shows a card instead of its picture: it is paused, or nobody watches."""

from __future__ import annotations

from collections.abc import Callable

from streamseg.controls import Controls

PAUSED = "paused"
UNWATCHED = "nobody is watching"


def always() -> bool:
    """Whether anybody watches: yes, always."""
    return True


def reason_to_rest(controls: Controls | None, wanted: Callable[[], bool]) -> str | None:
    """Return the words of the card, or None while the picture is to be shown."""
    if controls and controls.current.live.paused:
        return PAUSED
    return None if wanted() else UNWATCHED
