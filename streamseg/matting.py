"""The library's front door: one image, a loop of one's own, a stream, or a whole file.

How they are called:

    result = ss.matte("portrait.jpg")               # .alpha .foreground .rgba .over("beach.jpg")
    session = ss.MattingSession("lite")
    for pts, frame in my_camera():                  # one at a time; the temporal filter's state is kept
        shown = session(frame, pts=pts).over("blur")
    for result in session.stream("talk.mp4"):       # decoder and network run ahead on threads
        ...
    ss.convert("talk.mp4", "cut.webm")              # what `streamseg video` does
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from numbers import Rational
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsFloat, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from streamseg.composite.background import KINDS, Background, BackgroundSpec, Fit, open_background
from streamseg.composite.foreground import foreground_colour, multilevel_colour
from streamseg.composite.guided_filter import refine
from streamseg.composite.look import Look
from streamseg.composite.stage import composed, with_alpha
from streamseg.decode import BaseSource, Source, TimeRange, open_source
from streamseg.decode.base import check_size
from streamseg.decode.given import given_pixels
from streamseg.decode.images import read_image
from streamseg.decode.time_range import WHOLE, Time
from streamseg.errors import ConfigError, InputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.infer.crops import infer_with_crops
from streamseg.infer.engines import load_engine
from streamseg.infer.engines.base import Engine
from streamseg.infer.select import engine_for
from streamseg.media.storage import path_of
from streamseg.pipeline import mattes, run
from streamseg.settings import AUTO, CompositeSettings, Settings, load_settings
from streamseg.sink import open_sink
from streamseg.sink.made_from import made_from
from streamseg.sink.mix import with_background_sound
from streamseg.sink.overwriting import outputs_of, refuse_overwriting
from streamseg.smooth.stage import MatteSmoother
from streamseg.statistics import Statistics
from streamseg.yuv import RgbImage

ImageLike = str | Path | Pixels | Image.Image | Tensor
"""What `MattingSession.__call__` takes."""

DEFAULT_FRAME_SECONDS = Fraction(1, 25)
"""From one frame of a loop to the next, where no pts is given."""

PROGRESS_SECONDS = 1.0
"""How often `convert` tells its progress."""


KEPT_SESSIONS = 2
"""Networks that `matte` keeps loaded: those that were asked for last."""


class Result:
    """One frame and its matte; what is asked for is made once, when it is first asked for.

    All arrays have the frame's size and are uint8: RGB, straight alpha, 255 = foreground.

    Attributes:
        frame: the frame that came in.
    """

    def __init__(self, frame: Frame, alpha: Tensor, backgrounds: _Backgrounds) -> None:
        """Keep the network's alpha `(1, h, w)` in [0, 1]; a session makes results."""
        self.frame = frame
        self._small_alpha, self._backgrounds, self._settings = alpha, backgrounds, backgrounds.settings

    @property
    def pts(self) -> Fraction:
        """The frame's presentation time in seconds."""
        return self.frame.pts

    @cached_property
    def alpha(self) -> Pixels:
        """The matte `(H, W)`, feathered if the settings say so; a frame's own alpha holds too."""
        return composed(self.frame, self._matte, None, True, Look.of(self._settings)).pixels

    @cached_property
    def foreground(self) -> Pixels:
        """The foreground's own colour `(H, W, 3)`, without what shines through soft edges.

        Source: see `composite.foreground`.
        """
        own = foreground_colour if self._settings.foreground == "fast" else multilevel_colour
        return own(self.frame.image.rgb, self.alpha)

    @cached_property
    def rgba(self) -> Pixels:
        """The foreground `(H, W, 4)`: `foreground` and `alpha`."""
        return with_alpha(self.foreground, self.alpha)

    def over(self, background: BackgroundSpec, fit: Fit | None = None) -> Pixels:
        """Set the foreground before a background, with the look of the session's settings.

        Args:
            background: a path, a colour (`"green"`, `"#00b140"`), `"blur"`, an array `(H, W, 3)`, a PIL image, a
                tensor, or a function from the frame's RGB to one of these. Files are opened once a stream; videos play
                along with the frames. An array is fitted once and must not change: give another one, or a function.
            fit: how an image or a video fills the frame; None for what the settings say.

        Returns:
            RGB `(H, W, 3)`.

        Raises:
            InputError: it is none of these, or cannot be read.
        """
        opened, look = self._backgrounds.opened(background, fit or self._settings.fit)
        return composed(self.frame, self._matte, opened, False, look, self._settings.foreground).rgb

    @cached_property
    def _matte(self) -> Pixels:
        return refine(self.frame.image, self._small_alpha[0].numpy())


