"""A video's frames with their mattes: out of the file's own alpha, out of a luma matte, or computed by the pipeline."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from streamseg.composite.stage import finish
from streamseg.decode import BaseSource, TimeRange, open_source
from streamseg.decode.time_range import WHOLE
from streamseg.errors import InputError
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.image import Pixels
from streamseg.infer.select import engine_for
from streamseg.model.precision import chosen_model
from streamseg.pipeline import RUN_AHEAD, Prefetch, mattes
from streamseg.settings import Settings
from streamseg.sink.sidecar import matte_path
from streamseg.yuv import AnyImage, YuvImage

PROBE_FRAMES, PROBE_STEP = 300, 10
"""Alpha and luma mattes are known by every tenth of the first 300 frames: titles in black and white are shorter."""

GREY_LEVELS = 6
"""Largest difference of colour channels, in levels of 255, that a codec makes of grey."""

EXTREME_LEVELS = 12
"""Levels from black and from white that count as such."""

EXTREME_SHARE = 0.85
"""Share of black and white pixels from which on a grey frame is a matte: photographs have far fewer."""

WHITE_SHARE = 0.002
"""Share of white pixels from which on a matte shows something."""

OF_A_PART = "if it was made with --start or --end, give the same here"


@dataclass(frozen=True, slots=True, eq=False)
class MattedFrame:
    """A frame and its matte.

    Attributes:
        frame: as decoded.
        matte: `(H, W)` uint8 of the frame's size.
    """

    frame: Frame
    matte: Pixels


@dataclass(slots=True)
class MattedVideo:
    """A video whose frames have mattes.

    Attributes:
        info: of the frames.
        origin: where the mattes come from, for people.
        shows_background: the frames show what is behind the subject, too; a foreground with alpha and a luma matte
            alone do not.
        frames: in order, to be read once.
        warning: after the last frame, one line on what was wrong with the files, or None.
    """

    info: VideoInfo
    origin: str
    shows_background: bool
    frames: Generator[MattedFrame] = field(init=False)
    warning: str | None = None


@contextmanager
def open_matted(
    video: str, matte: str | None, settings: Settings, time_range: TimeRange = WHOLE
) -> Iterator[MattedVideo]:
    """Open a video with its mattes.

    The mattes are those of `matte`; else the file's own alpha, stacked alpha included; else those of the sidecar
    `x.alpha.mp4` beside `x.mp4`; else, if the video is a luma matte, its luma; else the pipeline computes them.

    Args:
        video: what `open_source` takes.
        matte: another file with the mattes, as alpha or as luma; None to find them as above.
        settings: of the pipeline, if it has to compute mattes.
        time_range: the part of `video` that is read; `matte` is that of this part.

    Raises:
        InputError: a file cannot be read, or `matte` does not go with `video`.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_source(video, time_range))
        has_alpha = not matte and _has_alpha(video)
        sidecar = None if matte or has_alpha else _sidecar_of(video)
        if has_alpha:
            matted = MattedVideo(source.info, "the file's own alpha", shows_background=False)
            matted.frames = _own(source, matted)
        elif matte or sidecar:
            file = matte or str(sidecar)
            other = stack.enter_context(open_source(file, WHOLE if matte else time_range))
            matted = MattedVideo(source.info, f"matte in {Path(file).name}", shows_background=True)
            matted.frames = _paired(source, other, matted)
        elif is_luma_matte(video):
            matted = MattedVideo(source.info, "luma matte, without its frames", shows_background=False)
            matted.frames = _own(source, matted)
        else:
            matted = _computed(source, settings)
        with closing(matted.frames):
            yield matted


def _has_alpha(video: str) -> bool:
    """Whether a video has alpha that is not opaque throughout, as that of a recording of a screen is."""
    with open_source(video) as source:
        for frame in islice(source, 0, PROBE_FRAMES, PROBE_STEP):
            if frame.kind != "foreground":
                return False
            if frame.pixels[..., 3].min() < 255:
                return True
    return False


def is_luma_matte(video: str) -> bool:
    """Whether a video without alpha is a matte: all of it grey, almost all of it black or white, and not all black."""
    shows_something = False
    with open_source(video) as source:
        for frame in islice(source, 0, PROBE_FRAMES, PROBE_STEP):
            luma = luma_matte(frame.image)
            black, white = (float(share.mean()) for share in (luma < EXTREME_LEVELS, luma > 255 - EXTREME_LEVELS))
            if not _is_grey(frame.image) or black + white < EXTREME_SHARE:
                return False
            shows_something |= white > WHITE_SHARE
    return shows_something


