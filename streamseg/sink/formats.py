"""Table of video encodings, and the choice of one by file suffix, alpha and quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streamseg.decode.base import MIN_SIDE_PX
from streamseg.errors import OutputError
from streamseg.frames import Kind, VideoInfo
from streamseg.media.storage import AnyPath
from streamseg.settings import OutputSettings


@dataclass(frozen=True, slots=True)
class Encoding:
    """Container, codec and encoder options of a video file.

    Attributes:
        muxer: FFmpeg's name of the container.
        codec: FFmpeg's name of the encoder.
        layout: FFmpeg's name of the pixel format; one with an alpha component stores alpha.
        label: name of the encoding for the summary.
        plays_in: programs that play it, for the summary.
        options: encoder options at the standard quality.
        high: encoder options that replace or extend these at high quality.
        high_codec: encoder that replaces `codec` at high quality.
        stacked: alpha is stored as grey below the colours.
        layered: alpha is encoded separately, as a second layer of the stream.
    """

    muxer: str
    codec: str
    layout: str
    label: str
    plays_in: str
    options: Mapping[str, str] = field(default_factory=dict)
    high: Mapping[str, str] = field(default_factory=dict)
    high_codec: str | None = None
    stacked: bool = False
    layered: bool = False


# x264: visually lossless for a second-generation file, at a speed that leaves the cores to the network.
X264, X264_HIGH = {"crf": "18", "preset": "veryfast", "g": "60"}, {"crf": "12", "preset": "medium"}
# A matte is judged by its error, not by its look: the grain that x264 adds without this tuning doubles the error.
X264_MATTE = {"crf": "14", "tune": "psnr"}
# VP9 is slow: `cpu-used` trades size for time. `auto-alt-ref` must be off, or the alpha layer is refused.
VP9 = {"crf": "16", "b": "0", "deadline": "good", "cpu-used": "6", "row-mt": "1", "auto-alt-ref": "0", "g": "60"}
VP9_HIGH = {"crf": "10", "cpu-used": "2"}
# x265 runs twice, for the colours and for the matte.
X265, X265_HIGH = {"crf": "20", "preset": "superfast"}, {"crf": "14", "preset": "veryfast"}
FFV1 = {"level": "3", "slicecrc": "1", "g": "1"}

EVEN_WIDTHS_ONLY = "prores_aw"

ANYWHERE, BROWSERS = "any player", "Chrome, Firefox, Edge, OBS"
EDITORS = "Final Cut Pro, Premiere, Resolve, After Effects"
APPLE = "Safari, QuickTime and other Apple programs, FFmpeg 9"

OPAQUE = {
    ".mp4": Encoding("mp4", "libx264", "yuv420p", "H.264", ANYWHERE, X264, X264_HIGH),
    ".mov": Encoding("mov", "libx264", "yuv420p", "H.264", ANYWHERE, X264, X264_HIGH),
    ".mkv": Encoding("matroska", "libx264", "yuv420p", "H.264", "most players", X264, X264_HIGH),
    ".webm": Encoding("webm", "libvpx-vp9", "yuv420p", "VP9", "any browser", VP9, VP9_HIGH),
}
"""Encodings of composites and mattes, by suffix."""

WITH_ALPHA = {
    ".mp4": Encoding("mp4", "libx265", "yuv420p", "HEVC with alpha", APPLE, X265, X265_HIGH, layered=True),
    ".mov": Encoding(
        "mov",
        "prores_aw",
        "yuva444p10le",
        "ProRes 4444 with alpha",
        EDITORS,
        high={"profile": "4444", "alpha_bits": "16", "vendor": "apl0"},
        high_codec="prores_ks",
    ),
    ".webm": Encoding("webm", "libvpx-vp9", "yuva420p", "VP9 with alpha", BROWSERS, VP9, VP9_HIGH),
    ".mkv": Encoding("matroska", "ffv1", "bgra", "FFV1 with alpha, lossless", "VLC, mpv, FFmpeg", FFV1),
}
"""Encodings of foregrounds with alpha, by suffix; the programs named read their alpha."""


def choose_encoding(path: AnyPath, kind: Kind, output: OutputSettings) -> Encoding:
    """Choose the encoding of a video file.

    Args:
        path: its suffix names the container.
        kind: kind of the frames to write.
        output: how to store alpha, and at which quality.

    Raises:
        OutputError: the suffix names no container that can be written.
    """
    suffix = path.suffix.lower()
    if suffix not in OPAQUE:
        known = ", ".join(OPAQUE)
        raise OutputError(
            f"cannot write {path}: give a name that ends in {known}, .webp, .gif or .apng, a pattern such as "
            "x_%05d.png, or a folder for PNGs"
        )
    if kind != "foreground":
        return _at_quality(_for_matte(OPAQUE[suffix]) if kind == "matte" else OPAQUE[suffix], output.quality)
    if output.alpha == "stacked":
        return _at_quality(_stacked(OPAQUE[suffix]), output.quality)
    return _at_quality(WITH_ALPHA[suffix], output.quality)


def at_width(chosen: Encoding, width_px: int) -> Encoding:
    """Return the encoding, with its high-quality encoder for odd widths where `prores_aw` would refuse them."""
    return _at_quality(chosen, "high") if width_px % 2 and chosen.codec == EVEN_WIDTHS_ONLY else chosen


def check_size(path: AnyPath, info: VideoInfo) -> None:
    """Check that frames are large enough for every encoder and for streamseg's own reader.

    Raises:
        OutputError: a side is shorter than 16 px.
    """
    if min(info.width_px, info.height_px) < MIN_SIDE_PX:
        smallest = f"a video has {MIN_SIDE_PX}x{MIN_SIDE_PX} px at least"
        raise OutputError(
            f"cannot write {path}: the frames have {info.width_px}x{info.height_px} px, {smallest}; "
            "name a .webp, .gif or .apng"
        )


def _at_quality(chosen: Encoding, quality: str) -> Encoding:
    if quality != "high":
        return chosen
    return replace(chosen, codec=chosen.high_codec or chosen.codec, options={**chosen.options, **chosen.high})


def _for_matte(opaque: Encoding) -> Encoding:
    return replace(opaque, options={**opaque.options, **X264_MATTE}) if opaque.codec == "libx264" else opaque


def _stacked(opaque: Encoding) -> Encoding:
    label, plays_in = f"{opaque.label} with alpha stacked below the colours", "web players for stacked alpha"
    return replace(_for_matte(opaque), label=label, plays_in=plays_in, stacked=True)