class MattingSession:
    """Mattes frames one after the other with one network, and keeps the temporal filter's state between them.

    Frame by frame it cannot look ahead: `stream` and `convert`, whose mattes wait for the next frames, are steadier.

    A session is for one stream and one thread. It may be closed, or used in `with`: that closes background videos.
    """

    def __init__(self, model: str = "auto", *, engine: str | Engine = "auto", **settings: Any) -> None:
        """Choose the network; it is loaded with the first frame.

        Args:
            model: packaged weights (`streamseg weights list`), a weights file, an ONNX graph, or `auto`.
            engine: `auto`, a name, or an `Engine` of your own, which then is the network.
            settings: any of `streamseg.settings`, by its name: `device`, `smooth`, `input_size`, `stride` and so on.

        Raises:
            ConfigError: a setting is unknown or out of range.
        """
        name, self._own_engine = _named_or_own(engine)
        self.settings = load_settings(overrides={"model": model, "engine": name, **settings})
        self._backgrounds = _Backgrounds(self.settings.composite)
        self.reset()

    def reset(self) -> None:
        """Forget the frames before: the next one begins another stream, and background videos begin anew."""
        self._begin_backgrounds()
        self._smoother, self._count = MatteSmoother(self.settings.smooth), 0
        self._last_pts: Fraction | None = None

    def __call__(self, image: ImageLike, pts: float | Fraction | None = None) -> Result:
        """Matte the next frame.

        Args:
            image: RGB `(H, W, 3)` or RGBA `(H, W, 4)` uint8, a PIL image, a path, or a tensor on any device: uint8
                `(H, W, 3)`, uint8 or float in [0, 1] `(3, H, W)`. PIL images of mode I have levels of 16 bits, of mode
                F floats in [0, 1].
            pts: the frame's time in seconds, which the temporal filter goes by; 1/25 s after the last if not given. A
                time that does not come after the last one starts the filter afresh, and an earlier one background
                videos too.

        Raises:
            InputError: the image cannot be read, is too small, or is no image; or `pts` is no number.
            EngineError: no inference engine opens.
            WeightsError: the weights are missing or damaged.
        """
        last_pts = self._last_pts
        if pts is None:
            pts = Fraction(0) if last_pts is None else last_pts + DEFAULT_FRAME_SECONDS
        frame = Frame(self._count, _exact(pts), RgbImage(as_pixels(image)))
        if last_pts is not None and frame.pts < last_pts:
            self._begin_backgrounds()
        self._count, self._last_pts = self._count + 1, frame.pts
        batch = next(infer_with_crops([frame], self._engine, self.settings.infer))
        return Result(frame, self._smoother.step(frame, batch.alpha[0]), self._backgrounds)

    def stream(self, source: str | Path | Source) -> Iterator[Result]:
        """Matte a whole source; decoder and network run ahead on threads of their own, which end with the iterator.

        Args:
            source: a video, an animation, a photo, a folder of photos, `testsrc`, or any `Source`, such as what
                `open_camera` returns: of a live one only the newest frame is matted.

        Raises:
            StreamsegError: the source cannot be read, or as for a single frame.
        """
        opened = _opened(source)
        self._begin_backgrounds()
        with closing(opened):
            chooses = opened.info.live and not self._own_engine
            engine = engine_for(self.settings.infer, opened.info).engine if chooses else self._engine
            with closing(mattes(opened, engine, self.settings)) as batches:
                for batch in batches:
                    for frame, alpha in zip(batch.frames, batch.alpha, strict=True):
                        yield Result(frame, alpha, self._backgrounds)

    def close(self) -> None:
        """Close the background videos that results were set before."""
        self._backgrounds.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin_backgrounds(self) -> None:
        """Let background videos begin anew; results that were given before keep to the stream that they are of."""
        self._backgrounds.close()
        self._backgrounds = _Backgrounds(self.settings.composite)

    @cached_property
    def _engine(self) -> Engine:
        """The network of files and single frames, loaded when the first one comes."""
        return self._own_engine or load_engine(self.settings.infer)


