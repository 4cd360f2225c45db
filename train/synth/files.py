"""Synthetic clips as files: a folder a clip with the frames, the truth and the paths, and `clips.json` about all.

clips.json                        what the set was made with, and the clips' names
00_person/clip.mp4 or clip.mkv    frames: H.264, or FFV1 (lossless)
00_person/truth.mkv               straight RGBA of the subject: FFV1, lossless
00_person/truth.json              what the clip shows; affine places of subject and background in every frame, and how
                                  the background itself moves
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from streamseg.errors import ConfigError, DataError, OutputError
from streamseg.media.atomic import atomic_write
from streamseg.yuv import LAYOUT, to_layout
from train.data import Pixels
from train.synth.backdrops import background_flow
from train.synth.motion import Flow, Matrix, flow_between
from train.synth.recipes import MOVING_RECIPES, RATE, RECIPES, Pictures, Recipe, scene_of
from train.synth.scene import Scene, Still

CLIPS_FILE, TRUTH_FILE, TRUTH_VIDEO = "clips.json", "truth.json", "truth.mkv"

MIN_SIDE_PX = 64
"""Smallest width and height of clips."""

SEED_STEP = 1000
"""Clip seeds of two sets lie further apart than a set has clips."""


@dataclass(frozen=True, slots=True)
class SetSize:
    """How much is made.

    Attributes:
        clips: number of clips; the first twelve are `RECIPES`, in their order.
        frames: of each clip.
        width_px: even.
        height_px: even.
        moving: number of further clips, before backgrounds that move themselves: `MOVING_RECIPES`, in their order.
    """

    clips: int = len(RECIPES)
    frames: int = 48
    width_px: int = 640
    height_px: int = 360
    moving: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What one frame was made of.

    Attributes:
        alpha: `(H, W)` uint8.
        foreground: straight RGB `(H, W, 3)` uint8, black where alpha is 0; None if it is not known.
        flow: how far the pixels of the frame before moved to this one, not a number where it is not known; None for the
            first, or if it is known nowhere.
    """

    alpha: Pixels
    foreground: Pixels | None
    flow: Flow | None


@dataclass(frozen=True, slots=True)
class SyntheticClip:
    """A clip of a set on disk.

    Attributes:
        folder: that of the clip.
        kind: see `Recipe`.
        shape: height and width of the frames, px.
        frames: number of frames.
    """

    folder: Path
    kind: str
    shape: tuple[int, int]
    frames: int

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """The file with the frames."""
        return next(path for path in map(self.folder.joinpath, ("clip.mp4", "clip.mkv")) if path.exists())

    def truths(self) -> Iterator[Truth]:
        """Decode the truth of every frame, in order, one at a time.

        A pixel moves with the subject where its alpha is above 0, else with the background.
        """
        told = json.loads((self.folder / TRUTH_FILE).read_text(encoding="utf-8"))
        places = _places(told)
        before: tuple[Pixels, tuple[Matrix, Matrix]] | None = None
        with av.open(str(self.folder / TRUTH_VIDEO)) as file:
            for index, (frame, place) in enumerate(zip(file.decode(video=0), places, strict=True)):
                bgra = frame.to_ndarray().astype(np.uint8, copy=False)
                alpha = np.ascontiguousarray(bgra[..., 3])
                flow = _flow(told, index, *before, place) if before else None
                yield Truth(alpha, np.ascontiguousarray(bgra[..., 2::-1]), flow)
                before = alpha, place


def parse_size(text: str) -> tuple[int, int]:
    """Read width and height from `WxH`.

    Raises:
        ConfigError: it is not of that form, a side is odd, or one is shorter than `MIN_SIDE_PX`.
    """
    width, _, height = text.partition("x")
    if width.isdecimal() and height.isdecimal():
        sides = int(width), int(height)
        if min(sides) >= MIN_SIDE_PX and all(side % 2 == 0 for side in sides):
            return sides
    raise ConfigError(f"size {text!r} is not WIDTHxHEIGHT in even pixels from {MIN_SIDE_PX} on, such as 640x360")


def write_clips(
    out: Path, data: Path | None, seed: int, size: SetSize, films: Path | None = None
) -> Iterator[SyntheticClip]:
    """Make a set of clips, one after the other; the same arguments make the same bytes.

    Args:
        out: a folder, which is made.
        data: see `Pictures`.
        seed: of everything that is drawn by chance.
        size: how much is made.
        films: see `Pictures`.

    Raises:
        DataError: pictures are missing, at once; or one does not decode.
        OutputError: the folder cannot be written to.
    """
    return _written(out, Pictures(data, films), seed, size, drawn=data is None)


