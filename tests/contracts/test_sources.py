"""What every source promises, asked of each one in the same words."""

from __future__ import annotations

import gc
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from streamseg.decode import LiveCamera, Source, open_source
from streamseg.decode.paced import Paced
from tests.cameras import FakeCamera
from tests.synthetic import picture, write_clip

DEADLINE_SECONDS = 20
ENOUGH = 6
"""Frames taken from sources without end; the files hold as many."""


@dataclass(frozen=True)
class Case:
    """How to open a source, what it reads and the number of its frames, if it has an end."""

    open: Callable[[], Source]
    inputs: list[Path]
    count: int | None


def video_case(folder: Path) -> Case:
    path = write_clip(folder / "clip.mp4", ENOUGH).path
    return Case(lambda: open_source(str(path)), [path], ENOUGH)


def odd_case(folder: Path) -> Case:
    """Rows that are no multiple of what decoders align to."""
    path = folder / "odd.png"
    cv2.imwrite(str(path), picture(0, 131, 97))
    return Case(lambda: open_source(str(path)), [path], 1)


def photo_case(folder: Path) -> Case:
    path = folder / "photo.jpg"
    cv2.imwrite(str(path), picture(0))
    return Case(lambda: open_source(str(path)), [path], 1)


def folder_case(folder: Path) -> Case:
    paths = [folder / f"{index:03d}.png" for index in range(ENOUGH)]
    for index, path in enumerate(paths):
        cv2.imwrite(str(path), picture(index))
    return Case(lambda: open_source(str(folder)), paths, ENOUGH)


def animation_case(name: str) -> Callable[[Path], Case]:
    def case(folder: Path) -> Case:
        first, *others = (Image.fromarray(picture(index)) for index in range(ENOUGH))
        every_whole = {"kmin": 0, "kmax": 1} if name.endswith(".webp") else {}  # Else parts of them are transparent.
        times = {"append_images": others, "duration": [20, 40, 30, 50, 60, 900]}
        first.save(folder / name, save_all=True, **times, **every_whole)
        return Case(lambda: open_source(str(folder / name)), [folder / name], ENOUGH)

    return case


def heic_case(folder: Path) -> Case:
    pillow_heif.from_pillow(Image.fromarray(picture(0))).save(folder / "photo.heic")
    return Case(lambda: open_source(str(folder / "photo.heic")), [folder / "photo.heic"], 1)


def pattern_case(folder: Path) -> Case:
    return Case(lambda: open_source("testsrc=130x98"), [], None)


def paced_case(folder: Path) -> Case:
    path = write_clip(folder / "clip.mp4", ENOUGH).path
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Case(lambda: Paced(open_source(str(path)), lambda: now[0], sleep), [path], ENOUGH)


def camera_case(folder: Path) -> Case:
    return Case(lambda: LiveCamera(FakeCamera()), [], None)


CASES = {
    "video": video_case,
    "photo": photo_case,
    "odd-photo": odd_case,
    "folder": folder_case,
    "heic": heic_case,
    "webp": animation_case("x.webp"),
    "apng": animation_case("x.png"),
    "avif": animation_case("x.avif"),
    "pattern": pattern_case,
    "paced": paced_case,
    "camera": camera_case,
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return CASES[request.param](tmp_path)


def test_indices_and_times(case: Case) -> None:
    with case.open() as source:
        frames = list(islice(source, case.count or ENOUGH))
    assert [frame.index for frame in frames] == list(range(case.count or ENOUGH))
    assert all(type(frame.pts) is Fraction and frame.pts >= 0 for frame in frames)
    assert all(before.pts < after.pts for before, after in pairwise(frames))


def test_pixels(case: Case) -> None:
    with case.open() as source:
        for frame in islice(source, ENOUGH):
            assert frame.pixels.dtype == np.uint8
            assert frame.pixels.shape == (source.info.height_px, source.info.width_px, 3)
            assert frame.pixels.flags.c_contiguous


def test_frames_do_not_share_memory(case: Case) -> None:
    with case.open() as source:
        frames = list(islice(source, ENOUGH))
    copies = [frame.pixels.copy() for frame in frames]
    for frame in frames[1:]:
        frame.pixels[:] = 0
    assert np.array_equal(frames[0].pixels, copies[0])


def test_what_it_knows_of_itself(case: Case) -> None:
    with case.open() as source:
        assert source.info.frame_count == case.count
        assert type(source.info.rate) is type(source.info.time_base) is Fraction
        assert source.info.rate > 0
        assert source.info.time_base > 0


def test_a_source_with_an_end_ends_there_undamaged(case: Case) -> None:
    if case.count is None:
        pytest.skip("has no end")
    with case.open() as source:
        assert len(list(source)) == case.count
        assert source.decode_error is None


def test_times_fit_the_time_base(case: Case) -> None:
    with case.open() as source:
        if source.info.live:
            pytest.skip("times are the moments of arrival")
        for frame in islice(source, ENOUGH):
            assert (frame.pts / source.info.time_base).denominator == 1


def test_closing_twice_is_fine(case: Case) -> None:
    source = case.open()
    with source:
        next(iter(source))
    source.__exit__(None, None, None)


def test_closing_unread_is_fine(case: Case) -> None:
    with case.open():
        pass


def test_leaving_early_leaves_no_thread_and_no_file_open(case: Case) -> None:
    def use() -> None:
        with case.open() as source:
            next(iter(source))

    use()  # OpenCV starts its own pool at its first use and keeps it.
    gc.collect()
    threads, tasks, open_files = threading.active_count(), _count("task"), _count("fd")
    use()
    # There may be fewer: what an earlier test abandoned ends now. The system lists a thread for a moment after its end.
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (threading.active_count() > threads or _count("task") > tasks) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads
    assert _count("fd") <= open_files
    assert _count("task") <= tasks


def test_the_input_stays_as_it_was(case: Case) -> None:
    before = [_print_of(path) for path in case.inputs]
    with case.open() as source:
        list(islice(source, ENOUGH))
    assert [_print_of(path) for path in case.inputs] == before


def _print_of(path: Path) -> tuple[str, int]:
    return hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns


def _count(kind: str) -> int:
    """Native threads (`task`) or open files (`fd`) of this process, where the system tells."""
    folder = Path("/proc/self", kind)
    return len(list(folder.iterdir())) if folder.is_dir() else 0
