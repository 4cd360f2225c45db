"""A live run for tests of the page: a disc that moves for ever, a network that finds it, and the page beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from streamseg import pipeline
from streamseg.controls import Controls
from streamseg.decode.base import BaseSource
from streamseg.decode.paced import Paced
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.live.sink import HttpSink, open_page
from streamseg.settings import Settings, load_settings
from streamseg.statistics import Statistics
from tests.synthetic import DISC, WALL, DiscEngine, picture
from tests.waiting import wait_for

RATE = Fraction(25)
SECONDS = 10
"""The disc is drawn for so long, and then again."""

TOKEN = "a-token-for-tests-alone"


Draw = Callable[[int, int, int], Pixels]
"""From a frame's index, width and height to its RGB."""


class EndlessDisc(BaseSource):
    """The disc of `synthetic`, for ever or until it is told to end; or another picture that moves."""

    def __init__(self, width_px: int, height_px: int, draw: Draw = picture) -> None:
        self.info = VideoInfo(width_px, height_px, RATE, 1 / RATE)
        self._pictures = [draw(index, width_px, height_px) for index in range(width_px // 3)]
        self.ends = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self.ends.is_set():
            yield Frame(index, index / RATE, self._pictures[index % len(self._pictures)])
            index += 1


class LivePage:
    """A run with its page, in a thread.

    Attributes:
        controls: the run's settings.
        statistics: the run's figures.
        page: the sink.
        start_bg: the background of the start.
    """

    def __init__(self, width_px: int = 320, height_px: int = 180, draw: Draw = picture, **settings: Any) -> None:
        overrides = {"smooth": "none", "bg": "#0000ff", "port": 0, **settings}
        chosen = load_settings(overrides=overrides)
        self.start_bg = chosen.composite.bg
        self.controls, self.statistics = Controls(chosen), Statistics()
        self._disc = EndlessDisc(width_px, height_px, draw)
        source = Paced(self._disc)
        engine = DiscEngine()
        self.page: HttpSink = open_page(
            source.info,
            self.controls,
            self.statistics,
            find_disc,
            models=("auto", "lite", "nano"),
            engine=lambda: "a stand-in",
            port=chosen.live.port,
            token=TOKEN,
        )
        self._error: BaseException | None = None

        def run() -> None:
            try:
                with self.page:
                    pipeline.run(source, engine, self.page, chosen, statistics=self.statistics, controls=self.controls)
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run)

    def page_frames(self) -> int:
        """How many frames the page has been given."""
        return int(self.page.summary.split()[3])

    def end(self) -> None:
        """End the run, as when the camera's source ends."""
        self._disc.ends.set()
        self._thread.join()

    @property
    def base(self) -> str:
        """The page's address, without path and token."""
        return f"http://127.0.0.1:{self.page.port}"

    def __enter__(self) -> Self:
        """Begin; returns when the page has a picture."""
        self._thread.start()
        wait_for(lambda: self.page_frames() or self._error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        if self._error:
            raise self._error


def find_disc(rgb: Pixels) -> Pixels:
    """The disc's matte, by its colour."""
    return np.where(np.abs(rgb.astype(int) - DISC).sum(2) < np.abs(rgb.astype(int) - WALL).sum(2), 255, 0).astype(
        np.uint8
    )


def value_of(settings: Settings, name: str) -> Any:
    """A setting by its name without its section."""
    return next(section[name] for section in settings.model_dump().values() if name in section)


def folder_of_backgrounds(folder: Path) -> Path:
    """A folder with a red and a yellow background."""
    import cv2

    folder.mkdir()
    for name, bgr in (("red.png", (0, 0, 255)), ("yellow.png", (0, 255, 255))):
        cv2.imwrite(str(folder / name), np.full((90, 160, 3), bgr, np.uint8))
    return folder
