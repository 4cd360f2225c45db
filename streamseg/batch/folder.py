"""The folder NAME.segments beside an output: its finished segments, which the next run takes up."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from streamseg.batch.cuts import Segment, from_cuts
from streamseg.errors import InputError, OutputError
from streamseg.media.atomic import atomic_write, followed, move
from streamseg.media.storage import AnyPath, RemotePath, files_in
from streamseg.sink.images import make_folder
from streamseg.sink.parts import Part
from streamseg.sink.sidecar import matte_path
from streamseg.smooth.motion import Alpha
from streamseg.smooth.seams import SceneMemory, Seams, is_seamless

Exact = Annotated[Fraction, BeforeValidator(Fraction), PlainSerializer(str)]
"""A time in seconds, which JSON holds as text such as 1001/30000."""

MANIFEST = "manifest.json"
IMAGE_NUMBER = "%09d"
NUMBERED = re.compile(r"[0-9]+\.json")


class Record(BaseModel):
    """What is kept as JSON."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)


class Manifest(Record):
    """What the segments of an output are made from; another run takes them up only if all of it is the same.

    Attributes:
        made_from: settings, versions, and size and date of the files that are read.
        cuts: pts between the segments, in seconds.
    """

    made_from: dict[str, Any]
    cuts: tuple[Exact, ...]


class Finished(Record):
    """A finished segment.

    Attributes:
        number: of the segment.
        frames: number of its frames; there may be none where a source is damaged.
        first_pts: pts of its first frame in seconds.
        last_pts: pts of its last frame.
        end: end of its last frame in seconds.
        before_pts: pts of the frame before the first one, if it was seen.
        following_pts: pts of the frame after the last one; None at the end of the source.
        first_index: index of the first frame in the source, if the source counts from its beginning.
        damage: what could not be decoded, in one line.
        machine: where it was made.
        seconds: time that it took.
    """

    number: int
    frames: int
    first_pts: Exact | None = None
    last_pts: Exact | None = None
    end: Exact | None = None
    before_pts: Exact | None = None
    following_pts: Exact | None = None
    first_index: int | None = None
    damage: str | None = None
    machine: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class SavedSeams:
    """What is kept of the ends of a segment; see `Seams`."""

    first: Alpha | None
    following: Alpha | None
    memory: SceneMemory


