"""Spans: the pieces of an image's lines that hold its soft pixels, read and written without the rest of the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from streamseg.image import Pixels
from streamseg.workspace import workspace

SPAN_PX = 16
"""Pixels of a span: NumPy fetches pieces of memory of that size as fast as single pixels."""

SPANS_PER_BLOCK = 1024
"""Spans that are worked on at a time: they stay in a core's cache."""

Indices = npt.NDArray[np.intp]

Samples = TypeVar("Samples", Pixels, npt.NDArray[np.int16])


class Spans:
    """Pieces of one length in the lines of an image."""

    def __init__(self, rows: Indices, columns: Indices, length_px: int) -> None:
        """Take the place of each span's first pixel."""
        self._rows, self._columns, self._length_px = rows, columns, length_px

    @classmethod
    def soft(cls, matte: Pixels, levels: tuple[int, int]) -> Spans:
        """Return spans that hold all pixels whose alpha is in `levels`.

        Args:
            matte: `(H, W)` uint8.
            levels: least and greatest alpha.
        """
        height, width = matte.shape
        spans_per_line = -(-width // SPAN_PX)
        mask = workspace("soft", (height, spans_per_line * SPAN_PX), np.uint8)
        mask[:, width:] = 0
        cv2.inRange(matte, *levels, mask[:, :width])
        halves = mask.view(np.uint64)
        rows, spans = np.divmod(np.flatnonzero(halves[:, ::2] | halves[:, 1::2]), spans_per_line)
        length_px = min(SPAN_PX, width)
        return cls(rows, np.minimum(spans * SPAN_PX, width - length_px), length_px)

    def __len__(self) -> int:
        return len(self._rows)

    def blocks(self) -> Iterator[Spans]:
        """Yield them in blocks of `SPANS_PER_BLOCK`."""
        for start in range(0, len(self), SPANS_PER_BLOCK):
            some = slice(start, start + SPANS_PER_BLOCK)
            yield Spans(self._rows[some], self._columns[some], self._length_px)

    def doubled(self) -> Spans:
        """Return the same places in an image of twice the sides: all upper lines, then all lower ones."""
        rows, columns = 2 * self._rows, 2 * self._columns
        return Spans(np.concatenate([rows, rows + 1]), np.concatenate([columns, columns]), 2 * self._length_px)

    def read(self, image: Samples) -> Samples:
        """Return the samples of an image `(H, W[, C])` as rows `(N, length[ * C])`."""
        memory, places = self._in_memory(image)
        return memory[places].view(image.dtype).reshape(len(self), -1)

    def write(self, image: Pixels, samples: Pixels) -> None:
        """Write rows `(N, length[ * C])` into an image whose lines are contiguous."""
        memory, places = self._in_memory(image)
        memory[places] = samples.view(memory.dtype).reshape(-1)

    def _in_memory(self, image: Samples) -> tuple[npt.NDArray[np.void], Indices]:
        """Return an image's memory as the spans that begin at each of its bytes, and the numbers of these ones."""
        height, width = image.shape[:2]
        lines = image.reshape(height, -1).view(np.uint8)
        line_bytes, pixel_bytes = lines.strides[0], lines.shape[1] // width
        span_bytes = self._length_px * pixel_bytes
        count = (height - 1) * line_bytes + lines.shape[1] - span_bytes + 1
        memory = np.lib.stride_tricks.as_strided(lines, (count, span_bytes), (1, 1))
        return memory.view(np.dtype((np.void, span_bytes)))[:, 0], self._rows * line_bytes + self._columns * pixel_bytes