def matte(image: ImageLike, model: str = "auto", **settings: Any) -> Result:
    """Matte one image as it is, without the gate; the last two networks that were asked for stay loaded.

    Args:
        image: see `MattingSession.__call__`.
        model: see `MattingSession`.
        settings: see `MattingSession`.

    Raises:
        StreamsegError: as `MattingSession` and its call.
    """
    name, own_engine = _named_or_own(settings.pop("engine", "auto"))
    chosen = load_settings(overrides={"gate": False, "model": model, "engine": name, **settings})
    with _one_at_a_time:
        session = _session_of(chosen, own_engine) if own_engine else _session(chosen)
        session.reset()
        return session(image)


@dataclass(frozen=True, slots=True)
class Converted:
    """What `convert` did.

    Attributes:
        summary: one line on what was written.
        decode_error: one line on what of the source could not be decoded, or None.
        statistics: frames, times and latencies.
    """

    summary: str
    decode_error: str | None
    statistics: Statistics


def convert(
    source: str | Path | Source,
    out: str | Path,
    background: BackgroundSpec | None = None,
    *,
    progress: Callable[[Statistics], object] | None = None,
    start: Time | None = None,
    end: Time | None = None,
    resume: bool = False,
    engine: str | Engine = "auto",
    **settings: Any,
) -> Converted:
    """Matte a file as `streamseg video` does: its sound, timing and colours stay; without a background it has alpha.

    Args:
        source: a video, an animation, a photo, a folder of photos, or any `Source`.
        out: what the name says: `x.mov`, `.webm`, `.mkv`, `.mp4`, `.webp`, `.gif`, `.apng`, `x_%05d.png`, a folder.
        background: see `Result.over`; none for a transparent output.
        progress: called about once a second, and at the end, with what was done so far; `print` shows a line.
        start: begin here: `90`, `"1:30.5"`; only for a path.
        end: end before this; only for a path.
        resume: go on with what an interrupted run left; refused if the settings, the source or the background differ.
            A source, background function or engine of your own is taken to be the same.
        engine: `auto`, a name, or an `Engine` of your own.
        settings: any of `streamseg.settings`, by its name.

    Raises:
        ConfigError: a setting is unknown or out of range, or the background is given as `bg` too.
        StreamsegError: the source cannot be read, or the output not written, or it is the source or the background.
    """
    if background is not None and settings.get("bg") is not None:
        raise ConfigError(f"the background is given twice, as an argument and as bg={settings['bg']!r}: give one")
    if isinstance(background, str | Path):
        settings, background = {"bg": str(background), **settings}, None
    name, own_engine = _named_or_own(engine)
    chosen = load_settings(overrides={"engine": name, **settings})
    statistics, time_range = Statistics(), TimeRange.of(start, end)
    with ExitStack() as stack:
        opened = _opened(source, time_range)
        stack.enter_context(closing(opened))
        behind = None
        if background is not None:
            behind = stack.enter_context(closing(open_background(background, chosen.composite.fit)))
        kind = "composite" if behind and not chosen.composite.matte_only else chosen.composite.kind
        read = source if isinstance(source, str | Path) else opened.info.path
        refuse_overwriting(outputs_of(str(out), kind, chosen.output), read, chosen.composite.bg)
        running = own_engine or engine_for(chosen.infer, opened.info).engine
        info = with_background_sound(opened.info, chosen.composite)
        given = made_from(read, _named(chosen, background, own_engine), time_range)
        with open_sink(str(out), info, kind, chosen.output, resume, made_from=given) as sink:
            told = _Progress(progress)
            run(opened, running, sink, chosen, on_frame=told.update, statistics=statistics, background=behind)
    if progress:
        progress(statistics)
    decode_error = opened.decode_error if isinstance(opened, BaseSource) else None
    return Converted(sink.summary, decode_error, statistics)


