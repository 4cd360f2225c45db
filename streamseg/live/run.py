"""The live tool as a whole: camera, network, outputs side by side, keys and page, until the user ends it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from streamseg.controls import Controls
from streamseg.decode import open_camera
from streamseg.decode.rest import always
from streamseg.errors import ConfigError
from streamseg.frames import VideoInfo
from streamseg.image import Pixels
from streamseg.infer.adaptive import AdaptiveNetwork, Rung, open_rung
from streamseg.infer.engines.base import Engine, SizedEngine, StreamedEngine
from streamseg.live.watch import FileWatcher
from streamseg.matting import MattingSession
from streamseg.model.precision import packaged_models
from streamseg.pipeline import run
from streamseg.settings import InferSettings, Settings
from streamseg.sink import WINDOW, BaseSink, open_sink
from streamseg.sink.display import check_display
from streamseg.sink.one_kind import OneKindSink
from streamseg.sink.snapshots import RecordingSink, SnapshotSink
from streamseg.sink.tee import TeeSink
from streamseg.sink.virtual import is_virtual_camera, watch_readers
from streamseg.sink.virtual.loopback import LoopbackCamera
from streamseg.sink.window import PreviewWindow
from streamseg.statistics import Statistics

if TYPE_CHECKING:
    from streamseg.live.sink import HttpSink

PAGE = "http"
"""What `--out` names the page with."""


def run_live(
    settings: Settings,
    config: Path | None = None,
    load: Callable[[], Settings] | None = None,
    frame_limit: int | None = None,
    token: str | None = None,
    say: Callable[[str], object] = print,
    on_frame: Callable[[Statistics], None] = lambda _: None,
) -> tuple[Statistics, str]:
    """Matte a camera until an output is closed, the source ends, or Ctrl-C.

    Args:
        settings: of all stages; `live` names camera and outputs.
        config: TOML file that is followed while the camera runs.
        load: reads the settings again after the file was saved.
        frame_limit: number of camera frames; None for no end.
        token: what opens the page, of 16 characters or more; made at random if None.
        say: takes lines for the user.
        on_frame: called after every finished frame.

    Returns:
        Statistics of the run, and a line on what was written where.

    Raises:
        StreamsegError: the camera or an output does not open, or the last output failed.
        KeyboardInterrupt: Ctrl-C, after the outputs have been finished.
    """
    controls, statistics = Controls(settings), Statistics()
    with ExitStack() as stack:
        outs = _check_outs(settings)
        _check_backgrounds(settings.live.backgrounds)
        wanted = always
        if settings.live.on_demand:
            readers = stack.enter_context(closing(watch_readers(_virtual(outs))))
            wanted = readers.wanted
            say(f"the camera waits for a reader of the virtual one, noticed by {readers.how}")
        camera = settings.live
        source = open_camera(camera.camera, camera.size, camera.fps, controls, wanted)
        stack.enter_context(source)
        say(source.granted)

        def tell(words: str) -> None:
            controls.notice = words
            say(words)

        def report(problem: object) -> None:
            controls.report(problem)
            say(str(problem))

        network = stack.enter_context(
            AdaptiveNetwork(lambda: controls.current.infer, source.info, tell, report, opener=_open_shared)
        )
        live = _Live(source.info, controls, statistics, network, token, say)
        sinks = live.open_all(outs)
        sink = TeeSink(sinks, tell, beside=(SnapshotSink(controls), RecordingSink(source.info, controls)))
        try:
            with sink, FileWatcher(controls, config, load or (lambda: settings)):
                run(
                    source,
                    network.engine,
                    sink,
                    settings,
                    frame_limit,
                    on_frame,
                    statistics=statistics,
                    controls=controls,
                    network=network,
                )
        except KeyboardInterrupt:
            print(f"stopped by Ctrl-C; {sink.summary}", file=sys.stderr)
            raise
    return statistics, sink.summary


class _Live:
    """What outputs of a live run are made from."""

    def __init__(
        self,
        info: VideoInfo,
        controls: Controls,
        statistics: Statistics,
        network: AdaptiveNetwork,
        token: str | None,
        say: Callable[[str], object],
    ) -> None:
        self._info, self._controls, self._statistics = info, controls, statistics
        self._network, self._token, self._say = network, token, say
        self._photos: tuple[Engine, MattingSession] | None = None

    def open_all(self, outs: Sequence[str]) -> list[BaseSink]:
        """Open all outputs; if one fails, those before it are discarded."""
        with ExitStack() as stack:
            sinks = [stack.enter_context(self.open(out)) for out in outs]
            stack.pop_all()
        return sinks

    def open(self, out: str) -> BaseSink:
        """Open an output by what `--out` says."""
        settings = self._controls.current
        if out == WINDOW:
            return PreviewWindow(self._info, self._controls, self._figures)
        if out == PAGE:
            page = self._open_page(settings)
            self._say(page.banner)
            return page
        if is_virtual_camera(out):
            camera = open_sink(out, self._info)
            if isinstance(camera, LoopbackCamera) and camera.hint:
                self._say(camera.hint)
            return camera
        kind = settings.composite.kind
        return OneKindSink(open_sink(out, self._info, kind, settings.output), kind)

    def _open_page(self, settings: Settings) -> HttpSink:
        from streamseg.live.sink import open_page

        return open_page(
            self._info,
            self._controls,
            self._statistics,
            self._matte_of,
            models=("auto", *packaged_models(settings.infer.precision)),
            engine=lambda: f"{self._network.rung}, {self._network.engine.name}",
            host=settings.live.host,
            port=settings.live.port,
            token=self._token,
        )

    def _figures(self) -> str:
        return f"{self._statistics.live_text()}   {self._network.rung.model}"

    def _matte_of(self, rgb: Pixels) -> Pixels:
        """Matte a photo with the running network, between two frames of the camera."""
        engine = self._network.engine
        if self._photos is None or self._photos[0] is not engine:
            self._photos = engine, MattingSession(engine=engine, smooth="none")
        return self._photos[1](rgb).alpha


class SharedEngine:
    """An engine that several threads may call: one after the other."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()
        self.name, self.device = engine.name, engine.device
        self.long_side_px = engine.long_side_px if isinstance(engine, SizedEngine) else None

    def alpha(self, frames: Tensor) -> Tensor:
        """See `Engine`."""
        with self._lock:
            return self._engine.alpha(frames)


