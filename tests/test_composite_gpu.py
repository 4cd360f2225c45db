"""Compositing as a GPU does it, on the CPU and on stand-ins for streams, against compositing as the CPU does it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from streamseg import cuda
from streamseg.background import Background, open_background
from streamseg.composite import Alpha, composite, finish
from streamseg.composite_gpu import GpuCompositor
from streamseg.config import CompositeSettings
from streamseg.frames import Batch, Frame, Pixels
from streamseg.planes import Planes
from tests.synthetic import picture, write_clip

CPU = torch.device("cpu")
WIDTH_PX, HEIGHT_PX = 384, 216


def texture(seed: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Pixels:
    """Soft random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)


def frame(n: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Frame:
    return Frame(n, Fraction(n, 25), Planes.of(texture(n, width_px, height_px)))


def alpha(n: int, size: tuple[int, int] = (54, 96)) -> Alpha:
    """A soft disc that moves."""
    y, x = np.indices(size)
    return np.clip(12 - np.hypot(y - 25, x - 30 - 3 * n) / 1.5, 0, 1).astype(np.float32)


def done(background: Background, pairs: list[tuple[Frame, Alpha]]) -> list[Frame]:
    with torch.inference_mode(False):
        return list(cuda.in_order(pairs, GpuCompositor(background, CPU).submit, cuda.SLOTS - 1))


@pytest.fixture
def backgrounds(tmp_path: Path) -> dict[str, str]:
    cv2.imwrite(str(tmp_path / "bg.png"), texture(50))
    return {
        "picture": str(tmp_path / "bg.png"),
        "video": str(write_clip(tmp_path / "bg.mp4").path),
        "blur": "blur",
        "colour": "#3060a0",
    }


@pytest.mark.parametrize("kind", ["picture", "video", "blur", "colour"])
def test_the_same_picture_as_on_a_cpu(kind: str, backgrounds: dict[str, str]) -> None:
    pairs = [(frame(n), alpha(n)) for n in range(7)]
    found = done(open_background(backgrounds[kind], "cover"), pairs)
    on_cpu = open_background(backgrounds[kind], "cover")
    for one, (given, matte) in zip(found, pairs, strict=True):
        assert (one.index, one.time) == (given.index, given.time)
        meant = finish(given, matte, on_cpu)
        assert isinstance(one.picture, Planes)
        assert isinstance(meant, Planes)
        for mine, theirs in zip(one.picture.values, meant.values, strict=True):
            error = np.abs(mine.astype(int) - theirs)
            assert error.mean() < 0.5
            assert np.percentile(error, 99.9) <= 3


def test_colours_are_blurred_at_the_size_that_a_cpu_blurs_them_at() -> None:
    given, nobody = frame(2, 800, 450), np.zeros((90, 160), np.float32)
    (found,) = done(open_background("blur", "cover"), [(given, nobody)])
    meant = finish(given, nobody, open_background("blur", "cover"))
    assert isinstance(found.picture, Planes)
    assert isinstance(meant, Planes)
    for mine, theirs in zip(found.picture.values, meant.values, strict=True):
        assert np.abs(mine.astype(int) - theirs).max() <= 3


def test_where_the_person_is_and_is_not_every_level_is_kept() -> None:
    cover = np.zeros((54, 96), np.float32)
    cover[:, :48] = 1
    given = frame(3)
    (found,) = done(open_background("#3060a0", "cover"), [(given, cover)])
    assert isinstance(found.picture, Planes)
    assert isinstance(given.picture, Planes)
    back = Planes.of(np.full((HEIGHT_PX, WIDTH_PX, 3), (0x30, 0x60, 0xA0), np.uint8))
    for mine, front, behind in zip(found.picture.values, given.picture.values, back.values, strict=True):
        half = mine.shape[1] // 2
        edge = mine.shape[1] // 20
        np.testing.assert_array_equal(mine[:, : half - edge], front[:, : half - edge])
        np.testing.assert_array_equal(mine[:, half + edge :], behind[:, half + edge :])


def test_sizes_may_change_and_pixels_may_come_between() -> None:
    sizes = [(384, 216), (216, 384), (384, 216)]
    pairs = [(frame(n, *size), alpha(n)) for n, size in enumerate(sizes)]
    pairs.insert(1, (Frame(9, Fraction(9, 25), picture(3, 384, 216)), alpha(1)))
    found = done(open_background("blur", "cover"), pairs)
    assert [one.picture.shape for one in found] == [given.picture.shape for given, _ in pairs]
    assert [isinstance(one.picture, Planes) for one in found] == [True, False, True, True]


def test_a_background_that_stands_still_is_uploaded_once_for_every_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[int | None] = []
    run = cuda.Slot.run

    def counted(slot: cuda.Slot, work: object, changed_: int | None = None, **told: int) -> None:
        changed.append(told["changed"])
        run(slot, work, **told)  # type: ignore[arg-type]

    monkeypatch.setattr(cuda.Slot, "run", counted)
    done(open_background("#3060a0", "cover"), [(frame(n), alpha(n)) for n in range(9)])
    assert changed == [7] * cuda.SLOTS + [4] * (9 - cuda.SLOTS)


def test_the_station_gives_frames_with_a_background_to_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[torch.device] = []

    def opened(background: Background, device: torch.device) -> GpuCompositor:
        devices.append(device)
        return GpuCompositor(background, CPU)

    monkeypatch.setattr("streamseg.composite_gpu.GpuCompositor", opened)
    batches = [Batch((frame(n),), torch.from_numpy(alpha(n))[None, None]) for n in range(5)]
    for settings, used in (
        (CompositeSettings(bg="green"), 1),
        (CompositeSettings(), 0),
        (CompositeSettings(bg="green", matte_only=True), 0),
    ):
        devices.clear()
        made = list(composite(batches, settings, "cuda", ahead=2))
        assert [one.index for one in made] == list(range(5))
        assert devices == [torch.device("cuda")] * used


def test_a_strip_too_narrow_to_mirror_is_blurred_all_the_same() -> None:
    (found,) = done(open_background("blur", "cover"), [(frame(1, 640, 16), alpha(1, (8, 320)))])
    meant = finish(frame(1, 640, 16), alpha(1, (8, 320)), open_background("blur", "cover"))
    assert isinstance(found.picture, Planes)
    assert isinstance(meant, Planes)
    assert np.abs(found.picture.values[0].astype(int) - meant.values[0]).mean() < 4


@pytest.mark.gpu
def test_nothing_waits_in_secret() -> None:
    compositor = GpuCompositor(open_background("blur", "cover"), cuda.best_device())
    pairs = [(frame(n), alpha(n)) for n in range(8)]
    list(cuda.in_order(pairs, compositor.submit, cuda.SLOTS - 1))
    torch.cuda.set_sync_debug_mode("error")
    try:
        made = list(cuda.in_order(pairs, compositor.submit, cuda.SLOTS - 1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(made) == len(pairs)
