"""Photos one by one, each at its own size: the same stages as a video, without time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from streamseg.composite.background import Background, chosen_background
from streamseg.composite.stage import finish
from streamseg.decode.base import check_seekable, check_size
from streamseg.decode.images import count_pictures, images_in, open_picture, read_image
from streamseg.errors import InputError, OutputError, StreamsegError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.engines.base import Engine
from streamseg.infer.every_frame import infer
from streamseg.settings import Settings
from streamseg.sink.animation import ANIMATIONS
from streamseg.sink.pictures import HOLD_ALPHA, WITHOUT_ALPHA, make_folder, write_image


@dataclass(frozen=True, slots=True)
class PhotoDone:
    """What became of one photo.

    Attributes:
        photo: where it came from.
        out: where the result is.
        size_px: width and height.
        inference_ms: time that the network took.
        note: what the user should know of the result, or nothing.
        problem: why there is no result, or None.
    """

    photo: Path
    out: Path
    size_px: tuple[int, int] = (0, 0)
    inference_ms: float = 0.0
    note: str = ""
    problem: str | None = None


def plan_photos(inputs: list[str], out: str, transparent: bool) -> list[tuple[Path, Path]]:
    """Pairs every photo with the file that its result goes to.

    Args:
        inputs: photos and folders of photos.
        out: a picture file for one photo; a folder for several, where each keeps its stem as a PNG. A new folder whose
            name has a dot ends with a slash, so that no file name becomes a folder.
        transparent: the results carry alpha.

    Raises:
        InputError: a photo or folder is missing or empty.
        OutputError: `out` is no picture that can be written, does not fit the inputs, or would overwrite one of them.
    """
    photos = [photo for entry in inputs for photo in _expand(Path(entry))]
    target = Path(out)
    if target.suffix and not target.is_dir() and not out.endswith(("/", os.sep)):
        _check_format(target)
        pairs = [(photo, target) for photo in photos]
    else:
        make_folder(target)
        pairs = [(photo, target / f"{photo.stem}.png") for photo in photos]
    _check_plan(pairs, transparent)
    return pairs


def matte_photos(pairs: list[tuple[Path, Path]], engine: Engine, settings: Settings) -> Iterator[PhotoDone]:
    """Does one photo after the other; a bad one is reported and the rest go on."""
    with chosen_background(settings.composite) as background:
        for photo, out in pairs:
            try:
                done = _matte_photo(photo, out, engine, settings, background)
            except StreamsegError as error:
                done = PhotoDone(photo, out, problem=str(error))
            yield done


def _matte_photo(
    photo: Path, out: Path, engine: Engine, settings: Settings, background: Background | None
) -> PhotoDone:
    pixels = read_image(photo)
    check_size(pixels.shape, str(photo))
    frame = Frame(0, Fraction(0), pixels)
    started = time.perf_counter()
    batch = next(infer([frame], engine, settings.infer.input_size))
    inference_ms = (time.perf_counter() - started) * 1000
    picture = finish(frame, batch.alpha[0, 0].numpy(), background, settings.composite.matte_only)
    written = replace(frame, image=picture).pixels
    write_image(out, written, settings.output.straight)
    notes = filter(None, (_of_several(photo), _of_format(out, written)))
    return PhotoDone(photo, out, (pixels.shape[1], pixels.shape[0]), inference_ms, "; ".join(notes))


def _check_format(target: Path) -> None:
    if target.suffix.lower() not in HOLD_ALPHA + WITHOUT_ALPHA:
        known = ", ".join(HOLD_ALPHA + WITHOUT_ALPHA)
        raise OutputError(
            f"cannot write a photo as {target}: give a name that ends in {known}, or a folder for PNGs "
            f"(one with a dot in its name as {target}{os.sep}); videos are written by streamseg video"
        )


def _of_several(photo: Path) -> str:
    with open_picture(photo) as opened:
        count = count_pictures(opened)
    return f"the first of {count} pictures, streamseg video does them all" if count > 1 else ""


def _of_format(out: Path, pixels: Pixels) -> str:
    if out.suffix.lower() != ".gif":
        return ""
    form = ANIMATIONS[".gif"]
    return f"{form.label}, {form.alpha}" if pixels.shape[2:] == (4,) else form.label


def _expand(entry: Path) -> list[Path]:
    check_seekable(entry)
    if not entry.exists():
        raise InputError(f"no such photo or folder: {entry}")
    return images_in(entry) if entry.is_dir() else [entry]


def _check_plan(pairs: list[tuple[Path, Path]], transparent: bool) -> None:
    taken: dict[Path, Path] = {}
    for photo, out in pairs:
        if out.exists() and out.samefile(photo):
            raise OutputError(f"the output {out} is the input itself; give another name or folder")
        if out in taken:
            raise OutputError(
                f"{photo} and {taken[out]} would both be written to {out}; give a folder, or one at a time"
            )
        if transparent and out.suffix.lower() in WITHOUT_ALPHA:
            raise OutputError(f"{out} cannot hold transparency: give a .png, --bg FILE|COLOR|blur, or --matte-only")
        taken[out] = photo
