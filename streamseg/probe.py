"""`streamseg probe`: describe a file's container, video, colour and tracks, and how streamseg will convert them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice, pairwise
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
from streamseg.decode.reading import first_frame_of, packets_of
from streamseg.decode.video import VideoFile, holds_alpha, video_stream
from streamseg.errors import InputError
from streamseg.frames import VideoInfo
from streamseg.infer.letterbox import Letterbox
from streamseg.media.storage import path_of
from streamseg.sink.channels import layout_of
from streamseg.sink.formats import OPAQUE
from streamseg.sink.metadata import HAVE_ATTACHMENTS
from streamseg.sink.track_action import Plan, TrackAction, beginnings, codec_of, open_source_file, plan

ALPHA_KEPT = "yes, it is kept"
UNSPECIFIED = {0, 2, 3}
"""Matrix numbers of ISO/IEC 23091-2 for unspecified or reserved."""

MATRIX_NAMES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 10: "BT.2020"}
TRANSFER_NAMES = {16: "PQ", 18: "HLG"}
SAMPLED_PACKETS = 300
"""Packets from which the frame rate's regularity is judged."""


class Fact(NamedTuple):
    """A named fact about a file."""

    name: str
    text: str


def describe(path: str, input_size_px: int) -> list[Fact]:
    """Describe a video, an animation, a photo or a folder of photos.

    Args:
        path: the file or folder, by path or URL.
        input_size_px: long side of the network's input in pixels.

    Raises:
        InputError: it holds no images that can be read.
    """
    with open_source(path) as source:
        info = source.info
        if isinstance(source, VideoFile):
            facts = _video_file_facts(path, info)
        else:
            facts = _image_facts(info, next(iter(source)).pixels.shape[2])
    letterbox = Letterbox.of(info.height_px, info.width_px, input_size_px)
    return [*facts, Fact("network", f"sees it at {letterbox.input_width}x{letterbox.input_height} px")]


def _video_file_facts(path: str, info: VideoInfo) -> list[Fact]:
    try:
        with open_source_file(path_of(path)) as file:
            video = _video_facts(file, video_stream(file, path), info, _rate_text(path))
            return [*video, *_track_facts(file, beginnings(path_of(path)))]
    except av.FFmpegError as error:
        raise InputError(f"{path} is damaged: {error.strerror}") from error


def _image_facts(info: VideoInfo, channels: int) -> list[Fact]:
    count = f"{info.frame_count} images of " if info.frame_count != 1 else ""
    size = f"{count}{info.width_px}x{info.height_px} px"
    return [Fact("image", size), Fact("alpha", ALPHA_KEPT if channels == 4 else "none")]


def _video_facts(file: InputContainer, stream: VideoStream, info: VideoInfo, rate: str) -> Iterator[Fact]:
    frame = first_frame_of(file, stream)
    if frame is None:
        return
    seconds = (file.duration or 0) / av.time_base
    begin = (file.start_time or 0) / av.time_base
    container = "/".join(file.format.name.split(",")[:2])
    yield Fact("container", f"{container}, {seconds:.2f} s, begins at {begin:.3f} s")
    context = stream.codec_context
    yield Fact("video", f"{context.name}, {info.width_px}x{info.height_px} px, {rate}, {context.pix_fmt}")
    if orientation := Orientation.of(frame).text:
        yield Fact("rotation", f"stored {orientation}; it is set upright")
    if info.pixel_aspect != 1:
        yield Fact("pixels", f"{info.pixel_aspect} as wide as high; they stay so in videos and OpenEXR")
    if frame.interlaced_frame:
        yield Fact("fields", "interlaced; they become whole frames")
    yield Fact("colour", _colour_text(frame))
    yield Fact("alpha", ALPHA_KEPT if holds_alpha(stream) or has_alpha(frame) else "none")


def _colour_text(frame: av.VideoFrame) -> str:
    """Describe the transfer function, range and matrix of a frame, and how they are converted."""
    transfer, matrix = int(frame.color_trc), int(frame.colorspace)
    if transfer in HDR_TRANSFERS:
        return f"{TRANSFER_NAMES[transfer]}, high dynamic range; toned down to BT.709"
    extent = "full range" if int(frame.color_range) == 2 else "limited range"
    if matrix in UNSPECIFIED:
        guess = "BT.709" if frame.height >= HD_HEIGHT_PX else "BT.601"
        return f"untagged, {extent}; read as {guess}, as players do, and written as BT.709"
    return f"{MATRIX_NAMES.get(matrix, f'matrix {matrix}')}, {extent}; written as BT.709"


def _rate_text(path: str) -> str:
    """Describe the mean frame rate and whether it varies, reading from the start, since some files cannot seek."""
    with open_source_file(path_of(path)) as file:
        stream = video_stream(file, path)
        times = sorted(_packet_times(file, stream))
        mean = f"{float(stream.average_rate or stream.guessed_rate or 0):.2f} fps"
    steps = {later - earlier for earlier, later in pairwise(times)}
    # Clocks that do not divide the rate alternate between two neighbouring steps.
    return f"{mean}, variable" if steps and max(steps) - min(steps) > 1 else mean


def _packet_times(file: InputContainer, stream: VideoStream) -> Iterator[int]:
    """Yield the pts of the first packets, up to the first damaged one."""
    with suppress(av.FFmpegError):
        for packet in islice(packets_of(file, [stream]), SAMPLED_PACKETS):
            if packet.pts is not None:
                yield packet.pts


def _track_facts(file: InputContainer, first: Mapping[int, Sequence[Packet[Any]]]) -> Iterator[Fact]:
    """Describe each sound, subtitle and attachment track, and whether each container copies, transcodes or drops it."""
    for stream in (*file.streams.audio, *file.streams.subtitles):
        plans = {suffix: plan(stream, first.get(stream.index, []), way.muxer) for suffix, way in OPAQUE.items()}
        language = f", {stream.language}" if stream.language not in (None, "und") else ""
        actions = _actions_text({suffix: one.action for suffix, one in plans.items()})
        yield Fact(stream.type, f"{_codec_text(stream, plans.values())}{language}; {actions}")
    attached: dict[str, TrackAction] = {
        suffix: "copied" if way.muxer in HAVE_ATTACHMENTS else "left out" for suffix, way in OPAQUE.items()
    }
    for attachment in file.streams.attachments:
        yield Fact("attachment", f"{attachment.name}; {_actions_text(attached)}")


def _codec_text(stream: Any, plans: Iterable[Plan]) -> str:
    """Describe a track's codec, sample rate and channel layout, or why every container drops it."""
    reasons = {one.what for one in plans}
    if {one.action for one in plans} == {"left out"}:
        return reasons.pop()
    sound = f", {stream.rate:,} Hz, {layout_of(stream)}" if isinstance(stream, AudioStream) else ""
    return codec_of(stream) + sound


def _actions_text(actions: Mapping[str, TrackAction]) -> str:
    """List the action on a track by container suffix."""
    together: dict[TrackAction, list[str]] = {}
    for suffix, what in actions.items():
        together.setdefault(what, []).append(suffix)
    return ", ".join(f"{what} in {' '.join(suffixes)}" for what, suffixes in together.items())