def _written(out: Path, pictures: Pictures, seed: int, size: SetSize, drawn: bool) -> Iterator[SyntheticClip]:
    named = [(f"{index:02}_{recipe.kind}", recipe) for index, recipe in enumerate(_recipes(size))]
    for index, (name, recipe) in enumerate(named):
        scene = scene_of(recipe, pictures, (size.height_px, size.width_px), seed * SEED_STEP + index)
        _write_clip(out / name, recipe, scene, size.frames)
        yield SyntheticClip(out / name, recipe.kind, scene.shape, size.frames)
    # Last, so that only a complete set is found.
    sizes = {name: value for name, value in asdict(size).items() if value}
    about = {"seed": seed, "drawn": drawn, **sizes, "names": [name for name, _ in named]}
    atomic_write(out / CLIPS_FILE, _json(about))


def find_clips(folder: Path) -> list[SyntheticClip]:
    """Find the clips of a set that `write_clips` has finished.

    Raises:
        DataError: there is no such set.
    """
    try:
        about = json.loads((folder / CLIPS_FILE).read_text(encoding="utf-8"))
        shape, frames = (about["height_px"], about["width_px"]), about["frames"]
        return [SyntheticClip(folder / name, name.partition("_")[2], shape, frames) for name in about["names"]]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{folder} is no set of synthetic clips; make one: python -m train synth -o {folder}"
        ) from error


def _recipes(size: SetSize) -> list[Recipe]:
    return [*islice(cycle(RECIPES), size.clips), *islice(cycle(MOVING_RECIPES), size.moving)]


def _write_clip(folder: Path, recipe: Recipe, scene: Scene, frames: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in ("clip.mp4", "clip.mkv"):
            (folder / old).unlink(missing_ok=True)
        stills = (scene.still(index) for index in range(frames))
        _write_videos(folder, recipe.crf, scene.shape, stills)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}; choose another folder with --out") from error
    places = [[place[:2].tolist() for place in scene.places(index)] for index in range(frames)]
    told = {**asdict(recipe), "rate": RATE, "seed": scene.seed, **scene.background.told()}
    told |= {"subject_and_background": places}
    atomic_write(folder / TRUTH_FILE, _json(told))


def _write_videos(folder: Path, crf: int | None, shape: tuple[int, int], stills: Iterator[Still]) -> None:
    """Write frames and truth side by side, so that only one frame is in memory."""
    frames = _Writer(
        folder / ("clip.mkv" if crf is None else "clip.mp4"), crf, "bgr0" if crf is None else LAYOUT, shape
    )
    truth = _Writer(folder / TRUTH_VIDEO, None, "bgra", shape)
    with frames.file, truth.file:
        for still in stills:
            frames.write(still.image)
            truth.write(np.dstack([still.foreground, still.alpha]))
        for writer in (frames, truth):
            writer.finish()


class _Writer:
    """Writes RGB or RGBA as FFV1, which is lossless, or RGB as H.264; always the same bytes for the same pixels."""

    def __init__(self, path: Path, crf: int | None, layout: str, shape: tuple[int, int]) -> None:
        self.file = av.open(str(path), "w", options={"fflags": "bitexact"})
        # One thread: x264's output depends on their number. And with mbtree it differed from run to run (x264 164).
        h264 = {"crf": str(crf), "preset": "fast", "x264-params": "mbtree=0"}
        options = {"threads": "1"} | ({} if crf is None else h264)
        self._stream = self.file.add_stream("ffv1" if crf is None else "libx264", rate=RATE, options=options)
        self._stream.height, self._stream.width = shape
        self._stream.pix_fmt = self._layout = layout
        self._index = 0

    def write(self, pixels: Pixels) -> None:
        frame = to_layout(pixels, self._layout)
        frame.pts, frame.time_base = self._index, Fraction(1, RATE)
        self._index += 1
        self.file.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self.file.mux(self._stream.encode(None))


def _flow(
    told: Mapping[str, Any], index: int, alpha: Pixels, before: tuple[Matrix, Matrix], after: tuple[Matrix, Matrix]
) -> Flow:
    shape = alpha.shape[0], alpha.shape[1]
    subject_places, background_places = zip(before, after, strict=True)
    subject = flow_between(*subject_places, shape)
    background = background_flow(told, background_places, ((index - 1) / RATE, index / RATE), shape)
    return np.where(alpha[..., None] > 0, subject, background)


def _places(told: Mapping[str, Any]) -> Iterator[tuple[Matrix, Matrix]]:
    """Yield where subject and background are in every frame."""
    for pair in told["subject_and_background"]:
        subject, background = (np.vstack([np.asarray(place), [0, 0, 1]]) for place in pair)
        yield subject, background


def _json(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, indent=1) + "\n").encode()
