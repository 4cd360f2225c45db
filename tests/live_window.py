"""A live run with a window, for tests on a virtual screen: `python -m tests.live_window VIDEO [SETTING=VALUE ...]`.

A video, over and over and at its pace, stands for the camera, and its green disc for the person.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from streamseg.controls import Controls
from streamseg.decode import open_source
from streamseg.decode.base import BaseSource
from streamseg.decode.paced import Paced
from streamseg.errors import StreamsegError
from streamseg.frames import Frame
from streamseg.pipeline import run
from streamseg.settings import load_settings
from streamseg.sink.base import BaseSink
from streamseg.sink.snapshots import RecordingSink, SnapshotSink
from streamseg.sink.window import PreviewWindow
from streamseg.statistics import Statistics
from tests.synthetic import DiscEngine


class Looping(BaseSource):
    """A video over and over; paused, a card."""

    def __init__(self, path: str, controls: Controls) -> None:
        with open_source(path) as source:
            self.info, self._frames = source.info, list(source)
        self._controls = controls

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            for frame in self._frames:
                live = self._controls.current.live
                image = np.ascontiguousarray(frame.pixels[:, ::-1]) if live.mirror else frame.pixels
                card = "paused" if live.paused else None
                yield replace(frame, index=index, pts=Fraction(index) / self.info.rate, image=image, card=card)
                index += 1

    def close(self) -> None:
        pass


class Three(BaseSink):
    """The window, snapshots and recordings, side by side."""

    summary = ""

    def __init__(self, *sinks: BaseSink) -> None:
        self._sinks = sinks

    def write(self, frame: Frame) -> None:
        for sink in self._sinks:
            sink.write(frame)

    def complete(self) -> None:
        for sink in self._sinks:
            sink.complete()
            if sink.summary:
                print(sink.summary)

    discard = complete


def main(path: str, *values: str) -> None:
    settings = load_settings(None, dict(value.split("=", 1) for value in values))
    controls, statistics = Controls(settings), Statistics()
    source, engine = Paced(Looping(path, controls)), DiscEngine()
    window = PreviewWindow(source.info, controls, lambda: f"{statistics.live_text()}   {engine.name}")
    sinks = window, SnapshotSink(controls), RecordingSink(source.info, controls)
    with Three(*sinks) as sink:
        run(source, engine, sink, settings, statistics=statistics, controls=controls)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except StreamsegError as error:
        sys.exit(f"error: {error}")
