"""Which synthetic clips there are, and how one is put together: subject, place, camera, motion blur, noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from streamseg.batch.jobs import VIDEO_SUFFIXES
from streamseg.errors import DataError
from train.composites import Composites, decode_rgba
from train.data import Blob, Pixels, decode, empty_pairs
from train.synth import shapes
from train.synth.backdrops import Backdrop, Film, Picture, Swaying, Waves, film_seconds
from train.synth.motion import Matrix, Motion, Sway, eased, scaled, shifted, swing
from train.synth.scene import Scene
from train.synth.shapes import Cutout

Kind = Literal["person", "strands", "hand", "enters", "empty"]

RATE = 24
"""Frames a second."""

COMPOSITES, ROOMS = "composites.tar", "empty_rooms.tar"

KEPT_ROOMS = 10
"""Every so-manieth room, from the first on, is for evaluation and was never trained on."""

MIN_ROOM_PX = 280
"""Least short side of a room that is taken: smaller ones look out of focus."""

BACKGROUND_SCALE = 1.2
"""A background is so much larger than the frame, for the camera to move over."""

HEIGHTS = (0.7, 1.3)
"""Height of a person as a share of the frame's."""

LARGEST_ZOOM = 1.8
"""Cut-outs are enlarged so much at most, beyond which their edges would be blurred."""

HAND_PX_PER_FRAME = 40
"""Speed of the hand."""

ENTERS_AT_SECONDS, ENTERS_FOR_SECONDS = 0.3, 0.6
"""When a person begins to walk in, and how long that takes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a clip shows.

    Attributes:
        kind: `person` (a cut-out), `strands` (a drawn person with loose hair), `hand` (a drawn one, 40 px a frame),
            `enters` (a person who walks in) or `empty` (nobody).
        place: where; a `clip` is a background that moves itself.
        camera: `still`, `handheld` or `pan`.
        pace: how far the person sways; 1 is calm.
        shutter: share of the time between two frames that the shutter is open; 0 for no motion blur.
        noise_levels: standard deviation of the noise, of 255.
        crf: H.264's quality, or None for lossless frames.
    """

    kind: Kind
    place: Literal["photo", "room", "clip"]
    camera: Literal["still", "handheld", "pan"]
    pace: float = 1.0
    shutter: float = 0.0
    noise_levels: float = 0.0
    crf: int | None = None


RECIPES = (
    Recipe("person", "photo", "still"),
    Recipe("person", "room", "still", noise_levels=4, crf=23),
    Recipe("person", "photo", "handheld", pace=2, shutter=0.5),
    Recipe("person", "photo", "pan", crf=28),
    Recipe("person", "room", "handheld", pace=2, shutter=0.5, noise_levels=3, crf=26),
    Recipe("person", "photo", "still", noise_levels=6),
    Recipe("strands", "photo", "handheld"),
    Recipe("strands", "room", "still", noise_levels=3, crf=26),
    Recipe("hand", "room", "still", shutter=0.5, crf=23),
    Recipe("enters", "room", "still", shutter=0.3, noise_levels=3, crf=23),
    Recipe("empty", "room", "still", noise_levels=5, crf=26),
    Recipe("empty", "room", "handheld", noise_levels=2, crf=23),
)
"""The default set; larger ones begin it again with other pictures."""

MOVING_RECIPES = (
    Recipe("person", "clip", "still", crf=23),
    Recipe("strands", "clip", "handheld", noise_levels=3, crf=26),
    Recipe("enters", "clip", "still", shutter=0.3, noise_levels=3, crf=23),
    Recipe("empty", "clip", "handheld", noise_levels=2, crf=23),
)
"""Those before backgrounds that move themselves; more of them begin these again."""


