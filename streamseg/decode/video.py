"""Video file reader: demux and decode with FFmpeg, seek, and report damage; also FFmpeg's test pattern."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from itertools import chain
from typing import Any

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from streamseg.decode.base import BaseSource, check_size
from streamseg.decode.damage import Damage
from streamseg.decode.filters import Filters
from streamseg.decode.hevc_alpha import Decode, WithAlphaLayer, has_alpha_layer
from streamseg.decode.moving import gif_is_cut_short
from streamseg.decode.pixels import SQUARE, ToPixels
from streamseg.decode.reading import beginning, from_group_before, is_broadcast, packets_of, read
from streamseg.decode.time_range import WHOLE, TimeRange
from streamseg.decode.times import InPacketOrder, in_order, pts_from_dts, with_presented_durations
from streamseg.errors import InputError
from streamseg.fallback import log_fallback
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.hardware import nvidia
from streamseg.media.stacked import is_stacked
from streamseg.media.storage import for_ffmpeg, path_of

TEST_PATTERN = "testsrc"
DEFAULT_RATE = Fraction(25)
DEFAULT_TIME_BASE = Fraction(1, 90_000)
ZERO = Fraction(0)
ALPHA_LAYER_DECODERS: dict[str, Callable[[bytes], Decode]] = {
    "hevc": WithAlphaLayer,
    "vp8": lambda _: av.CodecContext.create("libvpx", "r").decode,
    "vp9": lambda _: av.CodecContext.create("libvpx-vp9", "r").decode,
}
"""Decoders, by codec, that read alpha stored in a second layer; each is made from the stream's extradata."""

STEP_BACK_SECONDS = 10
MAX_PAUSE_SECONDS = 24 * 3600
"""Longest interval between two frames; a longer one is a damaged timestamp."""
METADATA_ERRORS = "replace"
"""Titles in other encodings than UTF-8 are no reason to refuse a file."""
MAX_REMEMBERED_KEYFRAMES = 64
"""More groups of pictures than any decoder holds frames of."""


