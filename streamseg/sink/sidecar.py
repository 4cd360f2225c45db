"""Sidecar alpha: the matte in a video file of its own, which editors call a luma matte."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from streamseg.errors import StreamsegError
from streamseg.frames import Frame, VideoInfo
from streamseg.media.storage import AnyPath
from streamseg.sink.base import BaseSink
from streamseg.sink.formats import Encoding
from streamseg.sink.parts import Part
from streamseg.sink.record import MadeFrom
from streamseg.sink.resume import BEGINNING, part_of
from streamseg.sink.video import VideoSink
from streamseg.yuv import RgbImage

PathKind = TypeVar("PathKind", bound=AnyPath)


class SidecarSink(BaseSink):
    """Two files: `x.mp4` with the colours and the sound, and `x.alpha.mp4` with the matte."""

    def __init__(
        self,
        path: Path,
        matte_path: Path,
        info: VideoInfo,
        colour: Encoding,
        matte: Encoding,
        resume_at: Fraction = BEGINNING,
        made_from: MadeFrom | None = None,
    ) -> None:
        self.resume_at = resume_at
        self._colour = VideoSink(path, info, colour, resume_at, made_from)
        self._matte_path = matte_path
        try:
            silent = replace(info, path=None, background_sound=None)
            self._matte = VideoSink(self._matte_path, silent, matte, resume_at, made_from)
        except StreamsegError:
            self._colour.discard()
            raise

    @property
    def summary(self) -> str:
        """See `Sink`."""
        return f"{self._colour.summary}; luma matte in {self._matte_path}"

    def write(self, frame: Frame) -> None:
        """See `Sink`; takes foregrounds `(H, W, 4)`."""
        self._colour.write(replace(frame, image=RgbImage(frame.pixels[..., :3])))
        self._matte.write(replace(frame, image=RgbImage(frame.pixels[..., 3])))

    def take(self, part: Part) -> None:
        """See `JoiningSink`; the part's matte is in a file beside it, too."""
        self._colour.take(part)
        self._matte.take(replace(part, path=matte_path(part.path)))

    def complete(self) -> None:
        """See `BaseSink`; either both files get their final names or neither does."""
        self._complete(is_cut_short=False)

    def cut_short(self) -> None:
        """See `BaseSink`."""
        self._complete(is_cut_short=True)

    def discard(self) -> None:
        """See `BaseSink`."""
        self._colour.discard()
        self._matte.discard()

    def _complete(self, is_cut_short: bool) -> None:
        try:
            self._matte.finish(is_cut_short)
        except BaseException:
            self._colour.discard()
            raise
        self._colour.finish(is_cut_short)
        self._colour.verify()
        self._matte.verify()
        self._matte.place()
        try:
            self._colour.place()
        except BaseException:
            with suppress(OSError):
                os.replace(self._matte_path, part_of(self._matte_path))
            raise


def matte_path(path: PathKind) -> PathKind:
    """Return the path of the matte beside the file of the colours, `x.alpha.mp4` for `x.mp4`."""
    return path.with_name(f"{path.stem}.alpha{path.suffix}")  # type: ignore[return-value]