def _open_shared(settings: InferSettings, rung: Rung) -> Engine:
    """Open the engine of a rung; those of a GPU queue calls themselves."""
    engine = open_rung(settings, rung)
    return engine if isinstance(engine, StreamedEngine) else SharedEngine(engine)


def _check_outs(settings: Settings) -> tuple[str, ...]:
    """Return the outputs.

    Raises:
        ConfigError: they do not go together.
        OutputError: there is no display for the window.
    """
    live = settings.live
    if live.on_demand and not any(map(is_virtual_camera, live.outputs)):
        raise ConfigError("--on-demand waits for a program that reads the virtual camera: add --out virtual")
    if live.host != "127.0.0.1" and PAGE not in live.outputs:
        raise ConfigError(f"--host {live.host} is for the page: add --out {PAGE}")
    doubled = {out for out in live.outputs if live.outputs.count(out) > 1}
    if doubled:
        raise ConfigError(f"--out {sorted(doubled)[0]} is given twice")
    if WINDOW in live.outputs:  # Before the camera and the network are opened.
        check_display()
    return live.outputs


def _check_backgrounds(folder: Path | None) -> None:
    """Raise ConfigError if the folder of backgrounds cannot be read."""
    try:
        if folder:
            next(folder.iterdir(), None)
    except OSError as error:
        raise ConfigError(
            f"cannot read the folder of backgrounds {folder}: {error.strerror}; give another --backgrounds"
        ) from error


def _virtual(outs: tuple[str, ...]) -> str:
    return next(filter(is_virtual_camera, outs))
