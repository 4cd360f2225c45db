"""Metadata inherited from the source file: titles, languages, flags, chapters and attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

from streamseg.media.stacked import STACKED_TAG

if TYPE_CHECKING:
    from av.container.core import Chapter

CONTAINER_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id"}
"""Metadata that describes the source's container, not its contents."""

TRACK_STATISTICS_KEYS = {"duration", "bps", "number_of_frames", "number_of_bytes"}
"""Keys of statistics of a track, which another codec or time range makes wrong."""

MICROSECOND = Fraction(1, av.time_base)
"""FFmpeg's time base where a file states none."""

REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""Stands for bytes that are not UTF-8 in a file opened with `metadata_errors="replace"`."""

QUICKTIME_KEY_PREFIX = "com.apple.quicktime."
"""Prefix of the keys in which phones store place, make, model and local time."""

HAVE_ATTACHMENTS = {"matroska"}
SECONDARY_AUDIO = Disposition.comment | Disposition.visual_impaired | Disposition.hearing_impaired


def inheritable_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the metadata that holds in another container, such as titles and dates; texts not in UTF-8 are dropped."""
    return {key: text for key, text in metadata.items() if _is_inheritable(key.lower(), text)}


def inherit_file(output: OutputContainer, source: InputContainer) -> None:
    """Copy the metadata of the source file."""
    output.metadata.update(inheritable_metadata(source.metadata))
    if output.format.name in ("mp4", "mov") and any(key.startswith(QUICKTIME_KEY_PREFIX) for key in output.metadata):
        # By default, FFmpeg writes only some of these keys to .mov, and none to .mp4.
        output.options["movflags"] = output.options.get("movflags", "") + "+use_metadata_tags"


def inherit_chapters(
    output: OutputContainer, source: InputContainer, start_time: Fraction, end_time: Fraction | None
) -> None:
    """Copy the chapters, or what of them is between two times of the source, in seconds; the first is 0 then."""
    chapters: list[Chapter] = []
    for chapter in source.chapters():
        time_base = chapter["time_base"] or MICROSECOND
        start = max(0, chapter["start"] - round(start_time / time_base))
        end = chapter["end"] - round(start_time / time_base)
        if end_time is not None:
            end = min(end, round((end_time - start_time) / time_base))
        if start < end:
            metadata = inheritable_metadata(chapter["metadata"])
            chapters.append(
                {"id": chapter["id"], "start": start, "end": end, "time_base": time_base, "metadata": metadata}
            )
    output.set_chapters(chapters)


def inherit_track(stream: Stream, source: Any) -> None:
    """Copy a track's language, title and flags (default, commentary, forced)."""
    stream.metadata.update(inheritable_metadata(source.metadata))
    stream.disposition = source.disposition


def inherit_attachments(output: OutputContainer, source: InputContainer) -> list[str]:
    """Copy fonts and other attachments where the container has any; return the names of those left out."""
    attached = source.streams.attachments
    if output.format.name not in HAVE_ATTACHMENTS:
        return [stream.name or "nameless" for stream in attached]
    for stream in attached:
        output.add_attachment(stream.name or "nameless", stream.mimetype or "application/octet-stream", stream.data)
    return []


def choose_default(sounds: Sequence[AudioStream]) -> None:
    """Flag the main audio track as default where none is, as some containers would flag the first track."""
    if not any(sound.disposition & Disposition.default for sound in sounds):
        for sound in [sound for sound in sounds if not sound.disposition & SECONDARY_AUDIO][:1]:
            sound.disposition = sound.disposition | Disposition.default


def _is_inheritable(key: str, text: str) -> bool:
    # Matroska's keys may end in a language: BPS-eng.
    if key in CONTAINER_KEYS or key.partition("-")[0] in TRACK_STATISTICS_KEYS or key.startswith("_statistics"):
        return False
    return REPLACEMENT_CHARACTER not in key + text and text != STACKED_TAG