@dataclass(frozen=True, slots=True)
class SegmentFolder:
    """The folder of one output.

    A segment is made under a name of its own and renamed, or uploaded, when it is complete, so that two processes of
    which one was taken for lost do not disturb each other.

    Attributes:
        out: the output: a file, or the pattern of an image sequence.
        as_images: it is a pattern.
    """

    out: AnyPath
    as_images: bool = False

    @property
    def path(self) -> AnyPath:
        """The folder."""
        out = self.out if isinstance(self.out, RemotePath) else followed(self.out)
        return out.with_name(f"{out.name}.segments")

    def manifest(self) -> Manifest | None:
        """Read the manifest, if there is one.

        Raises:
            OutputError: it cannot be read.
        """
        file = self.path / MANIFEST
        try:
            return Manifest.model_validate_json(file.read_bytes()) if file.exists() else None
        except (OSError, InputError, ValidationError) as error:
            raise OutputError(f"cannot go on with {self.path}: its {MANIFEST} cannot be read; remove it") from error

    def begin(self, manifest: Manifest) -> None:
        """Make the folder.

        Raises:
            OutputError: it cannot be made.
        """
        make_folder(self.path)
        atomic_write(self.path / MANIFEST, manifest.model_dump_json(indent=1).encode())

    def finished(self) -> dict[int, Finished]:
        """Return the finished segments by number."""
        if not self.path.exists():
            return {}
        found: dict[int, Finished] = {}
        for file in files_in(self.path):
            if NUMBERED.fullmatch(file.name):
                with suppress(OSError, InputError, ValidationError):
                    one = Finished.model_validate_json(file.read_bytes())
                    if not one.frames or self._file(f"{one.number:04}").exists():
                        found[one.number] = one
        return found

    @contextmanager
    def attempt(self, number: int, attempt: str) -> Iterator[Path]:
        """Yield the output of an attempt at a segment, as `open_apart` takes it; at the end, remove what is left of it.

        Raises:
            OutputError: its folder cannot be made.
        """
        with ExitStack() as stack:
            folder = self.path
            if isinstance(folder, RemotePath):
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="streamseg-", ignore_cleanup_errors=True)))
            made = folder / self._name(f"{number:04}-{attempt}")
            stack.callback(_remove, folder, f"{number:04}-{attempt}*")
            if self.as_images:
                make_folder(made)
            yield made / f"{IMAGE_NUMBER}{self.out.suffix}" if self.as_images else made

    def accept(self, finished: Finished, target: Path, seams: Seams) -> None:
        """Give a segment that is complete its final name.

        Args:
            finished: the segment.
            target: what `attempt` yielded.
            seams: its ends.

        Raises:
            OutputError: it cannot be renamed or uploaded.
        """
        final = self._file(f"{finished.number:04}")
        made = target.parent if self.as_images else target
        if isinstance(final, RemotePath):
            for one in sorted(made.iterdir()) if self.as_images else [matte_path(made), made]:
                if one.exists():
                    (final / one.name if self.as_images else _beside(final, one, made)).upload(one)
        else:
            if self.as_images:
                shutil.rmtree(final, ignore_errors=True)
            for one, two in ((matte_path(made), matte_path(final)), (made, final)):
                if one.exists():
                    move(one, two)
        atomic_write(self._seams_file(finished.number), _packed(seams))
        atomic_write(self.path / f"{finished.number:04}.json", finished.model_dump_json().encode())

    def seams(self, number: int) -> SavedSeams:
        """Read what was kept of the ends of a finished segment; nothing if it cannot be read."""
        try:
            with np.load(BytesIO(self._seams_file(number).read_bytes())) as saved:
                known: Mapping[str, Any] = dict(saved)
        except (OSError, InputError, ValueError, EOFError):
            known = {}
        return SavedSeams(known.get("first"), known.get("following"), SceneMemory.of(known))

    def part(self, finished: Finished, first_number: int) -> Part:
        """Return a segment with frames as it is joined; its images are numbered from `first_number` on."""
        assert finished.last_pts is not None
        assert finished.end is not None
        path = self._file(f"{finished.number:04}")
        return Part(path, finished.frames, finished.last_pts, finished.end, first_number)

    def clear(self) -> None:
        """Remove what lost or failed attempts have left."""
        if isinstance(self.path, Path):
            _remove(self.path, "[0-9]*-*")

    def remove(self) -> None:
        """Remove the folder with all that is in it; what cannot be removed stays."""
        if isinstance(self.path, RemotePath):
            with suppress(OutputError):
                self.path.remove_folder()
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def _name(self, stem: str) -> str:
        return stem if self.as_images else f"{stem}{self.out.suffix}"

    def _file(self, stem: str) -> AnyPath:
        return self.path / self._name(stem)

    def _seams_file(self, number: int) -> AnyPath:
        return self.path / f"{number:04}.npz"


def _beside(final: RemotePath, one: Path, made: Path) -> RemotePath:
    """Return the place of a segment's file, or of its matte."""
    return final if one == made else matte_path(final)


def _remove(folder: Path, pattern: str) -> None:
    for left in folder.glob(pattern):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()


def segments_in(manifest: Manifest) -> tuple[Segment, ...]:
    """Return the segments that a manifest tells of."""
    return from_cuts(manifest.cuts)


def fits(earlier: Finished, later: Finished) -> bool:
    """Whether a segment begins with the frame after the last one of an earlier segment, with none between them."""
    if earlier.following_pts != later.first_pts:
        return False
    return later.before_pts is None or later.before_pts == earlier.last_pts


def is_joined_well(earlier: SavedSeams, later: SavedSeams) -> bool:
    """Whether both segments have the same matte of the later one's first frame; see `seams.py`."""
    return is_seamless(earlier.following, later.first)


def _packed(seams: Seams) -> bytes:
    arrays = seams.memory.arrays() if seams.memory else {}
    for name, matte in (("first", seams.first), ("following", seams.following)):
        if matte is not None:
            arrays[name] = matte
    packed = BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()