class VideoFile(BaseSource):
    """A video that FFmpeg demuxes and decodes: a file, or its test pattern through the input device `lavfi`."""

    _range_begin: Fraction | None = None
    _truncation: str | None = None

    def __init__(self, url: str, format_name: str | None = None, time_range: TimeRange = WHOLE) -> None:
        """Open the file and decode its first frame.

        Args:
            url: the file's path or URL, or the argument of FFmpeg's input device `format_name`.
            format_name: FFmpeg's name of the input format; None to detect it.
            time_range: the part to read; the pts of frames count from its start.

        Raises:
            InputError: the file cannot be read, or has no frame in `time_range`.
        """
        self._url, self._format_name = url, format_name
        self._container = _open_container(url, format_name)
        try:
            self._open_stream()
            self._to_pixels = ToPixels(stacked=is_stacked(self._container.metadata))
            self._file_start = self._find_file_start()
            self._start_time = (
                self._file_start + time_range.start if time_range.start or is_broadcast(self._container) else ZERO
            )
            self._range_end = None if time_range.end is None else self._file_start + time_range.end
            if time_range.start:
                self._seek(self._start_time)
            self._restart_decoding()
        except BaseException:
            self._container.close()
            raise
        check_size(self._first.image.shape, url)
        self.first_pts = self._first.pts
        self.info = self._make_info(self._first.image.shape, is_file=format_name is None)

    def __iter__(self) -> Iterator[Frame]:
        yield self._first
        yield from self._frames

    def close(self) -> None:
        """Close the file; the decoder's threads end with the last reference to this object."""
        self._frames.close()
        self._container.close()

    def skip_to(self, pts: Fraction) -> None:
        """Continue with the first frame at or after `pts`, in seconds as in `Frame.pts`.

        Raises:
            InputError: there is no such frame.
        """
        self._frames.close()
        self._seek(pts + self._start_time)
        self._restart_decoding()

    def damage_within(self, begin: Fraction | None = None, end: Fraction | None = None) -> str | None:
        """See `BaseSource`."""
        return self._describe_damage(*(None if pts is None else pts + self._start_time for pts in (begin, end)))

    def entry_before(self, pts: Fraction) -> Fraction | None:
        """Return the pts, in seconds, of the packet that decoding has to begin with to reach `pts`.

        Afterwards, frames are read again only after `skip_to`. None if the file cannot be entered there, as its packets
        have no times.
        """
        if self._container.format.flags & Flags.no_timestamps.value:  # type: ignore[operator]
            return None
        with suppress(av.FFmpegError):
            self._container.seek(int((pts + self._start_time) / self._time_base), stream=self._stream)
            for packet in packets_of(self._container, [self._stream]):
                ticks = packet.dts if self._stores_no_pts else packet.pts
                return None if ticks is None else ticks * self._time_base - self._start_time
        return None

    @property
    def is_read_from_beginning(self) -> bool:
        """Whether `skip_to` reads all packets before, as for broadcasts, whose clock is known only then."""
        return is_broadcast(self._container)

    @property
    def end_pts(self) -> Fraction | None:
        """Where the frames end by the header, or the time range, in seconds; None if neither says."""
        ends = [] if self._range_end is None else [self._range_end]
        if self._container.duration:
            ends.append(Fraction((self._container.start_time or 0) + self._container.duration, av.time_base))
        return min(ends) - self._start_time if ends else None

    def _open_stream(self) -> None:
        self._stream = video_stream(self._container, self._url)
        self._stream.thread_type = "AUTO"
        self._time_base = self._stream.time_base or DEFAULT_TIME_BASE
        self._rate = self._stream.average_rate or self._stream.guessed_rate or DEFAULT_RATE
        self._container_aspect = self._stream.sample_aspect_ratio or SQUARE
        self._first_codec_aspect = self._stream.codec_context.sample_aspect_ratio

    def _find_file_start(self) -> Fraction:
        """Return the file's time, in seconds, that a time range counts as 0."""
        if is_broadcast(self._container):
            return beginning(self._container, self._stream)
        return Fraction(self._container.start_time or 0, av.time_base)

    def _reset(self) -> None:
        """Clear the damage report and the state of the decoder for decoding from another position."""
        self.decode_error, self._truncation = None, None
        self._damage = Damage(self._time_base, self._rate, is_broadcast(self._container))
        self._aspect_changes = [(ZERO, self._container_aspect)]
        self._keyframe_pts: deque[int] = deque(maxlen=MAX_REMEMBERED_KEYFRAMES)

    def _seek(self, time: Fraction) -> None:
        """Seek to a keyframe at or before `time`, in seconds of the file; frames before `time` will be skipped.

        Some containers seek to frames that refer to earlier ones, or cannot seek: then start from further back.
        """
        self._range_begin = time
        if is_broadcast(self._container):  # Its clock is known only from its beginning.
            self._container.close()
            self._container = _open_container(self._url, self._format_name)
            self._open_stream()
            return
        for target in (time, time - STEP_BACK_SECONDS, ZERO):
            with suppress(av.FFmpegError):
                self._reset()
                self._container.seek(int(target / self._time_base), stream=self._stream)
                first = next(self._presented_frames(), None)
                if first is not None and first.pts is not None and first.pts * self._time_base <= time:
                    self._container.seek(int(target / self._time_base), stream=self._stream)
                    return
        self._container.seek(0)

    def _restart_decoding(self) -> None:
        self._reset()
        self._frames = self._read_frames()
        first = next(self._frames, None)
        if first is None:
            raise InputError(self.decode_error or f"{self._url} holds no video frame" + self._range_text())
        self._first = first

    def _range_text(self) -> str:
        if self._range_begin is None and self._range_end is None:
            return ""
        begin = ZERO if self._range_begin is None else self._range_begin - self._file_start
        end = "its end" if self._range_end is None else f"{float(self._range_end - self._file_start):g} s"
        return f" between {float(begin):g} s and {end}"

    def _read_frames(self) -> Generator[Frame]:
        """Yield the frames of the time range, with pts that ascend; at the end, set `decode_error`."""
        index, expected_time, last_time = 0, self._range_begin or ZERO, None
        try:
            for frame in self._presented_frames():
                time_base = frame.time_base or self._time_base
                frame_time = expected_time if frame.pts is None else frame.pts * time_base
                if last_time is not None and frame_time - last_time > MAX_PAUSE_SECONDS:
                    frame_time = expected_time  # A damaged time: no output file could hold the times after it.
                if last_time is not None and frame_time <= last_time:  # A clock that stands still or runs backwards.
                    frame_time = last_time + max(1, round(1 / (2 * self._rate * self._time_base))) * self._time_base
                expected_time, last_time = frame_time + 1 / self._rate, frame_time
                if self._range_end is not None and frame_time >= self._range_end:
                    return
                if self._range_begin is not None and frame_time < self._range_begin:
                    continue
                if frame_time < self._start_time:  # A file that begins before 0.
                    self._start_time = frame_time
                duration = frame.duration * time_base or None
                image = self._to_pixels(frame, self._aspect_at(frame_time))
                yield Frame(index, frame_time - self._start_time, image, time.monotonic(), duration=duration)
                index += 1
        finally:
            self.decode_error = self._describe_damage(self._range_begin, self._range_end)

    def _presented_frames(self) -> Iterator[av.VideoFrame]:
        """Yield every frame in presentation order, deinterlaced and tone mapped where needed."""
        filters = Filters(self._time_base)
        frames = in_order(self._decoded_frames(), lambda: self._damage.is_likely)
        if self._has_decoding_order_durations:
            frames = with_presented_durations(frames, self._track_end)
        for frame in frames:
            self._damage.note_presented(frame.pts)
            yield from filters(frame)
        yield from filters.flush()
        self._damage.note_end()

    def _decoded_frames(self) -> Iterator[av.VideoFrame]:
        """Yield every frame in the decoder's order; a packet that does not decode loses only its own frame."""
        decode = self._decoder()
        for packet in self._demux():
            self._damage.note_packet(packet)
            yield from self._decode_packet(decode, packet)
        yield from self._decode_packet(decode, None)
        for frame in self._redecode_missing(self._damage.pending_pts):
            self._damage.note_frame(frame)
            yield frame

    def _decode_packet(self, decode: Decode, packet: Packet[Any] | None) -> Iterator[av.VideoFrame]:
        try:
            frames = decode(packet)
        except av.FFmpegError:
            self._damage.note_error()
            return
        self._note_aspect(packet)
        for frame in frames:
            self._damage.note_frame(frame)
            yield frame

    def _redecode_missing(self, missing_pts: set[int]) -> Iterator[av.VideoFrame]:
        """Decode the end of the file again without frame threads, which lose frames in flight at an error.

        Args:
            missing_pts: pts, in ticks, of the frames to yield.
        """
        if not missing_pts or self._has_alpha_layer or self._stores_no_pts:
            return
        with suppress(av.FFmpegError, InputError), closing(_open_container(self._url, self._format_name)) as again:
            stream = video_stream(again, self._url)
            stream.thread_type = "SLICE"
            packets = read(again, stream, [stream])
            if is_broadcast(again):
                packets = from_group_before(packets, min(missing_pts) * self._time_base)
            else:
                again.seek(min(missing_pts), stream=stream)
            for packet in chain(packets, [None]):
                with suppress(av.FFmpegError):
                    yield from (one for one in stream.codec_context.decode(packet) if one.pts in missing_pts)

    def _demux(self) -> Iterator[Packet[Any]]:
        """Yield the packets of the video; at the end, note whether the file is cut short or unreadable."""
        packet_count, end, read_error = 0, ZERO, None
        try:
            for packet in self._packets_in_range():
                packet_count += 1
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * self._time_base)
                yield packet
        except av.FFmpegError as error:
            read_error = f"it cannot be read after {float(end - self._start_time):.2f} s: {_reason(error)}"
        self._truncation = self._describe_truncation(packet_count, end) or read_error

    def _packets_in_range(self) -> Iterator[Packet[Any]]:
        packets = read(self._container, self._stream, [self._stream])
        if self._range_begin is not None and is_broadcast(self._container):
            return from_group_before(packets, self._range_begin)
        return pts_from_dts(packets) if self._stores_no_pts else packets

    @property
    def _has_alpha_layer(self) -> bool:
        """Whether the stream has an alpha layer that FFmpeg's default decoder does not read."""
        return self._stream.codec_context.name in ALPHA_LAYER_DECODERS and holds_alpha(self._stream)

    def _decoder(self) -> Decode:
        """Return the stream's own decoder, or one that reads the alpha layer of VP8, VP9 or HEVC."""
        context = self._stream.codec_context
        if self._has_alpha_layer:
            return ALPHA_LAYER_DECODERS[context.name](context.extradata or b"")
        return InPacketOrder(context.decode) if self._stores_no_pts else context.decode

    @property
    def _stores_no_pts(self) -> bool:
        """Whether the container stores packets in decoding order without pts."""
        return self._container.format.name == "avi"

    @property
    def _has_decoding_order_durations(self) -> bool:
        """Whether the container states durations in decoding order, and frames are presented in another."""
        return "mov" in self._container.format.name.split(",") and self._stream.codec_context.has_b_frames

    def _track_end(self) -> int | None:
        """Return the end of the last frame, in ticks, by the header; None if unknown or frames are missing."""
        if self._truncation or not self._stream.duration:
            return None
        return (self._stream.start_time or 0) + self._stream.duration

    def _describe_damage(self, begin: Fraction | None, end: Fraction | None) -> str | None:
        """Describe in one line what is missing or corrupt between two times of the file; None if nothing is."""
        found = filter(None, (self._truncation, self._damage.describe(self._start_time, begin, end)))
        damage = "; ".join(found)
        return f"{self._url} is damaged: {damage}" if damage else None

    def _describe_truncation(self, packet_count: int, end: Fraction) -> str | None:
        """Describe in one line how much the file falls short of its header, or return None.

        Args:
            packet_count: packets that were read.
            end: end of the last frame that was read, in seconds of the file.
        """
        stream = self._stream
        if self._container.format.name == "gif":
            return "it is cut short amid its last frame" if gif_is_cut_short(path_of(self._url)) else None
        if stream.frames:
            # AVI counts repeated frames without storing them, and MP4 counts frames that its edit list leaves out;
            # the stated duration is right, or ends amid the last frame.
            length = ((stream.start_time or 0) + (stream.duration or 0)) * self._time_base
            if packet_count < stream.frames and not 0 < length <= end + 1 / self._rate:
                return f"it is cut short, with {packet_count} of {counted(stream.frames, 'frame')}"
        # Matroska states no frame count; its tag DURATION is rounded and may include a long last frame.
        stated = _seconds(stream.metadata.get("DURATION", ""))
        if end + 1 < stated:
            return f"it is cut short, the frames end at {float(end):.1f} s of {stated:.1f} s"
        return None

    def _make_info(self, shape: tuple[int, ...], is_file: bool) -> VideoInfo:
        return VideoInfo(
            width_px=shape[1],
            height_px=shape[0],
            rate=self._rate,
            time_base=self._time_base,
            frame_count=self._estimate_frame_count(),
            path=path_of(self._url) if is_file else None,
            pixel_aspect=self._to_pixels.shape.pixel_aspect,
            start_time=self._start_time,
            end=self._range_end,
        )

    def _estimate_frame_count(self) -> int | None:
        """Return the number of frames; an estimate within a time range, None where the container does not say."""
        if not self._stream.frames or (self._range_begin is None and self._range_end is None):
            return self._stream.frames or None
        length = Fraction(self._container.duration or 0, av.time_base)
        seconds = (length if self._range_end is None else min(length, self._range_end)) - (self._range_begin or ZERO)
        return max(1, min(self._stream.frames, round(seconds * self._rate)))

    def _note_aspect(self, packet: Packet[Any] | None) -> None:
        """Record the time of the keyframe from which on the codec states another pixel aspect.

        The decoder reads the new aspect with that keyframe's packet, while it still holds frames before it.
        """
        if packet is not None and packet.is_keyframe and packet.pts is not None:
            self._keyframe_pts.append(packet.pts)
        stated = self._stream.codec_context.sample_aspect_ratio
        aspect = self._container_aspect if stated in (None, 0, self._first_codec_aspect) else stated
        if aspect != self._aspect_changes[-1][1]:
            last_pts = self._damage.last_frame_pts
            begin = next((pts for pts in self._keyframe_pts if pts > last_pts), last_pts)
            self._aspect_changes.append((begin * self._time_base, aspect))

    def _aspect_at(self, frame_time: Fraction) -> Fraction:
        changes = reversed(self._aspect_changes)
        return next((aspect for begin, aspect in changes if begin <= frame_time), self._container_aspect)


