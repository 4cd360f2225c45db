"""Video files, and the test pattern that FFmpeg draws."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from streamseg.decode.base import BaseSource, check_size
from streamseg.decode.damage import Damage
from streamseg.decode.filters import Filters
from streamseg.decode.hevc_alpha import Decode, WithAlphaLayer, has_alpha_layer
from streamseg.decode.moving import gif_is_cut_short
from streamseg.decode.pixels import SQUARE, ToPixels
from streamseg.decode.reading import beginning, from_group_before, is_broadcast, read
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.decode.times import InPacketOrder, at_their_places, in_order, until_the_next
from streamseg.errors import InputError
from streamseg.fallback import log_fallback
from streamseg.frames import Frame, VideoInfo
from streamseg.hardware import nvidia
from streamseg.media.stacked import is_stacked

TEST_PATTERN = "testsrc"
DEFAULT_RATE = Fraction(25)
DEFAULT_TIME_BASE = Fraction(1, 90_000)
ZERO = Fraction(0)
WITH_ALPHA_LAYER: dict[str, Callable[[bytes], Decode]] = {
    "hevc": WithAlphaLayer,
    "vp8": lambda _: av.CodecContext.create("libvpx", "r").decode,
    "vp9": lambda _: av.CodecContext.create("libvpx-vp9", "r").decode,
}
"""Codecs that keep alpha in a second layer, with decoders that read it; they are given the stream's setup."""

STEP_BACK_SECONDS = 10
LONGEST_PAUSE_SECONDS = 24 * 3600
"""A picture that comes later than so after the one before it has a damaged time, not a long wait before it."""
LENIENT = "replace"
"""Titles in other encodings than UTF-8 do not matter here."""
RECENT_GROUPS = 64
"""More than decoders hold back pictures of."""


