"""Snapshots and recordings of a live run: images and videos that the user asks for while frames pass by."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from streamseg.controls import Controls
from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.sink import open_file
from streamseg.sink.base import BaseSink
from streamseg.sink.images import make_folder, opaque, write_image
from streamseg.sink.lock import lock_of
from streamseg.sink.resume import part_of

QUEUE_FRAMES = 15
"""Frames that wait for the encoder of a recording, half a second of a camera's; more are dropped."""

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]


class SnapshotSink(BaseSink):
    """Writes the next frame after `Controls.ask_snapshot` as a PNG, with alpha if it has some, on a thread of its own.

    While one is being written, the next one waits for a later frame.
    """

    def __init__(self, controls: Controls, folder: Path = Path(), now: Clock = datetime.now) -> None:
        """Start without a snapshot.

        Args:
            controls: say when to take one, and get a notice of where it is.
            folder: where they go, as `streamseg-YYYY-MM-DD-HHMMSS.png`; made when needed.
            now: the local time.
        """
        self._controls, self._folder, self._now = controls, folder, now
        self._writer = ThreadPoolExecutor(1, "streamseg-snapshot")
        self._writing: Future[None] | None = None
        self._saved = 0
        self._last: Path | None = None

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return f"snapshots: {self._saved}, the last one {self._last}" if self._last else ""

    def write(self, frame: Frame) -> None:
        """Take the frame if a snapshot was asked for; never waits."""
        is_free = self._writing is None or self._writing.done()
        if is_free and self._controls.take_snapshot_request():
            self._writing = self._writer.submit(self._save, frame)

    def complete(self) -> None:
        """Wait for the snapshot that is being written."""
        self._writer.shutdown()

    discard = complete

    def _save(self, frame: Frame) -> None:
        try:
            path = self._reserved()
            try:
                write_image(path, frame.pixels, pixel_aspect=frame.pixel_aspect)
            except BaseException:
                path.unlink()
                raise
        except Exception as error:  # Whatever it is, the run goes on.
            _report(self._controls, f"no snapshot: {error}")
            return
        self._saved, self._last = self._saved + 1, path
        _tell(self._controls, f"saved {path}")

    def _reserved(self) -> Path:
        """Create the file, empty, under a name that nobody had before."""
        make_folder(self._folder)
        while True:
            path = free_path(self._folder, self._now(), ".png")
            try:
                path.touch(exist_ok=False)
            except FileExistsError:  # By another program, just now.
                continue
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror}") from error
            return path


class RecordingSink(BaseSink):
    """Writes the frames to a video while `recording` is on in the controls, each time to a new one.

    Each video has a thread of its own. Where the encoder does not keep up, frames are dropped; what fails becomes a
    notice and switches the recording off.
    """

    def __init__(self, info: VideoInfo, controls: Controls, folder: Path = Path(), now: Clock = datetime.now) -> None:
        """Start without a recording.

        Args:
            info: size and rate of the frames.
            controls: say when to record, and get a notice of what was recorded.
            folder: where videos go, as `streamseg-YYYY-MM-DD-HHMMSS.mp4`; made when needed.
            now: the local time.
        """
        self._info = VideoInfo(info.width_px, info.height_px, info.rate, live=True, pixel_aspect=info.pixel_aspect)
        self._controls, self._folder, self._now = controls, folder, now
        self._recordings: list[_Recording] = []

    @property
    def summary(self) -> str:
        """See `Sink`."""
        written = [recording.summary for recording in self._recordings if recording.summary]
        return f"recordings: {len(written)}, the last one {written[-1]}" if written else ""

    @property
    def dropped(self) -> int:
        """Number of frames that no encoder had time for."""
        return sum(recording.dropped for recording in self._recordings)

    def write(self, frame: Frame) -> None:
        """Hand the frame to the recording, if there is one; never waits."""
        current = self._current
        if current and current.error:
            current.stop()
            self._controls.change(recording=False)
        wanted = self._controls.current.live.recording
        if current and not wanted:
            current.stop()
        elif wanted:
            if not current:
                current = _Recording(self._info, self._folder, self._now(), self._controls)
                self._recordings.append(current)
            current.put(frame)

    def complete(self) -> None:
        """Complete the videos, also where the run ended with an error."""
        for recording in self._recordings:
            recording.stop()
        for recording in self._recordings:
            recording.join()

    discard = complete

    @property
    def _current(self) -> _Recording | None:
        newest = self._recordings[-1] if self._recordings else None
        return newest if newest and not newest.is_stopped else None


class _Recording:
    """One video, encoded on a thread of its own.

    Attributes:
        error: what failed.
        dropped: number of frames that the encoder had no time for.
        is_stopped: no more frames come.
        summary: what was written, once the video is complete.
    """

    _opening = threading.Lock()

    def __init__(self, info: VideoInfo, folder: Path, begun: datetime, controls: Controls) -> None:
        self._info, self._folder, self._begun, self._controls = info, folder, begun, controls
        self._frames: SimpleQueue[Frame | None] = SimpleQueue()
        self.error: Exception | None = None
        self.dropped, self.is_stopped, self.summary = 0, False, ""
        self._thread = threading.Thread(target=self._run, name="streamseg-recording")
        self._thread.start()

    def put(self, frame: Frame) -> None:
        """Hand over a frame, or drop it; never waits."""
        if self._frames.qsize() < QUEUE_FRAMES:
            self._frames.put(frame)
        else:
            self.dropped += 1

    def stop(self) -> None:
        """Let the thread complete the video once it has written the frames that wait."""
        if not self.is_stopped:
            self.is_stopped = True
            self._frames.put(None)

    def join(self) -> None:
        """Wait until the video is complete."""
        self._thread.join()

    def _run(self) -> None:
        path: Path | None = None
        try:
            path, sink = self._opened()
            with sink:
                self._write_to(sink)
        except Exception as error:  # A bug of an encoder must not end the meeting either.
            self.error = error
            left = f"; what was recorded is in {part_of(path)}" if path and part_of(path).exists() else ""
            _report(self._controls, f"recording stopped: {error}{left}")
            return
        dropped = f", {self.dropped} frames dropped: the encoder did not keep up" if self.dropped else ""
        self.summary = f"{path}{dropped}"
        _tell(self._controls, f"saved {self.summary}")

    def _opened(self) -> tuple[Path, BaseSink]:
        with self._opening:
            make_folder(self._folder)
            path = free_path(self._folder, self._begun, ".mp4")
            return path, open_file(path, self._info, "composite")

    def _write_to(self, sink: BaseSink) -> None:
        """Write frames until there are no more, as opaque RGB or YUV and with timestamps that start at 0."""
        start: Fraction | None = None
        for index, frame in enumerate(iter(self._frames.get, None)):
            start = frame.pts if start is None else start
            image = opaque(frame.image)
            sink.write(replace(frame, index=index, pts=frame.pts - start, image=image))


def free_path(folder: Path, when: datetime, suffix: str) -> Path:
    """Return a path that no file has and that no run is writing: `streamseg-YYYY-MM-DD-HHMMSS.png`, or `...-2.png`."""
    stem = f"streamseg-{when:%Y-%m-%d-%H%M%S}"
    paths = (folder / f"{stem}{'' if number == 1 else f'-{number}'}{suffix}" for number in count(1))
    return next(path for path in paths if not any(other.exists() for other in (path, part_of(path), lock_of(path))))


def _tell(controls: Controls, words: str) -> None:
    controls.notice = words
    log.info(words)


def _report(controls: Controls, words: str) -> None:
    controls.report(words)
    log.info(words)