def as_pixels(image: ImageLike) -> Pixels:
    """Turn what a user has into RGB `(H, W, 3)` or RGBA `(H, W, 4)`, uint8; see `MattingSession.__call__`.

    Raises:
        InputError: it cannot be read, is too small, or is no image.
    """
    if isinstance(image, str | Path):
        pixels = read_image(path_of(image))
    else:
        pixels = given_pixels(image, "an image", "a path, an array, a PIL image or a tensor")
    check_size(pixels.shape, "the image")
    return np.ascontiguousarray(pixels)


def _exact(pts: SupportsFloat) -> Fraction:
    """Return a number of seconds as it is, without rounding.

    Raises:
        InputError: it is no number.
    """
    try:
        return Fraction(pts if isinstance(pts, Rational | Decimal) else float(pts))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"pts is a number of seconds; got {pts!r}") from error


def _named_or_own(engine: str | Engine) -> tuple[str, Engine | None]:
    """The engine's name for the settings, and the engine itself if it is the user's own."""
    return (engine, None) if isinstance(engine, str) else ("auto", engine)


def _named(settings: Settings, background: BackgroundSpec | None, engine: Engine | None) -> Settings:
    """Return settings that name one's own background and engine, which has no weights, for the record of a file."""
    composite, infer = settings.composite, settings.infer
    if callable(background):
        composite = composite.model_copy(update={"bg": type(background).__name__})
    elif background is not None:
        pixels = given_pixels(background, "a background", KINDS)
        composite = composite.model_copy(update={"bg": f"image {hashlib.sha256(pixels.tobytes()).hexdigest()}"})
    if engine:
        infer = infer.model_copy(update={"engine": engine.name, "model": AUTO, "precision": AUTO})
    return settings.model_copy(update={"composite": composite, "infer": infer})


def _opened(source: str | Path | Source, time_range: TimeRange = WHOLE) -> Source:
    if isinstance(source, str | Path):
        return open_source(str(source), time_range)
    if not isinstance(getattr(source, "info", None), VideoInfo):
        raise InputError(f"a source is a path, or an object with info and frames; got {type(source).__name__}")
    return source


_Scene: TypeAlias = tuple[Background, Look | None]
"""A background, and the look of the frames before it."""


class _Backgrounds:
    """The opened backgrounds of a session: all that have a name, and the last array or function.

    Attributes:
        settings: of the session.
    """

    def __init__(self, settings: CompositeSettings) -> None:
        self.settings = settings
        self._files: dict[tuple[str, Fit], _Scene] = {}
        self._last: tuple[BackgroundSpec, Fit, _Scene] | None = None

    def opened(self, background: BackgroundSpec, fit: Fit) -> _Scene:
        if not isinstance(background, str | Path):
            if self._last is None or self._last[0] is not background or self._last[1] != fit:
                # Another picture of one stream: matched colours go on from where they are.
                look = self._last[2][1] if self._last else Look.of(self.settings)
                self._last = background, fit, (open_background(background, fit), look)
            return self._last[2]
        key = (str(background), fit)
        if key not in self._files:
            self._files[key] = open_background(background, fit, self.settings.blur), Look.of(self.settings)
        return self._files[key]

    def close(self) -> None:
        """Close the files, and forget what was seen before the backgrounds."""
        while self._files:
            self._files.popitem()[1][0].close()
        self._last = None


class _Progress:
    """Tells how far a run is, at most once in `PROGRESS_SECONDS`."""

    def __init__(self, progress: Callable[[Statistics], object] | None) -> None:
        self._progress, self._told = progress, time.monotonic()

    def update(self, statistics: Statistics) -> None:
        if self._progress and time.monotonic() - self._told >= PROGRESS_SECONDS:
            self._told = time.monotonic()
            self._progress(statistics)


_one_at_a_time = threading.Lock()


@lru_cache(maxsize=KEPT_SESSIONS)
def _session(settings: Settings) -> MattingSession:
    return _session_of(settings, settings.infer.engine)


def _session_of(settings: Settings, engine: str | Engine) -> MattingSession:
    values = {name: value for _, section in settings for name, value in section}
    return MattingSession(**{**values, "engine": engine})
