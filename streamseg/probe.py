"""What a file is, and what streamseg will do with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from streamseg.decode import open_source
from streamseg.decode.filters import HDR_TRANSFERS
from streamseg.decode.orientation import Orientation
from streamseg.decode.pixels import HD_HEIGHT_PX, has_alpha
from streamseg.decode.reading import first_picture, packets_of
from streamseg.decode.video import VideoFile, holds_alpha, picture_stream
from streamseg.errors import InputError
from streamseg.frames import VideoInfo
from streamseg.infer.letterbox import Letterbox
from streamseg.sink.channels import layout_of
from streamseg.sink.formats import OPAQUE
from streamseg.sink.metadata import HAVE_ATTACHMENTS
from streamseg.sink.track_action import Plan, TrackAction, beginnings, codec_of, open_source_file, plan

KEPT = "yes, it is kept"
UNKNOWN = {0, 2, 3}
"""Colour numbers of ISO/IEC 23091-2 that say nothing."""

MATRIX_NAMES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 10: "BT.2020"}
TRANSFER_NAMES = {16: "PQ", 18: "HLG"}
SAMPLED_PACKETS = 300
"""Packets that the rate is judged by."""


class Line(NamedTuple):
    """One fact, under its name."""

    name: str
    text: str


def describe(path: str, input_size_px: int) -> list[Line]:
    """Describes a file of video or a picture.

    Args:
        path: the file.
        input_size_px: the long side of the network's input.

    Raises:
        InputError: it holds no pictures that can be read.
    """
    with open_source(path) as source:
        info = source.info
        if isinstance(source, VideoFile):
            lines = _video_file(path, info)
        else:
            lines = _pictures(info, next(iter(source)).pixels.shape[2])
    letterbox = Letterbox.of(info.height_px, info.width_px, input_size_px)
    return [*lines, Line("network", f"sees it at {letterbox.input_width}x{letterbox.input_height} px")]


def _video_file(path: str, info: VideoInfo) -> list[Line]:
    try:
        with open_source_file(Path(path)) as file:
            pictures = _video(file, picture_stream(file, path), info, _rate(path))
            return [*pictures, *_tracks(file, beginnings(Path(path)))]
    except av.FFmpegError as error:
        raise InputError(f"{path} is damaged: {error.strerror}") from error


def _pictures(info: VideoInfo, channels: int) -> list[Line]:
    count = f"{info.frame_count} pictures of " if info.frame_count != 1 else ""
    size = f"{count}{info.width_px}x{info.height_px} px"
    return [Line("picture", size), Line("alpha", KEPT if channels == 4 else "none")]


def _video(file: InputContainer, stream: VideoStream, info: VideoInfo, rate: str) -> Iterator[Line]:
    frame = first_picture(file, stream)
    if frame is None:
        return
    seconds = (file.duration or 0) / av.time_base
    begin = (file.start_time or 0) / av.time_base
    container = "/".join(file.format.name.split(",")[:2])
    yield Line("container", f"{container}, {seconds:.2f} s, begins at {begin:.3f} s")
    context = stream.codec_context
    yield Line("video", f"{context.name}, {info.width_px}x{info.height_px} px, {rate}, {context.pix_fmt}")
    if orientation := Orientation.of(frame).text:
        yield Line("rotation", f"stored {orientation}; it is set upright")
    if info.pixel_aspect != 1:
        yield Line("pixels", f"{info.pixel_aspect} as wide as high; they stay so, and the file says it")
    if frame.interlaced_frame:
        yield Line("fields", "interlaced; they become whole pictures")
    yield Line("colour", _colour(frame))
    yield Line("alpha", KEPT if holds_alpha(stream) or has_alpha(frame) else "none")


def _colour(frame: av.VideoFrame) -> str:
    transfer, matrix = int(frame.color_trc), int(frame.colorspace)
    if transfer in HDR_TRANSFERS:
        return f"{TRANSFER_NAMES[transfer]}, high dynamic range; toned down to BT.709"
    extent = "full range" if int(frame.color_range) == 2 else "limited range"
    if matrix in UNKNOWN:
        guess = "BT.709" if frame.height >= HD_HEIGHT_PX else "BT.601"
        return f"untagged, {extent}; read as {guess}, as players do, and written as BT.709"
    return f"{MATRIX_NAMES.get(matrix, f'matrix {matrix}')}, {extent}; written as BT.709"


def _rate(path: str) -> str:
    """The mean rate, and whether frames come at even times, from the beginning of the file: some cannot seek."""
    with open_source_file(Path(path)) as file:
        stream = picture_stream(file, path)
        times = sorted(_packet_times(file, stream))
        mean = f"{float(stream.average_rate or stream.guessed_rate or 0):.2f} fps"
    steps = {later - earlier for earlier, later in pairwise(times)}
    # Clocks that do not divide the rate alternate between two neighbouring steps.
    return f"{mean}, variable" if steps and max(steps) - min(steps) > 1 else mean


def _packet_times(file: InputContainer, stream: VideoStream) -> Iterator[int]:
    """Of the first packets, up to the first that is damaged."""
    with suppress(av.FFmpegError):
        for packet in islice(packets_of(file, [stream]), SAMPLED_PACKETS):
            if packet.pts is not None:
                yield packet.pts


def _tracks(file: InputContainer, first: Mapping[int, Sequence[Packet[Any]]]) -> Iterator[Line]:
    for stream in (*file.streams.audio, *file.streams.subtitles):
        plans = {suffix: plan(stream, first.get(stream.index, []), way.muxer) for suffix, way in OPAQUE.items()}
        language = f", {stream.language}" if stream.language not in (None, "und") else ""
        actions = _actions({suffix: one.action for suffix, one in plans.items()})
        yield Line(stream.type, f"{_codec(stream, plans.values())}{language}; {actions}")
    attached: dict[str, TrackAction] = {
        suffix: "copied" if way.muxer in HAVE_ATTACHMENTS else "left out" for suffix, way in OPAQUE.items()
    }
    for attachment in file.streams.attachments:
        yield Line("attachment", f"{attachment.name}; {_actions(attached)}")


def _codec(stream: Any, plans: Iterable[Plan]) -> str:
    """The codec with what is known of the sound, or why it is left out everywhere."""
    why = {one.what for one in plans}
    if {one.action for one in plans} == {"left out"}:
        return why.pop()
    sound = f", {stream.rate:,} Hz, {layout_of(stream)}" if isinstance(stream, AudioStream) else ""
    return codec_of(stream) + sound


def _actions(actions: Mapping[str, TrackAction]) -> str:
    """What becomes of a track in each container that we write, by suffix."""
    together: dict[TrackAction, list[str]] = {}
    for suffix, what in actions.items():
        together.setdefault(what, []).append(suffix)
    return ", ".join(f"{what} in {' '.join(suffixes)}" for what, suffixes in together.items())