class Pictures:
    """Cut-outs, photos and rooms for the scenes: from the development data, or drawn if there are none; and films."""

    def __init__(self, data: Path | None, films: Path | None = None) -> None:
        """List the pictures.

        Args:
            data: the folder of `composites.tar` and `empty_rooms.tar`; None to draw everything.
            films: a folder of videos without people; None to let parts of pictures sway instead.

        Raises:
            DataError: one of the two is missing, empty or damaged; or there are no films.
        """
        self._films = _films_in(films) if films else []
        self._composites = Composites(data / COMPOSITES) if data else None
        rooms = empty_pairs(data / ROOMS)[::KEPT_ROOMS] if data else []
        self._rooms = [room.image for room in rooms]

    def cutout(self, rng: np.random.Generator) -> Cutout:
        """Choose a cut-out, mirrored or not."""
        if not self._composites:
            return shapes.person(rng)
        blobs = self._composites.cutouts
        rgba = decode_rgba(blobs[int(rng.integers(len(blobs)))]).astype(np.float32) / 255
        rgba[..., :3] *= rgba[..., 3:]
        mirrored = rgba[:, ::-1] if rng.random() < 0.5 else rgba
        # Transparent borders: a picture's edge must not become an edge in the frame.
        return np.pad(mirrored, ((2, 2), (2, 2), (0, 0)))

    def background(self, place: str, shape: tuple[int, int], rng: np.random.Generator) -> Pixels:
        """Choose a photo or a room, or draw a room a little larger than the frame; RGB `(H, W, 3)`.

        Raises:
            DataError: the picture does not decode, or no room is large enough.
        """
        if not self._composites:
            height, width = (round(side * BACKGROUND_SCALE) for side in shape)
            return shapes.room(height, width, rng)
        if place == "photo":
            blobs = self._composites.backgrounds
            return _rgb(blobs[int(rng.integers(len(blobs)))])
        for index in rng.permutation(len(self._rooms)):
            if min((picture := _rgb(self._rooms[index])).shape[:2]) >= MIN_ROOM_PX:
                return picture
        raise DataError(f"{ROOMS} holds no room of at least {MIN_ROOM_PX} px for evaluation")

    def moving(self, shape: tuple[int, int], rng: np.random.Generator) -> Backdrop:
        """Choose a film and where it begins, or a photo or room of which parts sway.

        Raises:
            DataError: it cannot be read.
        """
        if self._films:
            film = self._films[int(rng.integers(len(self._films)))]
            height, width = (round(side * BACKGROUND_SCALE) for side in shape)
            return Film(film, (height, width), rng.random() * film_seconds(film))
        pixels = self.background("photo" if rng.random() < 0.5 else "room", shape, rng)
        return Swaying(pixels, Waves.draw(pixels.shape[0], rng))


def scene_of(recipe: Recipe, pictures: Pictures, shape: tuple[int, int], seed: int) -> Scene:
    """Put a scene together; all its chances are drawn from the seed.

    Args:
        recipe: what it shows.
        pictures: what it is made of.
        shape: height and width of the frames, px.
        seed: of the pictures, the paths and the noise.

    Raises:
        DataError: a picture does not decode.
    """
    rng = np.random.default_rng(seed)
    background, camera = _backdrop(recipe, pictures, shape, rng), _camera(recipe, shape, rng)
    subject = _subject(recipe, pictures, rng)
    path = _path(recipe, subject, shape, rng) if subject is not None else _nowhere
    return Scene(
        shape,
        RATE,
        background,
        _behind(background, camera, shape),
        subject,
        lambda seconds: camera(seconds) @ path(seconds),
        recipe.shutter,
        recipe.noise_levels,
        seed,
    )


def _backdrop(recipe: Recipe, pictures: Pictures, shape: tuple[int, int], rng: np.random.Generator) -> Backdrop:
    if recipe.place == "clip":
        return pictures.moving(shape, rng)
    return Picture(pictures.background(recipe.place, shape, rng))


def _subject(recipe: Recipe, pictures: Pictures, rng: np.random.Generator) -> Cutout | None:
    match recipe.kind:
        case "empty":
            return None
        case "hand":
            return shapes.hand(rng)
        case "strands":
            return shapes.person(rng)
        case _:
            return pictures.cutout(rng)