def video_stream(container: InputContainer, url: str) -> VideoStream:
    """Return the video stream that players show: the one marked as default, or else the first.

    Raises:
        InputError: there is no video stream that can be decoded.
    """
    streams = container.streams
    # FFmpeg presents the cover image of a song as a video stream.
    moving = [stream for stream in streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        found = "only sound" if streams.audio else "and no sound either"
        raise InputError(f"{url} has no video stream, {found}; give a file with video")
    known = [stream for stream in moving if stream.codec_context]
    if not known:
        raise InputError(f"{url} holds video of a codec that is not known; convert it to H.264 first")
    return next((stream for stream in known if stream.disposition & Disposition.default), known[0])


def holds_alpha(stream: VideoStream) -> bool:
    """Whether a stream has alpha in a second layer (HEVC) or stream (VP8, VP9), which only some decoders read."""
    if stream.codec_context.name == "hevc":
        return has_alpha_layer(stream.codec_context.extradata or b"")
    return any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items())


def is_test_pattern(spec: str) -> bool:
    """Whether `spec` names the test pattern."""
    return spec.partition("=")[0] == TEST_PATTERN


def open_test_pattern(spec: str) -> VideoFile:
    """Open `testsrc` (720p) or `testsrc=WIDTHxHEIGHT`: moving shapes at 30 frames a second without end.

    Raises:
        InputError: the size is not of the form WIDTHxHEIGHT.
    """
    _, _, size = spec.partition("=")
    width, _, height = (size or "1280x720").partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"test pattern {spec!r} is not understood; write testsrc or testsrc=1280x720")
    return VideoFile(f"testsrc2=size={width}x{height}:rate=30", "lavfi")


def _open_container(url: str, format_name: str | None) -> InputContainer:
    if not format_name and nvidia.has_gpu():
        try:
            return av.open(for_ffmpeg(path_of(url)), "r", hwaccel=HWAccel("cuda"), metadata_errors=METADATA_ERRORS)
        except av.FFmpegError as error:  # no driver for the GPU, or a codec that NVDEC does not decode
            log_fallback(__name__, f"the CPU decodes, not the GPU: {_reason(error)}")
    try:
        opened = url if format_name else for_ffmpeg(path_of(url))
        return av.open(opened, "r", format=format_name, metadata_errors=METADATA_ERRORS)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"cannot read {url} as video: {_reason(error)}") from error


def _seconds(clock: str) -> float:
    """Parse `hours:minutes:seconds` to seconds; return 0 for any other text."""
    parts = clock.split(":")
    try:
        return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
    except (IndexError, ValueError):
        return 0.0


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).partition("\n")[0]
