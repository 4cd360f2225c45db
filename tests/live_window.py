"""A live run with a window, for tests on a virtual screen: `python -m tests.live_window VIDEO [SETTING=VALUE ...]`.

A video, over and over and at its pace, stands for the camera, and its green disc for the person. The file `shown` says
how many frames the window has shown.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path

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
from streamseg.sink.tee import TeeSink
from streamseg.sink.window import PreviewWindow
from streamseg.statistics import Statistics
from tests.synthetic import DiscEngine


class Looping(BaseSource):
    """A video over and over."""

    def __init__(self, path: str) -> None:
        with open_source(path) as source:
            self.info, self._frames = source.info, list(source)

    def __iter__(self) -> Iterator[Frame]:
        for index in count():
            frame = self._frames[index % len(self._frames)]
            yield replace(frame, index=index, pts=Fraction(index) / self.info.rate)

    def close(self) -> None:
        pass


class Counter(BaseSink):
    """Writes the number of frames to a file."""

    summary = ""

    def __init__(self, path: Path) -> None:
        self._file, self._frames = path.open("w"), 0

    def write(self, frame: Frame) -> None:
        self._frames += 1
        self._file.seek(0)
        self._file.write(str(self._frames))
        self._file.flush()

    def complete(self) -> None:
        self._file.close()

    discard = complete


def main(path: str, *values: str) -> None:
    settings = load_settings(None, dict(value.split("=", 1) for value in values))
    controls, statistics = Controls(settings), Statistics()
    source, engine = Paced(Looping(path), controls=controls), DiscEngine()
    window = PreviewWindow(source.info, controls, lambda: f"{statistics.live_text()}   {engine.name}")
    files = SnapshotSink(controls), RecordingSink(source.info, controls), Counter(Path("shown"))
    with TeeSink([window, *files]) as sink:
        run(source, engine, sink, settings, statistics=statistics, controls=controls)
    print(sink.summary.replace("; ", "\n"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except StreamsegError as error:
        sys.exit(f"error: {error}")
