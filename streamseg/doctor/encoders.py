"""Check of encoders: open every one that the formats of `-o` need, at a small size."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from streamseg.doctor.finding import Finding, Status
from streamseg.doctor.machine import Machine, pip_install

if TYPE_CHECKING:
    from av.audio.codeccontext import AudioCodecContext
    from av.video.codeccontext import VideoCodecContext

SIDE_PX = 256
"""Side of the pictures; NVENC refuses smaller ones than 145."""
SILENT = {"libx265": {"x265-params": "log-level=none"}}
"""Options of encoders that would write to the terminal."""
DEFAULT_CODEC = "libx264"
"""Without it, not even the usual output can be written."""


def check_encoders(machine: Machine) -> Iterator[Finding]:
    """Open the encoders; tell the formats that those which do not open would have written."""
    needed = _needed()
    closed = {codec: reason for codec in needed if (reason := _why_closed(codec))}
    remedy = f"{pip_install('av>=18,<19')} --force-reinstall --no-deps"
    for codec, reason in closed.items():
        status: Status = "problem" if codec == DEFAULT_CODEC else "warning"
        yield Finding(f"encoder {codec}", status, f"does not open: {reason}; for {', '.join(needed[codec])}", remedy)
    if opened := [codec for codec in needed if codec not in closed]:
        yield Finding("encoders", "ok", ", ".join(opened))


def why_video_does_not_open(codec: str, layout: str, options: Mapping[str, str]) -> str:
    """Open a video encoder; return the reason if it does not open, else nothing.

    Args:
        codec: FFmpeg's name.
        layout: FFmpeg's name of the pixel format.
        options: of the encoder.
    """
    import av

    try:
        encoder: VideoCodecContext = av.CodecContext.create(codec, "w")  # type: ignore[assignment]
        encoder.width = encoder.height = SIDE_PX
        encoder.pix_fmt, encoder.time_base, encoder.framerate = layout, Fraction(1, 30), Fraction(30)
        encoder.options = {**options, **SILENT.get(codec, {})}
        encoder.open()
    except (av.FFmpegError, ValueError) as error:  # ValueError: FFmpeg was built without this encoder.
        return str(error)
    return ""


def _why_sound_does_not_open(codec: str) -> str:
    import av

    from streamseg.sink.sound import FORMATS

    try:
        encoder: AudioCodecContext = av.CodecContext.create(codec, "w")  # type: ignore[assignment]
        encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", FORMATS[codec]
        encoder.open()
    except (av.FFmpegError, ValueError) as error:
        return str(error)
    return ""


def _needed() -> dict[str, list[str]]:
    """Return what each encoder writes, such as `.mov with alpha`, by its name."""
    from streamseg.sink.formats import OPAQUE, WITH_ALPHA
    from streamseg.sink.track_action import AUDIO_ENCODERS

    needed = defaultdict(list)
    for table, ending in ((OPAQUE, ""), (WITH_ALPHA, " with alpha")):
        for suffix, encoding in table.items():
            needed[encoding.codec].append(f"{suffix}{ending}")
            if encoding.high_codec:
                needed[encoding.high_codec].append(f"{suffix}{ending} at --quality high")
    for muxer, codec in AUDIO_ENCODERS.items():
        needed[codec].append(f"sound in {muxer}")
    return needed


def _why_closed(codec: str) -> str:
    from streamseg.sink.formats import OPAQUE, WITH_ALPHA
    from streamseg.sink.sound import FORMATS

    if codec in FORMATS:
        return _why_sound_does_not_open(codec)
    encodings = [encoding for table in (OPAQUE, WITH_ALPHA) for encoding in table.values()]
    for encoding in encodings:
        if codec == encoding.codec:
            reason = why_video_does_not_open(codec, encoding.layout, encoding.options)
        elif codec == encoding.high_codec:
            reason = why_video_does_not_open(codec, encoding.layout, encoding.high)
        else:
            continue
        if reason:
            return reason
    return ""
