"""Inference on every frame: the mode for files and photos."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

from streamseg.frames import Batch, Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.infer.engines.base import Engine, long_side, predict, predict_one
from streamseg.infer.letterbox import Letterbox, black_images, letterbox_of, small_images


def infer(frames: Iterable[Frame], engine: Engine, input_size: int, batch_size: int = 1) -> Iterator[Batch]:
    """Run the engine on every frame, `batch_size` frames at a time; the last batch may be shorter.

    Args:
        frames: images of one size.
        engine: what `open_engine` returned.
        input_size: long side of the network's input in pixels; see `Letterbox.of`.
        batch_size: frames in one call of the engine.

    Yields:
        Batches with alpha `(N, 1, h, w)` in [0, 1], at the frame's size inside the letterbox.
    """
    input_size = long_side(engine, input_size)
    waiting: deque[tuple[tuple[Frame, ...], Letterbox]] = deque()

    def batches() -> Iterator[Pixels]:
        for taken in in_batches(frames, batch_size):
            waiting.append((taken, letterbox_of(taken[0], input_size)))
            yield small_images([frame.image for frame in taken], waiting[-1][1])

    for alpha in predict(engine, batches()):
        taken, letterbox = waiting.popleft()
        yield Batch(taken, letterbox.crop(alpha))


def in_batches(frames: Iterable[Frame], batch_size: int) -> Iterator[tuple[Frame, ...]]:
    """Group frames into tuples of `batch_size`; the last tuple may be shorter."""
    rest = iter(frames)
    return iter(lambda: tuple(islice(rest, batch_size)), ())


def warm_up(engine: Engine, info: VideoInfo, input_size: int) -> None:
    """Run the engine once on a black frame, so that a live source does not wait for its compilation."""
    predict_one(engine, black_images(info, long_side(engine, input_size)))