class VideoFile(BaseSource):
    """Whatever FFmpeg demuxes and decodes: a file, or its test pattern through `lavfi`."""

    _begin: Fraction | None = None
    _missing_end: str | None = None

    def __init__(self, url: str, format_name: str | None = None, time_range: TimeRange = WHOLE) -> None:
        """Opens the file and decodes its first frame.

        Args:
            url: the file, or what FFmpeg's input device `format_name` takes.
            format_name: FFmpeg's name of an input format.
            time_range: the part that is wanted; the frames' times count from its start.

        Raises:
            InputError: it cannot be read, or holds no picture in that time_range.
        """
        self._url, self._format_name = url, format_name
        self._container = _open_container(url, format_name)
        try:
            self._open_stream()
            self._to_pixels = ToPixels(stacked=is_stacked(self._container.metadata))
            self._zero = self._beginning()
            self._start_time = (
                self._zero + time_range.start if time_range.start or is_broadcast(self._container) else ZERO
            )
            self._end = None if time_range.end is None else self._zero + time_range.end
            if time_range.start:
                self._seek(self._start_time)
            self._start_over()
        except BaseException:
            self._container.close()
            raise
        check_size(self._first.image.shape, url)
        self.info = self._describe(self._first.image.shape, is_file=format_name is None)

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Closes the file; the decoder's threads end with the last reference to this object."""
        self._frames.close()
        self._container.close()

    def skip_to(self, time: Fraction) -> None:
        """Goes on with the first frame at or after `time`, by the frames' own clock.

        Raises:
            InputError: there is none.
        """
        self._frames.close()
        self._seek(time + self._start_time)
        self._start_over()

    def _open_stream(self) -> None:
        self._stream = picture_stream(self._container, self._url)
        self._stream.thread_type = "AUTO"
        self._time_base = self._stream.time_base or DEFAULT_TIME_BASE
        self._rate = self._stream.average_rate or self._stream.guessed_rate or DEFAULT_RATE
        self._stated_aspect = self._stream.sample_aspect_ratio or SQUARE
        self._first_aspect = self._stream.codec_context.sample_aspect_ratio

    def _beginning(self) -> Fraction:
        """What the file's clock shows at its beginning."""
        if is_broadcast(self._container):
            return beginning(self._container, self._stream)
        return Fraction(self._container.start_time or 0, av.time_base)

    def _forget(self) -> None:
        """What was found damaged before does not count."""
        self.decode_error, self._missing_end = None, None
        self._damage = Damage(self._time_base, self._rate, is_broadcast(self._container))
        self._aspects = [(ZERO, self._stated_aspect)]
        self._groups: deque[int] = deque(maxlen=RECENT_GROUPS)

    def _seek(self, time: Fraction) -> None:
        """To a picture before `time` that decodes by itself; those between are decoded and passed over.

        Some containers land amid pictures that lean on earlier ones, or cannot seek: then from further back.
        """
        self._begin = time
        if is_broadcast(self._container):  # Only from its beginning, its clock is known.
            self._container.close()
            self._container = _open_container(self._url, self._format_name)
            self._open_stream()
            return
        for target in (time, time - STEP_BACK_SECONDS, ZERO):
            with suppress(av.FFmpegError):
                self._forget()
                self._container.seek(int(target / self._time_base), stream=self._stream)
                first = next(self._pictures(), None)
                if first is not None and first.pts is not None and first.pts * self._time_base <= time:
                    self._container.seek(int(target / self._time_base), stream=self._stream)
                    return
        self._container.seek(0)

    def _start_over(self) -> None:
        self._forget()
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise InputError(self.decode_error or f"{self._url} holds no video frame" + self._time_range_text())
        self._first = first

    def _time_range_text(self) -> str:
        if self._begin is None and self._end is None:
            return ""
        begin = ZERO if self._begin is None else self._begin - self._zero
        end = "its end" if self._end is None else f"{float(self._end - self._zero):g} s"
        return f" between {float(begin):g} s and {end}"

    def _decode(self) -> Generator[Frame]:
        """Frames until the end; what could not be decoded is told as damage."""
        index, next_time, last = 0, self._begin or ZERO, None
        try:
            for picture in self._pictures():
                moment = next_time if picture.pts is None else picture.pts * (picture.time_base or self._time_base)
                if last is not None and moment - last > LONGEST_PAUSE_SECONDS:
                    moment = next_time  # A damaged time: no file could hold what would follow.
                if last is not None and moment <= last:  # A clock that stands still or goes back.
                    moment = last + max(1, round(1 / (2 * self._rate * self._time_base))) * self._time_base
                next_time, last = moment + 1 / self._rate, moment
                if self._end is not None and moment >= self._end:
                    return
                if self._begin is not None and moment < self._begin:
                    continue
                if moment < self._start_time:  # A file that begins before 0.
                    self._start_time = moment
                duration = picture.duration * (picture.time_base or self._time_base) or None
                pixels = self._to_pixels(picture, self._aspect_at(moment))
                yield Frame(index, moment - self._start_time, pixels, time.monotonic(), duration=duration)
                index += 1
        finally:
            self.decode_error = self._told()

    def _pictures(self) -> Iterator[av.VideoFrame]:
        """Every picture in its order, filtered."""
        filters = Filters(self._time_base)
        pictures = in_order(self._decoded(), lambda: self._damage.is_likely)
        if self._states_steps_of_decoding:
            pictures = until_the_next(pictures, self._end_of_track)
        for picture in pictures:
            self._damage.shown(picture.pts)
            yield from filters(picture)
        yield from filters.flush()
        self._damage.ended()

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Every picture as the decoder gives it; a packet that does not decode costs its own."""
        decode = self._decoder()
        for packet in self._packets():
            self._damage.sent(packet)
            yield from self._tried(decode, packet)
        yield from self._tried(decode, None)
        for picture in self._tried_again(self._damage.due):
            self._damage.came(picture)
            yield picture

    def _tried(self, decode: Decode, packet: Packet[Any] | None) -> Iterator[av.VideoFrame]:
        try:
            pictures = decode(packet)
        except av.FFmpegError:
            self._damage.failed()
            return
        self._note_aspect(packet)
        for picture in pictures:
            self._damage.came(picture)
            yield picture

    def _tried_again(self, due: set[int]) -> Iterator[av.VideoFrame]:
        """Those at the end that one thread finds: an error there makes several lose what they have begun."""
        if not due or self._reads_layers or self._has_no_times:
            return
        with suppress(av.FFmpegError, InputError), closing(_open_container(self._url, self._format_name)) as again:
            stream = picture_stream(again, self._url)
            stream.thread_type = "SLICE"
            packets = read(again, stream, [stream])
            if is_broadcast(again):
                packets = from_group_before(packets, min(due) * self._time_base)
            else:
                again.seek(min(due), stream=stream)
            for packet in chain(packets, [None]):
                with suppress(av.FFmpegError):
                    yield from (one for one in stream.codec_context.decode(packet) if one.pts in due)

    def _packets(self) -> Iterator[Packet[Any]]:
        count, end, stopped = 0, ZERO, None
        try:
            for packet in self._wanted_packets():
                count += 1
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * self._time_base)
                yield packet
        except av.FFmpegError as error:
            stopped = f"it cannot be read after {float(end - self._start_time):.2f} s: {_reason(error)}"
        self._missing_end = self._cut_short(count, end) or stopped

    def _wanted_packets(self) -> Iterator[Packet[Any]]:
        packets = read(self._container, self._stream, [self._stream])
        if self._begin is not None and is_broadcast(self._container):
            return from_group_before(packets, self._begin)
        return at_their_places(packets) if self._has_no_times else packets

    @property
    def _reads_layers(self) -> bool:
        """Whether the stream has an alpha layer that its own decoder does not read."""
        return self._stream.codec_context.name in WITH_ALPHA_LAYER and holds_alpha(self._stream)

    def _decoder(self) -> Decode:
        """The stream's own decoder, or one that reads the alpha layer of VP8, VP9 and HEVC."""
        context = self._stream.codec_context
        if self._reads_layers:
            return WITH_ALPHA_LAYER[context.name](context.extradata or b"")
        return InPacketOrder(context.decode) if self._has_no_times else context.decode

    @property
    def _has_no_times(self) -> bool:
        """Whether the container knows the order of packets, but not when their pictures are seen."""
        return self._container.format.name == "avi"

    @property
    def _states_steps_of_decoding(self) -> bool:
        """Whether durations are those of the order in which pictures are stored, and they are seen in another."""
        return "mov" in self._container.format.name.split(",") and self._stream.codec_context.has_b_frames

    def _end_of_track(self) -> int | None:
        """The tick at which the last picture ends, as the header says; None if it does not, or not all were there."""
        if self._missing_end or not self._stream.duration:
            return None
        return (self._stream.start_time or 0) + self._stream.duration

    def _told(self) -> str | None:
        """One line on what is missing, or None."""
        found = filter(None, (self._missing_end, self._damage.told(self._start_time, self._begin, self._end)))
        told = "; ".join(found)
        return f"{self._url} is damaged: {told}" if told else None

    def _cut_short(self, packets: int, end: Fraction) -> str | None:
        """One line if the file ends before its header says so."""
        stream = self._stream
        if self._container.format.name == "gif":
            return "it is cut short amid its last picture" if gif_is_cut_short(Path(self._url)) else None
        if stream.frames:
            # AVI counts a repeated picture without storing it, and MP4 those that its edit list leaves out, but their
            # duration is right, or ends amid the last picture.
            length = ((stream.start_time or 0) + (stream.duration or 0)) * self._time_base
            if packets < stream.frames and not 0 < length <= end + 1 / self._rate:
                return f"it is cut short, with {packets} of {stream.frames} frames"
        # Matroska counts no frames; its tag is rounded and may hold a long last picture.
        stated = _seconds(stream.metadata.get("DURATION", ""))
        if end + 1 < stated:
            return f"it is cut short, the pictures end at {float(end):.1f} s of {stated:.1f} s"
        return None

    def _describe(self, shape: tuple[int, ...], is_file: bool) -> VideoInfo:
        return VideoInfo(
            width_px=shape[1],
            height_px=shape[0],
            rate=self._rate,
            time_base=self._time_base,
            frame_count=self._count(),
            path=Path(self._url) if is_file else None,
            pixel_aspect=self._to_pixels.shape.pixel_aspect,
            start_time=self._start_time,
            end=self._end,
        )

    def _count(self) -> int | None:
        """The number of frames that will come; about, between `start` and `end`."""
        if not self._stream.frames or (self._begin is None and self._end is None):
            return self._stream.frames or None
        length = Fraction(self._container.duration or 0, av.time_base)
        time_range = (length if self._end is None else min(length, self._end)) - (self._begin or ZERO)
        return max(1, min(self._stream.frames, round(time_range * self._rate)))

    def _note_aspect(self, packet: Packet[Any] | None) -> None:
        """Remembers from which group of pictures on pixels have another shape than the container states.

        The decoder knows of it as soon as it has read that group's beginning, while pictures before it are to come.
        """
        if packet is not None and packet.is_keyframe and packet.pts is not None:
            self._groups.append(packet.pts)
        stated = self._stream.codec_context.sample_aspect_ratio
        aspect = self._stated_aspect if stated in (None, 0, self._first_aspect) else stated
        if aspect != self._aspects[-1][1]:
            begin = next((group for group in self._groups if group > self._damage.last_came), self._damage.last_came)
            self._aspects.append((begin * self._time_base, aspect))

    def _aspect_at(self, moment: Fraction) -> Fraction:
        return next((aspect for begin, aspect in reversed(self._aspects) if begin <= moment), self._stated_aspect)


