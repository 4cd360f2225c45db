"""Decoding of files that came from outside: in a process of its own with limits on memory, time and what it writes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2

from streamseg.batch.worker import Worker
from streamseg.composite.background import fit_to, over_black
from streamseg.decode import IMAGE_SUFFIXES, open_source
from streamseg.decode.base import BaseSource, check_size
from streamseg.decode.images import ImageFiles, open_image, read_image
from streamseg.errors import OUT_OF_MEMORY, InputError, StreamsegError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.live.images import encode_jpeg, encode_png
from streamseg.sink import open_sink
from streamseg.yuv import AnyImage, RgbImage, YuvImage

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform != "win32":
    import resource

T = TypeVar("T")

MAX_PIXELS = 50_000_000
"""Largest photo."""
MAX_VIDEO_PIXELS = 4096 * 2304
"""Largest frame of a video."""
BACKGROUND_SIDE_PX = 1920
"""Longest side that a background is kept with: it lies behind a camera's image."""
VIDEO_SIDE_PX = 1280
"""The same for a video, which is decoded beside the pipeline."""
VIDEO_SECONDS = 60
"""A video background loops after so much of it."""
ENCODING_SECONDS = 45.0
"""It loops earlier if it takes longer than this to prepare."""

MEMORY_BYTES = 3 * 2**29
"""What a task may use beyond what the process has at its start."""
CPU_SECONDS = 90
WALL_SECONDS = 120.0
POLL_SECONDS = 0.1
REST_SECONDS = 30.0
WRITTEN_BYTES = 2**28
OPEN_FILES = 64
NICENESS = 10
THUMBNAIL_PX = (240, 135)

_IDENTIFIED_BYTES = 64


SIGNATURES = {
    ".jpg": b"\xff\xd8\xff",
    ".png": b"\x89PNG\r\n\x1a\n",
    ".gif": b"GIF8",
    ".bmp": b"BM",
    ".tif": b"II*\0",
    ".tiff": b"MM\0*",
}
ISO_BRANDS = {b"avif": ".avif", b"avis": ".avif"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"mif1", b"msf1"), ".heic"
)


@dataclass(frozen=True, slots=True)
class Background:
    """A background that is ready to be shown.

    Attributes:
        path: an image or a video, written by streamseg itself.
        is_video: whether it moves.
        thumbnail: a JPEG of its first frame.
    """

    path: Path
    is_video: bool
    thumbnail: bytes


class LimitedProcess:
    """Does one decoding task after another in a limited process, which begins with the first one."""

    def __init__(self, wall_seconds: float = WALL_SECONDS) -> None:
        self._worker: Worker[Callable[[], object], object] = Worker(_perform, _limit)
        self._wall_seconds, self._is_closing = wall_seconds, False
        self._executor = ThreadPoolExecutor(1, "streamseg-decoding")
        self._rest: asyncio.TimerHandle | None = None

    async def do(self, task: Callable[[], T]) -> T:
        """Run a task in the process, after those before it; the process ends when there is nothing more for a while.

        Raises:
            InputError: the file cannot be decoded within the limits.
        """
        loop = asyncio.get_running_loop()
        if self._rest:
            self._rest.cancel()
        try:
            return await loop.run_in_executor(self._executor, self.run, task)
        finally:
            self._rest = loop.call_later(REST_SECONDS, self._end_at_rest)

    def run(self, task: Callable[[], T]) -> T:
        """Run a task in the process and wait for its end; see `do`."""
        self._worker.give(task)
        try:
            deadline = time.monotonic() + self._wall_seconds
            while not self._worker.pipe.poll(POLL_SECONDS):
                if self._is_closing or time.monotonic() > deadline:
                    self._worker.end()
                    raise InputError(f"the file takes more than {self._wall_seconds:g} s to decode")
            return self._worker.result()  # type: ignore[return-value]
        except StreamsegError:
            raise
        except MemoryError as error:
            raise InputError(OUT_OF_MEMORY) from error
        except Exception as error:  # The process is lost, or a decoder raised one of its own at damaged data.
            raise InputError("the file is damaged, or takes too much memory or time to decode") from error

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._is_closing = True
        self._executor.shutdown(cancel_futures=True)
        self._worker.end()

    def _end_at_rest(self) -> None:
        if not self._is_closing:
            self._executor.submit(self._worker.end)


def suffix_of(path: Path) -> str | None:
    """Return the suffix of a file's format by its first bytes, or None if it is no image or video that is taken.

    FFmpeg would also read playlists, which name other files and addresses; so the first bytes have to be those of a
    container that holds its pictures itself, and these formats' readers are then the ones that recognise it best.
    """
    with path.open("rb") as file:
        head = file.read(_IDENTIFIED_BYTES)
    for suffix, signature in SIGNATURES.items():
        if head.startswith(signature):
            return suffix
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[:1] == b"\0" and head[4:8] == b"ftyp":
        return ISO_BRANDS.get(head[8:12], ".mp4")
    if head[:4] == b"\x1a\x45\xdf\xa3" and (b"webm" in head or b"matroska" in head):
        return ".mkv"
    return None


