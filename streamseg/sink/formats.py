"""Which codec the name of a file and the wish for alpha call for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamseg.decode.base import MIN_SIDE_PX
from streamseg.errors import OutputError
from streamseg.frames import Kind, VideoInfo
from streamseg.settings import OutputSettings


@dataclass(frozen=True, slots=True)
class Encoding:
    """How pictures are stored in a file.

    Attributes:
        muxer: FFmpeg's name of the container.
        codec: FFmpeg's name of the encoder.
        layout: FFmpeg's name of the pixel format; one with alpha keeps it.
        label: what it is, for the user.
        plays_in: what takes it, for the user.
        options: the encoder's, at the standard quality.
        high: the encoder's at high quality, over the others.
        high_codec: another encoder for high quality.
        stacked: alpha is stored as grey below the colours.
        layered: alpha goes through an encoder of its own, into a second layer.
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
# A matte is measured, not looked at: without the tuning, the grain that x264 adds for the eye doubles its error.
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
"""Pictures and mattes without alpha."""

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
"""Cut-outs: the same suffixes, with codecs whose alpha the programs named here read."""


def choose_encoding(path: Path, kind: Kind, output: OutputSettings) -> Encoding:
    """The encoding for a file name.

    Args:
        path: its suffix names the container.
        kind: what will be written.
        output: where alpha goes, and the quality that is wanted.

    Raises:
        OutputError: there is no such container.
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
    """An encoding for pictures that wide: as chosen, or with its other encoder, as `prores_aw` refuses odd widths."""
    return _at_quality(chosen, "high") if width_px % 2 and chosen.codec == EVEN_WIDTHS_ONLY else chosen


def check_size(path: Path, info: VideoInfo) -> None:
    """Raises OutputError for pictures too small for some encoder or for our own reader."""
    if min(info.width_px, info.height_px) < MIN_SIDE_PX:
        smallest = f"a video has {MIN_SIDE_PX}x{MIN_SIDE_PX} px at least"
        raise OutputError(
            f"cannot write {path}: the pictures have {info.width_px}x{info.height_px} px, {smallest}; "
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
