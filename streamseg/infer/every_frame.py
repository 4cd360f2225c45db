"""The network on every frame, for files and photos."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from streamseg.frames import Batch, Frame, VideoInfo
from streamseg.image import Pixels

if TYPE_CHECKING:
    pass
from streamseg.infer.engines.base import Engine, long_side, predict, predict_one
from streamseg.infer.letterbox import Letterbox, black_pictures, letterbox_of, small_pictures


def infer(frames: Iterable[Frame], engine: Engine, input_size: int, batch_size: int = 1) -> Iterator[Batch]:
    """Runs `engine` on `batch_size` frames at a time; the last batch may be shorter.

    Args:
        frames: pictures of one size.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Letterbox.of`.
        batch_size: frames in one call of the engine.
    """
    input_size = long_side(engine, input_size)
    waiting: deque[tuple[tuple[Frame, ...], Letterbox]] = deque()

    def batches() -> Iterator[Pixels]:
        for taken in in_batches(frames, batch_size):
            waiting.append((taken, letterbox_of(taken[0], input_size)))
            yield small_pictures([frame.image for frame in taken], waiting[-1][1])

    for alpha in predict(engine, batches()):
        taken, letterbox = waiting.popleft()
        yield Batch(taken, letterbox.crop(alpha))


def in_batches(frames: Iterable[Frame], batch_size: int) -> Iterator[tuple[Frame, ...]]:
    """So many at a time; the last may be fewer."""
    rest = iter(frames)
    return iter(lambda: tuple(islice(rest, batch_size)), ())


def warm_up(engine: Engine, info: VideoInfo, input_size: int) -> None:
    """Runs `engine` once on a black frame, so that a live source need not wait while it compiles."""
    predict_one(engine, black_pictures(info, long_side(engine, input_size)))