def picture_stream(container: InputContainer, url: str) -> VideoStream:
    """The stream of moving pictures that players show: the one marked as default, or else the first.

    Raises:
        InputError: there is none that can be decoded.
    """
    streams = container.streams
    # The cover picture of a song is a video stream to FFmpeg.
    moving = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        found = "only sound" if streams.audio else "and no sound either"
        raise InputError(f"{url} has no video stream, {found}; give a file with pictures")
    known = [stream for stream in moving if stream.codec_context]
    if not known:
        raise InputError(f"{url} holds pictures of a codec that is not known; convert it to H.264 first")
    return next((stream for stream in known if stream.disposition & Disposition.default), known[0])


def holds_alpha(stream: VideoStream) -> bool:
    """Whether a stream has a second layer of alpha, which only some decoders read."""
    if stream.codec_context.name == "hevc":
        return has_alpha_layer(stream.codec_context.extradata or b"")
    return any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())


def is_test_pattern(spec: str) -> bool:
    """Whether `spec` names the test pattern."""
    return spec.partition("=")[0] == TEST_PATTERN


def open_test_pattern(spec: str) -> VideoFile:
    """Opens `testsrc` (720p) or `testsrc=WIDTHxHEIGHT`: moving shapes at 30 frames a second without end.

    Raises:
        InputError: the size is not understood.
    """
    _, _, size = spec.partition("=")
    width, _, height = (size or "1280x720").partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"test pattern {spec!r} is not understood; write testsrc or testsrc=1280x720")
    return VideoFile(f"testsrc2=size={width}x{height}:rate=30", "lavfi")


def _open_container(url: str, format_name: str | None) -> InputContainer:
    if not format_name and nvidia.has_gpu():
        try:
            return av.open(str(Path(url).absolute()), hwaccel=HWAccel("cuda"), metadata_errors=LENIENT)
        except av.FFmpegError as error:  # no driver for it, or a codec that it does not know
            log_fallback(__name__, f"the CPU decodes, not the GPU: {_reason(error)}")
    try:
        # FFmpeg takes "12:30.mp4" for a protocol named 12; no absolute path looks like one.
        opened = url if format_name else str(Path(url).absolute())
        return av.open(opened, format=format_name, metadata_errors=LENIENT)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"cannot read {url} as video: {_reason(error)}") from error


def _seconds(clock: str) -> float:
    """Hours:minutes:seconds -> seconds, 0 if it is anything else."""
    parts = clock.split(":")
    try:
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
    except (IndexError, ValueError):
        return 0.0


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]
