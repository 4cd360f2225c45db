"""Mix: the sound of a background video beside the main sound of the source, or alone where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition

from streamseg.composite.background import video_of
from streamseg.errors import ConfigError, InputError, OutputError
from streamseg.frames import BackgroundSound, VideoInfo
from streamseg.media.storage import AnyPath
from streamseg.settings import CompositeSettings
from streamseg.sink.metadata import inherit_track
from streamseg.sink.samples import LoopedSamples, SampleFormat, TrackSamples, main_sound
from streamseg.sink.sound import add_encoder
from streamseg.sink.track_action import AUDIO_ENCODERS, codec_of, decodable, open_source_file

PIECE_SAMPLES = 1024
"""Samples that are mixed at a time."""

PLANAR_FLOATS = "fltp"
LEAVE_OUT = "leave out --bg-sound"


def with_background_sound(info: VideoInfo, settings: CompositeSettings) -> VideoInfo:
    """Return what an output is opened with, with the sound of the background if the settings ask for it.

    Raises:
        ConfigError: there is no background video, or it has no sound.
        InputError: the background cannot be read.
    """
    return replace(info, background_sound=background_sound(settings))


def background_sound(settings: CompositeSettings) -> BackgroundSound | None:
    """Return the sound of the background if the settings ask for it; a matte has none.

    Raises:
        ConfigError: there is no background video, or it has no sound.
        InputError: the background cannot be read.
    """
    if not settings.bg_sound or settings.matte_only:
        return None
    video = video_of(settings.bg) if settings.bg else None
    if not video:
        given = f"{settings.bg} is none" if settings.bg else "there is none"
        raise ConfigError(f"--bg-sound is the level of a background video's sound, and {given}: give one as --bg")
    if not _has_sound(video):
        raise ConfigError(f"the background {video} has no sound: {LEAVE_OUT}")
    return BackgroundSound(video, settings.bg_sound)


def check_holds_sound(out: object, sound: BackgroundSound | None) -> None:
    """Raise OutputError for an output without sound, if that of a background is asked for."""
    if sound:
        raise OutputError(f"{out} holds no sound: {LEAVE_OUT}, or name a video file")


class MixedSound:
    """The track of an output that has the sound of a background video in it; it is as long as the video.

    It begins with the first frame, or with the source's sound if that begins before.

    Attributes:
        main_index: of the source's track that is in it, which then is not to be copied; None if there is none.
        what: the codecs that it is made from, and the one that it is in.
    """

    def __init__(self, output: OutputContainer, info: VideoInfo, sound: BackgroundSound) -> None:
        """Add the track to the output and open what is read.

        Args:
            output: the container.
            info: names the source.
            sound: of the background.

        Raises:
            OutputError: a sound cannot be decoded.
            av.FFmpegError: a file cannot be read.
        """
        self._sound, self._info = sound, info
        self.main_index: int | None = None
        codec = AUDIO_ENCODERS[output.format.name]
        with ExitStack() as stack:
            behind = main_sound(stack.enter_context(open_source_file(sound.path)))
            main = main_sound(stack.enter_context(open_source_file(info.path))) if info.path else None
            assert behind is not None
            self._stream = _add_track(output, main, behind, codec)
            self.what = _what(main, behind, codec)
            self.main_index = main.index if main else None
            self._behind_index = behind.index
        context = self._stream.codec_context
        self._format = SampleFormat(context.sample_rate, context.layout.name)
        self._source = self._open_source()
        self._behind: LoopedSamples | None = None
        self._next = 0

    def begin_earlier(self, seconds: Fraction) -> None:
        """Let 0 in the output be an earlier time of the source, by `seconds`; before the first packet."""
        self._info = replace(self._info, start_time=self._info.start_time - seconds)
        if self._source:
            self._source.close()
        self._source = self._open_source()

    def packets(self, until: Fraction) -> Iterator[Packet[Any]]:
        """Yield packets up to `until` seconds; the background begins where that is at the first call."""
        self._begin(until)
        while self._next + PIECE_SAMPLES <= until * self._format.rate_hz:
            yield from self._mixed(PIECE_SAMPLES)

    def finish(self, end: Fraction) -> Iterator[Packet[Any]]:
        """Yield the last packets, up to the end of the video in seconds."""
        yield from self.packets(end)
        left = math.ceil(end * self._format.rate_hz) - self._next
        if left > 0:
            yield from self._mixed(left)
        yield from self._stream.encode(None)

    def close(self) -> None:
        """Close the files that are read."""
        for track in (self._source, self._behind):
            if track:
                track.close()

    def _open_source(self) -> TrackSamples | None:
        if self.main_index is None or self._info.path is None:
            return None
        return TrackSamples(self._info.path, self.main_index, self._info.start_time, self._format)

    def _begin(self, first_pts: Fraction) -> None:
        if self._behind:
            return
        self._behind = LoopedSamples(self._sound.path, self._behind_index, self._format, first_pts)
        begins = [max(0, round(first_pts * self._format.rate_hz))]
        if self._source and self._source.first is not None:
            begins.append(self._source.first)
        self._next = min(begins)

    def _mixed(self, count: int) -> Iterator[Packet[Any]]:
        assert self._behind
        begin, end = self._next, self._next + count
        samples = self._behind.read(begin, end) * np.float32(self._sound.level)
        if self._source:
            samples += self._source.read(begin, end)
        frame = av.AudioFrame.from_ndarray(samples.clip(-1, 1), format=PLANAR_FLOATS, layout=self._format.layout)
        frame.sample_rate, frame.pts, frame.time_base = self._format.rate_hz, begin, Fraction(1, self._format.rate_hz)
        self._next = end
        yield from self._stream.encode(frame)


def _add_track(output: OutputContainer, main: AudioStream | None, behind: AudioStream, codec: str) -> AudioStream:
    """Add the track: with the source's rate, channels, language and title, or the background's rate and channels."""
    try:
        decodable(behind)
        stream = add_encoder(output, decodable(main or behind), codec)
    except ValueError as error:
        raise OutputError(f"cannot mix the sounds: {error}; {LEAVE_OUT}") from error
    if main:
        inherit_track(stream, main)
    stream.disposition = stream.disposition | Disposition.default
    stream.codec_context.open()
    return stream


def _what(main: AudioStream | None, behind: AudioStream, codec: str) -> str:
    own = f"{codec_of(main)} and " if main else ""
    return f"{own}the background's {codec_of(behind)} to {codec.removeprefix('lib')}"


def _has_sound(path: AnyPath) -> bool:
    try:
        with open_source_file(path) as file:
            return main_sound(file) is not None
    except av.FFmpegError as error:
        raise InputError(f"cannot read the background {path}: {error.strerror}") from error