def read_photo(path: Path) -> Pixels:
    """Read a photo of `MAX_PIXELS` at most; a task for `LimitedProcess`.

    Raises:
        InputError: it is too large, too small, damaged, or no image.
    """
    try:
        _check_pixels(path)
        pixels = read_image(path)
        check_size(pixels.shape, "the photo")
    except StreamsegError as error:
        raise InputError(_without(path, error)) from None
    return pixels


def prepare_background(path: Path, stem: Path) -> Background:
    """Write a background anew as PNG or H.264, so that nothing but this process decodes the file as it came.

    Args:
        path: an image, animation or video; its suffix is that of its format.
        stem: what to write, without a suffix.

    Raises:
        InputError: it is too large, damaged, or neither.
    """
    try:
        if path.suffix in IMAGE_SUFFIXES:
            _check_pixels(path)
        with open_source(str(path)) as source:
            if isinstance(source, ImageFiles):
                return _prepare_image(read_image(path), stem.with_suffix(".png"))
            if source.info.width_px * source.info.height_px > MAX_VIDEO_PIXELS:
                raise InputError(
                    f"the video has {source.info.width_px}x{source.info.height_px} px; 4096x2304 is the most"
                )
            return _prepare_video(source, stem.with_suffix(".mp4"))
    except StreamsegError as error:
        raise InputError(_without(path, error)) from None


def read_thumbnail(path: Path) -> bytes:
    """Return a small JPEG of an image, or of a video's first frame.

    Raises:
        InputError: it is damaged, or neither.
    """
    try:
        with open_source(str(path)) as source:
            return _thumbnail(next(iter(source)).pixels)
    except StreamsegError as error:
        raise InputError(_without(path, error)) from None


def _prepare_image(pixels: Pixels, out: Path) -> Background:
    rgb = over_black(pixels)
    height, width = _at_most(BACKGROUND_SIDE_PX, *rgb.shape[:2])
    if (height, width) != rgb.shape[:2]:
        rgb = fit_to(rgb, height, width, "cover")
    out.write_bytes(encode_png(rgb))
    return Background(out, False, _thumbnail(rgb))


def _prepare_video(source: BaseSource, out: Path) -> Background:
    """Encode the first `VIDEO_SECONDS` of a video, or as much as `ENCODING_SECONDS` suffice for."""
    height, width = (
        max(16, side // 2 * 2) for side in _at_most(VIDEO_SIDE_PX, source.info.height_px, source.info.width_px)
    )
    info = replace(source.info, width_px=width, height_px=height, path=None, start_time=Fraction(0), end=None)
    thumbnail = b""
    with open_sink(str(out), info, "composite") as sink:
        for frame in _first_frames(source):
            resized = replace(frame, image=_resized(frame, height, width))
            thumbnail = thumbnail or _thumbnail(resized.pixels)
            sink.write(resized)
    return Background(out, True, thumbnail)


def _first_frames(source: BaseSource) -> Iterator[Frame]:
    deadline = time.monotonic() + ENCODING_SECONDS
    for frame in source:
        if frame.pts >= VIDEO_SECONDS or time.monotonic() > deadline:
            return
        yield frame


def _resized(frame: Frame, height: int, width: int) -> AnyImage:
    if isinstance(frame.image, YuvImage):
        return frame.image if frame.image.shape[:2] == (height, width) else frame.image.resized(width, height)
    return RgbImage(fit_to(over_black(frame.pixels), height, width, "cover"))


def _thumbnail(pixels: Pixels) -> bytes:
    width, height = THUMBNAIL_PX
    return encode_jpeg(fit_to(over_black(pixels), height, width, "cover"))


def _check_pixels(path: Path) -> None:
    with open_image(path) as image:
        width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"the picture has {width * height / 1e6:.0f} megapixels; {MAX_PIXELS / 1e6:.0f} are the most")


def _at_most(side_px: int, height: int, width: int) -> tuple[int, int]:
    scale = min(1, side_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _without(path: Path, error: StreamsegError) -> str:
    """Return an error's message with the word "file" in place of our own name of the file."""
    return str(error).replace(str(path), "the file").replace(path.name, "the file")


def _perform(task: Callable[[], T]) -> T:
    """Run a task in the limited process, with its own share of the CPU's time."""
    if sys.platform != "win32":
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_SECONDS, most))
    return task()


def _limit() -> None:
    """Limit this process, which has just begun."""
    cv2.setNumThreads(1)
    if sys.platform == "win32":
        return
    os.nice(NICENESS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        memory_bytes = pages * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (WRITTEN_BYTES, WRITTEN_BYTES))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