def luma_matte(image: AnyImage) -> Pixels:
    """Return a frame's luma as a matte `(H, W)` uint8, with 255 for white."""
    scale = 255 / (image.white - image.black)
    stretched = cv2.addWeighted(image.y, scale, image.y, 0, -image.black * scale)
    return stretched.astype(np.uint8, copy=False)


def _is_grey(image: AnyImage) -> bool:
    if isinstance(image, YuvImage):
        return max(int(np.ptp(plane)) for plane in (image.cb, image.cr)) <= GREY_LEVELS
    small = image.resized_rgb(64, 64).astype(np.int16)
    return int(np.ptp(small, axis=2).max()) <= GREY_LEVELS


def _sidecar_of(video: str) -> str | None:
    """Return the matte that `streamseg video --alpha sidecar` wrote beside a video, if there is one."""
    path = Path(video)
    if not path.is_file():
        return None
    sidecar = matte_path(path)
    return str(sidecar) if sidecar.is_file() else None


def _own(source: BaseSource, matted: MattedVideo) -> Generator[MattedFrame]:
    """Yield frames with their own alpha, or luma, while the decoder runs ahead."""
    with Prefetch(source, RUN_AHEAD, name="decode") as frames:
        for frame in frames:
            yield MattedFrame(frame, _matte_of(frame))
    matted.warning = source.decode_error


def _matte_of(frame: Frame) -> Pixels:
    """Return a frame's alpha, or its luma if it has none."""
    return np.ascontiguousarray(frame.pixels[..., 3]) if frame.kind == "foreground" else luma_matte(frame.image)


def _paired(source: BaseSource, other: BaseSource, matted: MattedVideo) -> Generator[MattedFrame]:
    """Yield the frames of one file with the mattes of another; both are taken to begin with the same frame.

    Raises:
        InputError: the two differ in shape, or in their frames' times.
    """
    with Prefetch(source, RUN_AHEAD, name="decode") as frames, Prefetch(other, RUN_AHEAD, name="decode matte") as pair:
        theirs = iter(pair)
        count, offset = 0, Fraction(0)
        for frame in frames:
            match = next(theirs, None)
            if match is None:
                matted.warning = f"the matte ends after {counted(count, 'frame')}, before the video does; {OF_A_PART}"
                return
            offset = offset if count else frame.pts - match.pts  # Containers start their clocks differently.
            _check_pair(frame, match, offset, source.info.rate)
            yield MattedFrame(frame, _fitted(_matte_of(match), frame.image.shape))
            count += 1
        if next(theirs, None) is not None:
            matted.warning = f"the video ends after {counted(count, 'frame')}, before the matte does"
    matted.warning = matted.warning or source.decode_error or other.decode_error


def _check_pair(frame: Frame, match: Frame, offset: Fraction, rate: Fraction) -> None:
    height, width = frame.image.shape[:2]
    matte_height, matte_width = match.image.shape[:2]
    if abs(width * matte_height - height * matte_width) > max(height, width) * 2:
        raise InputError(
            f"the matte is {matte_width}x{matte_height} px and the video {width}x{height}; give the matte of this video"
        )
    theirs = match.pts + offset
    if abs(frame.pts - theirs) > 1 / (2 * rate):
        raise InputError(
            f"frame {frame.index} is at {float(frame.pts):.3f} s in the video and at {float(theirs):.3f} s in the "
            "matte; give the matte of this video"
        )


def _fitted(matte: Pixels, shape: tuple[int, ...]) -> Pixels:
    if matte.shape == shape[:2]:
        return matte
    return cv2.resize(matte, shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def _computed(source: BaseSource, settings: Settings) -> MattedVideo:
    """Have the pipeline compute mattes."""
    chosen = engine_for(settings.infer, source.info)
    origin = f"computed with {chosen_model(chosen.settings)} on {chosen.engine.name}"
    matted = MattedVideo(source.info, origin, shows_background=True)

    def frames() -> Generator[MattedFrame]:
        with closing(mattes(source, chosen.engine, settings)) as batches:
            for batch in batches:
                for frame, alpha in zip(batch.frames, batch.alpha, strict=True):
                    yield MattedFrame(frame, finish(frame, alpha[0].numpy(), None, matte_only=True).pixels)
        matted.warning = source.decode_error

    matted.frames = frames()
    return matted
