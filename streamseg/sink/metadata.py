"""What the output takes over from its source beside the tracks: titles, languages, flags, chapters, attachments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

from streamseg.media.stacked import STACKED_TAG

OF_THE_FILE = {"major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id"}
"""Metadata that describes the source's container, not its contents."""

OF_THE_TRACK = {"duration", "bps", "number_of_frames", "number_of_bytes"}
"""Metadata that counts what a track holds, which may be another stretch or codec now."""

NOT_UTF8 = "\N{REPLACEMENT CHARACTER}"
"""Stands for what is not UTF-8 where a file is opened with `metadata_errors="replace"`."""

QUICKTIME_KEYS = "com.apple.quicktime."
"""Where phones note place, make, model and local time."""

HAVE_ATTACHMENTS = {"matroska"}
NOT_THE_MAIN_SOUND = Disposition.comment | Disposition.visual_impaired | Disposition.hearing_impaired


def contents(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that still holds in another container: titles, languages, dates; what is not UTF-8 is left out."""
    return {key: text for key, text in metadata.items() if _still_holds(key.lower(), text)}


def inherit_file(output: OutputContainer, source: InputContainer) -> None:
    """Takes over what a source's file says of itself."""
    output.metadata.update(contents(source.metadata))
    if output.format.name in ("mp4", "mov") and any(key.startswith(QUICKTIME_KEYS) for key in output.metadata):
        # In its own form, or FFmpeg knows only some of these keys, and in .mp4 none.
        output.options["movflags"] = output.options.get("movflags", "") + "+use_metadata_tags"


def inherit_chapters(output: OutputContainer, source: InputContainer) -> None:
    """Takes over the chapters."""
    output.set_chapters([{**chapter, "metadata": contents(chapter["metadata"])} for chapter in source.chapters()])


def inherit_track(stream: Stream, source: Any) -> None:
    """Takes over a track's language, title and flags (default, commentary, forced)."""
    stream.metadata.update(contents(source.metadata))
    stream.disposition = source.disposition


def inherit_attachments(output: OutputContainer, source: InputContainer) -> list[str]:
    """Takes over fonts and other attachments where the container has such; the names of those that are left out."""
    attached = source.streams.attachments
    if output.format.name not in HAVE_ATTACHMENTS:
        return [stream.name or "nameless" for stream in attached]
    for stream in attached:
        output.add_attachment(stream.name or "nameless", stream.mimetype or "application/octet-stream", stream.data)
    return []


def choose_default(sounds: Sequence[AudioStream]) -> None:
    """Flags the main sound as default where no sound is: some containers would otherwise take the first."""
    if not any(sound.disposition & Disposition.default for sound in sounds):
        for sound in [sound for sound in sounds if not sound.disposition & NOT_THE_MAIN_SOUND][:1]:
            sound.disposition = sound.disposition | Disposition.default


def _still_holds(key: str, text: str) -> bool:
    # Matroska's keys may end in a language: BPS-eng.
    if key in OF_THE_FILE or key.partition("-")[0] in OF_THE_TRACK or key.startswith("_statistics"):
        return False
    return NOT_UTF8 not in key + text and text != STACKED_TAG
