"""Files played in real time in place of a camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from streamseg.controls import Controls
from streamseg.decode.base import BaseSource
from streamseg.decode.modes import rate_text
from streamseg.decode.rest import always, reason_to_rest
from streamseg.frames import Frame


class Paced(BaseSource):
    """A source whose frames are delivered in real time, at their pts, as by a camera.

    Attributes:
        granted: what it delivers, as one line for the user.
    """

    def __init__(
        self,
        source: BaseSource,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        controls: Controls | None = None,
        wanted: Callable[[], bool] = always,
    ) -> None:
        """Wrap a source.

        Args:
            source: is closed with this one.
            clock: monotonic, in seconds.
            sleep: waits for a number of seconds.
            controls: whether the image is mirrored, and whether a card is shown instead; the file plays on meanwhile.
            wanted: whether anybody watches; if not, a card is shown.
        """
        self._source, self._clock, self._sleep, self._controls, self._wanted = source, clock, sleep, controls, wanted
        # Without a path there is no sound: it could not follow frames that are dropped.
        self.info = replace(source.info, path=None, live=True)
        size = f"{self.info.width_px}x{self.info.height_px}"
        self.granted = f"a file in place of a camera: {size} at {rate_text(self.info.rate)} fps"

    def __iter__(self) -> Iterator[Frame]:
        started: float | None = None
        for frame in self._source:
            if started is None:
                started = self._clock() - float(frame.pts)
            self._sleep(max(0.0, started + float(frame.pts) - self._clock()))
            card = reason_to_rest(self._controls, self._wanted)
            is_mirrored = self._controls is not None and self._controls.current.live.mirror
            image = frame.image.mirrored() if is_mirrored and not card else frame.image
            yield replace(frame, image=image, captured_seconds=self._clock(), card=card, mirrored=is_mirrored)
        self.decode_error = self._source.decode_error

    def close(self) -> None:
        """Close the wrapped source."""
        self._source.close()
