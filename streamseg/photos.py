"""Photo matting: matte photos one by one, each at its own size, with the stages of a video but without smoothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from streamseg.composite.background import Background, chosen_background
from streamseg.composite.look import Look
from streamseg.composite.stage import finish
from streamseg.decode.base import check_seekable, check_size
from streamseg.decode.images import count_frames, images_in, open_image, read_image
from streamseg.errors import InputError, OutputError, StreamsegError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.crops import infer_with_crops
from streamseg.infer.engines.base import Engine
from streamseg.media.storage import AnyPath, is_same_file, path_of
from streamseg.settings import Settings
from streamseg.sink.animation import ANIMATIONS
from streamseg.sink.images import HOLD_ALPHA, WITHOUT_ALPHA, make_folder, write_image
from streamseg.smooth.stage import subject_tracker
from streamseg.yuv import RgbImage


@dataclass(frozen=True, slots=True)
class PhotoResult:
    """Outcome of one photo.

    Attributes:
        photo: the input file.
        out: the output file.
        size_px: width and height.
        inference_ms: time of the network.
        note: what the user should know of the result; may be empty.
        problem: error message if there is no result, else None.
    """

    photo: AnyPath
    out: AnyPath
    size_px: tuple[int, int] = (0, 0)
    inference_ms: float = 0.0
    note: str = ""
    problem: str | None = None


def plan_photos(inputs: list[str], out: str, transparent: bool) -> list[tuple[AnyPath, AnyPath]]:
    """Pair every photo with its output file.

    Args:
        inputs: photos and folders of photos, by path or URL.
        out: an image file for one photo; a folder for several, which keep their stems and become PNGs. A new folder
            with a dot in its name needs a slash at its end, so that a file name is never taken for a folder.
        transparent: the results have alpha.

    Raises:
        InputError: a photo or folder is missing or empty.
        OutputError: `out` has no writable format, does not fit the inputs, or would overwrite one of them.
    """
    photos = [photo for entry in inputs for photo in _expand(path_of(entry))]
    target = path_of(out)
    if target.suffix and not out.endswith(("/", os.sep)) and not target.is_dir():
        _check_format(target)
        pairs = [(photo, target) for photo in photos]
    else:
        make_folder(target)
        pairs = [(photo, target / f"{photo.stem}.png") for photo in photos]
    _check_plan(pairs, transparent)
    return pairs


def matte_photos(pairs: list[tuple[AnyPath, AnyPath]], engine: Engine, settings: Settings) -> Iterator[PhotoResult]:
    """Matte one photo after the other; yield the outcome of each, also of photos that fail."""
    with chosen_background(settings.composite) as background:
        for photo, out in pairs:
            try:
                done = _matte_photo(photo, out, engine, settings, background)
            except StreamsegError as error:
                done = PhotoResult(photo, out, problem=str(error))
            yield done


def _matte_photo(
    photo: AnyPath, out: AnyPath, engine: Engine, settings: Settings, background: Background | None
) -> PhotoResult:
    """Matte one photo and write the result.

    Raises:
        StreamsegError: the photo cannot be read or is too small, or the result cannot be written.
    """
    pixels = read_image(photo)
    check_size(pixels.shape, str(photo))
    frame = Frame(0, Fraction(0), RgbImage(pixels))
    started = time.perf_counter()
    batch = next(infer_with_crops([frame], engine, settings.infer))
    inference_ms = (time.perf_counter() - started) * 1000
    chosen, alpha = settings.composite, batch.alpha[0, 0].numpy()
    tracker = subject_tracker(settings.smooth)
    if tracker:
        alpha = tracker.step(alpha, 0.0)
    result = finish(frame, alpha, background, chosen.matte_only, Look.of(chosen), chosen.foreground).pixels
    write_image(out, result, settings.output.straight)
    notes = filter(None, (_count_note(photo), _format_note(out, result)))
    return PhotoResult(photo, out, (pixels.shape[1], pixels.shape[0]), inference_ms, "; ".join(notes))


def _check_format(target: AnyPath) -> None:
    """Raise OutputError if a photo cannot be written in the format of `target`."""
    if target.suffix.lower() not in HOLD_ALPHA + WITHOUT_ALPHA:
        known = ", ".join(HOLD_ALPHA + WITHOUT_ALPHA)
        raise OutputError(
            f"cannot write a photo as {target}: give a name that ends in {known}, or a folder for PNGs "
            f"(one with a dot in its name as {target}{os.sep}); videos are written by streamseg video"
        )


def _count_note(photo: AnyPath) -> str:
    """Note that a file holds more than one image, of which only the first is matted."""
    with open_image(photo) as opened:
        count = count_frames(opened)
    return f"the first of {count} frames, streamseg video does them all" if count > 1 else ""


def _format_note(out: AnyPath, pixels: Pixels) -> str:
    """Note what a GIF does to colours and alpha."""
    if out.suffix.lower() != ".gif":
        return ""
    form = ANIMATIONS[".gif"]
    return f"{form.label}, {form.alpha}" if pixels.shape[2:] == (4,) else form.label


def _expand(entry: AnyPath) -> list[AnyPath]:
    """List the photos of a folder, or the photo itself; raise InputError if it is missing."""
    check_seekable(entry)
    if not entry.exists():
        raise InputError(f"no such photo or folder: {entry}")
    return images_in(entry) if entry.is_dir() else [entry]


def _check_plan(pairs: list[tuple[AnyPath, AnyPath]], transparent: bool) -> None:
    """Raise OutputError if an output overwrites its input or another output, or cannot hold the needed alpha."""
    taken: dict[AnyPath, AnyPath] = {}
    for photo, out in pairs:
        if is_same_file(out, photo):
            raise OutputError(f"the output {out} is the input itself; give another name or folder")
        if out in taken:
            raise OutputError(
                f"{photo} and {taken[out]} would both be written to {out}; give a folder, or one at a time"
            )
        if transparent and out.suffix.lower() in WITHOUT_ALPHA:
            raise OutputError(f"{out} cannot hold transparency: give a .png, --bg FILE|COLOR|blur, or --matte-only")
        taken[out] = photo