def _camera(recipe: Recipe, shape: tuple[int, int], rng: np.random.Generator) -> Motion:
    """Return the path of the camera: what it does to a scene that stands in the frame."""
    height, width = shape
    still = Sway.draw((0, 0), 0, 0, rng)
    ways = {
        "still": still,
        "handheld": Sway.draw((0.03 * width, 0.02 * height), 1.0, 0.03, rng),
        "pan": Sway.draw((0.075 * width, 0.01 * height), 0.3, 0, rng),
    }
    sway, to_centre = ways[recipe.camera], shifted((width - 1) / 2, (height - 1) / 2)
    return lambda seconds: to_centre @ sway(seconds) @ np.linalg.inv(to_centre)


def _behind(background: Backdrop, camera: Motion, shape: tuple[int, int]) -> Motion:
    """Return the path of a background that covers the frame with room to spare on every side."""
    tall, wide = background.size
    height, width = shape
    factor = max(height / tall, width / wide) * BACKGROUND_SCALE
    centred = shifted((width - 1) / 2, (height - 1) / 2) @ scaled(factor) @ shifted(-(wide - 1) / 2, -(tall - 1) / 2)
    return lambda seconds: camera(seconds) @ centred


def _path(recipe: Recipe, subject: Cutout, shape: tuple[int, int], rng: np.random.Generator) -> Motion:
    """Return the path of the subject in the frame of a camera that stands still."""
    tall, wide, _ = subject.shape
    height, width = shape
    to_origin = shifted(-(wide - 1) / 2, -(tall - 1) / 2)
    if recipe.kind == "hand":
        return _waving(to_origin, tall, shape)
    factor = min(rng.uniform(*HEIGHTS) * height / tall, LARGEST_ZOOM)
    lower = _lower_edge(recipe, factor * tall / height, rng) * height
    x, y = rng.uniform(0.32, 0.68) * width, lower - factor * tall / 2
    shift_px = 0.04 * width * recipe.pace, 0.012 * height * recipe.pace
    sway = Sway.draw(shift_px, 3.0 * recipe.pace, 0.03 * recipe.pace, rng)
    # A little more than half of its width away from the edge, since it turns as well.
    away_px = x + (0.5 * wide + 0.05 * max(tall, wide)) * factor + shift_px[0] if recipe.kind == "enters" else 0.0

    def path(seconds: float) -> Matrix:
        still_away = 1 - eased(seconds, ENTERS_AT_SECONDS, ENTERS_FOR_SECONDS)
        return shifted(x - away_px * still_away, y) @ sway(seconds) @ scaled(factor) @ to_origin

    return path


def _lower_edge(recipe: Recipe, share: float, rng: np.random.Generator) -> float:
    """Return where a subject of so many frame heights ends: shown whole, or sunk below the frame's lower edge.

    The drawn person is cut off below and always sinks, by more than it sways.
    """
    drawn = recipe.kind == "strands"
    return float(rng.uniform(1.1, 1.2) if drawn or share > 0.9 else rng.uniform(0.94, 1.0))


def _waving(to_origin: Matrix, tall: int, shape: tuple[int, int]) -> Motion:
    """Return the path of the hand: across the frame and back, its arm cut by the lower edge."""
    height, width = shape
    span_px = HAND_PX_PER_FRAME * max(1, round(0.6 * width / HAND_PX_PER_FRAME))
    factor = 0.75 * height / tall
    start, y = (width - span_px) / 2, 1.02 * height - factor * tall / 2
    return lambda seconds: (
        shifted(start + swing(seconds, HAND_PX_PER_FRAME * RATE, span_px), y) @ scaled(factor) @ to_origin
    )


def _nowhere(seconds: float) -> Matrix:
    """Return no movement: the path of a subject that is not there."""
    return np.eye(3)


def _films_in(folder: Path) -> list[Path]:
    films = (
        sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES) if folder.is_dir() else []
    )
    if not films:
        raise DataError(f"{folder} holds no videos; give a folder of videos without people, or leave out --films")
    return films


def _rgb(blob: Blob) -> Pixels:
    return cv2.cvtColor(decode(blob, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
