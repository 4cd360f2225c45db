"""The line of a GPU, on the CPU and on stand-ins for streams, against the CPU's own stages."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.composite.stage import composite
from streamseg.frames import Frame, VideoInfo
from streamseg.gpu.line import composite_on_gpu
from streamseg.gpu.ops import averaged, bordered, images, rgb_of
from streamseg.hardware import cuda
from streamseg.image import Pixels
from streamseg.infer.engines.base import IMAGENET_MEAN, IMAGENET_STD
from streamseg.infer.engines.torch_engine import StreamedEngine
from streamseg.infer.every_frame import infer
from streamseg.infer.letterbox import Letterbox, small_images
from streamseg.pipeline import run
from streamseg.settings import Settings, load_settings
from streamseg.smooth.stage import on_device, smooth
from streamseg.yuv import YuvImage
from tests.synthetic import Collector, ListSource, randomised, write_clip
from tests.test_cuda import Recorder

CPU = torch.device("cpu")
WIDTH_PX, HEIGHT_PX = 384, 216


class Greenness:
    """In the network's place, on the device and off it: soft where the picture is."""

    name, device, torch_device = "greenness", "cpu", CPU

    def on_device(self, rgb: Tensor) -> Tensor:
        return torch.sigmoid((rgb[:, 1:2] - rgb[:, :1]) / 16)

    def alpha(self, frames: Tensor) -> Tensor:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        return self.on_device((frames * std + mean) * 255)


def texture(seed: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Pixels:
    """Soft random colours."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 16, 3), np.uint8)
    return cv2.resize(small, (width_px, height_px), interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)


def frame(n: int, width_px: int = WIDTH_PX, height_px: int = HEIGHT_PX) -> Frame:
    """Five frames fade from one texture to the next; every tenth begins another scene."""
    first, second = (texture(seed, width_px, height_px) for seed in (n // 10 * 7, n // 10 * 7 + 1))
    rgb = cv2.addWeighted(first, 1 - n % 10 / 5, second, n % 10 / 5, 0).astype(np.uint8, copy=False)
    return Frame(n, Fraction(n, 25), YuvImage.of(rgb))


def settings(**overrides: Any) -> Settings:
    return load_settings(overrides={"input_size": 160, **overrides})


def done(frames: list[Frame], chosen: Settings, batch_size: int = 1) -> list[Frame]:
    return list(composite_on_gpu(frames, Greenness(), chosen, batch_size, cuda.SLOTS - 1))  # type: ignore[arg-type]


def meant(frames: list[Frame], chosen: Settings) -> list[Frame]:
    """By the stages of a CPU."""
    batches = infer(frames, Greenness(), chosen.infer.input_size)
    return list(composite(smooth(batches, on_device(chosen.smooth)), chosen.composite))


def assert_alike(found: list[Frame], expected: list[Frame]) -> None:
    assert [(one.index, one.pts) for one in found] == [(one.index, one.pts) for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert type(one.image) is type(other.image)
        assert one.image.shape == other.image.shape
        error = np.abs(one.pixels.astype(int) - other.pixels)
        assert error.mean() < 1
        assert np.percentile(error, 99.5) <= 5


@pytest.fixture
def backgrounds(tmp_path: Path) -> dict[str, str]:
    cv2.imwrite(str(tmp_path / "bg.png"), texture(50))
    return {
        "picture": str(tmp_path / "bg.png"),
        "video": str(write_clip(tmp_path / "bg.mp4").path),
        "blur": "blur",
        "colour": "#3060a0",
    }


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("kind", ["picture", "video", "blur", "colour"])
def test_the_same_frame_as_on_a_cpu(kind: str, batch_size: int, backgrounds: dict[str, str]) -> None:
    given, chosen = [frame(n) for n in range(7)], settings(bg=backgrounds[kind])
    assert_alike(done(given, chosen, batch_size), meant(given, chosen))


@pytest.mark.parametrize("overrides", [{}, {"matte_only": True}, {"bg": "green", "matte_only": True}])
@pytest.mark.parametrize("smoothing", ["one-euro", "ema", "none"])
def test_mattes_and_foregrounds(overrides: dict[str, Any], smoothing: str) -> None:
    given, chosen = [frame(n) for n in range(7)], settings(smooth=smoothing, **overrides)
    for one, other in zip(done(given, chosen, 2), meant(given, chosen), strict=True):
        error = np.abs(one.pixels[..., -1].astype(int) - other.pixels[..., -1])
        assert error.mean() < 1
        assert np.percentile(error, 99.5) <= 5


@pytest.mark.parametrize("batch_size", [1, 4])
def test_pixels_may_come_between_and_have_alpha_of_their_own(batch_size: int) -> None:
    rgb = replace(frame(1), image=texture(1))
    rgba = replace(frame(2), image=np.dstack([texture(2), texture(3)[..., 0]]))
    given, chosen = [frame(0), rgb, rgba, frame(3)], settings(bg="blur", smooth="none")
    found = done(given, chosen, batch_size)
    assert [isinstance(one.image, YuvImage) for one in found] == [True, False, False, True]
    assert_alike(found, meant(given, chosen))


def test_a_scene_begins_without_the_last_one() -> None:
    given, chosen = [frame(n) for n in (0, 1, 2, 10, 11)], settings(matte_only=True)
    found = done(given, chosen, 2)
    (alone,) = done(given[3:4], chosen)
    assert np.abs(found[3].pixels.astype(int) - alone.pixels).max() <= 1


def test_the_batch_does_not_show() -> None:
    given, chosen = [frame(n) for n in range(8)], settings(bg="blur")
    alone, together = done(given, chosen, 1), done(given, chosen, 3)
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one.image, YuvImage)
        assert isinstance(other.image, YuvImage)
        for mine, theirs in zip(one.image.planes, other.image.planes, strict=True):
            assert np.abs(mine.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize(("size", "rare"), [((384, 216), 4), ((216, 384), 4), ((96, 64), 10), ((640, 360), 4)])
def test_the_network_sees_what_it_sees_on_a_cpu(size: tuple[int, int], rare: float) -> None:
    """Colours that have to grow, at the third size, are drawn a little otherwise."""
    planes = YuvImage.of(texture(5, *size))
    letterbox = Letterbox.of(size[1], size[0], 160)
    small = [
        averaged(images(torch.from_numpy(values)[None]), (letterbox.height, letterbox.width))
        for values in planes.planes
    ]
    found = bordered(rgb_of(*small), letterbox)[0].permute(1, 2, 0).numpy()
    error = np.abs(found - small_images([planes], letterbox)[0])
    assert error.mean() < rare / 4
    assert np.percentile(error, 99) <= rare


def test_where_the_person_is_and_is_not_every_level_is_kept() -> None:
    rgb = np.full((HEIGHT_PX, WIDTH_PX, 3), 240, np.uint8)
    rgb[:, : WIDTH_PX // 2, 0] = rgb[:, WIDTH_PX // 2 :, 1] = 0
    given = Frame(0, Fraction(0), YuvImage.of(rgb))
    (found,) = done([given], settings(bg="#3060a0"))
    assert isinstance(found.image, YuvImage)
    assert isinstance(given.image, YuvImage)
    back = YuvImage.of(np.full((HEIGHT_PX, WIDTH_PX, 3), (0x30, 0x60, 0xA0), np.uint8))
    for mine, front, behind in zip(found.image.planes, given.image.planes, back.planes, strict=True):
        half, edge = mine.shape[1] // 2, mine.shape[1] // 16
        np.testing.assert_array_equal(mine[:, : half - edge], front[:, : half - edge])
        np.testing.assert_array_equal(mine[:, half + edge :], behind[:, half + edge :])


def test_sizes_may_change() -> None:
    given = [frame(n, *size) for n, size in enumerate([(384, 216), (216, 384), (384, 216)])]
    chosen = settings(bg="blur", smooth="none")
    assert_alike(done(given, chosen), [one for each in given for one in meant([each], chosen)])


def test_a_strip_too_narrow_to_mirror_is_blurred_all_the_same() -> None:
    given, chosen = [frame(1, 640, 16)], settings(bg="blur")
    (found,), (expected,) = done(given, chosen), meant(given, chosen)
    assert np.abs(found.pixels.astype(int) - expected.pixels).mean() < 4.5


def test_streams_wait_for_each_other_and_the_host_for_finished_frames_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Recorder()
    monkeypatch.setattr(torch, "get_device_module", lambda _: device)
    done([frame(n) for n in range(4)], settings(bg="blur"))
    capture_ends = len(device.log) - device.log[::-1].index("the host waits for everything")
    batch = ["on upload", "on compute", "compute waits for upload", "on download", "download waits for compute"]
    wait = "the host waits for download"
    assert device.log[capture_ends:] == batch * 3 + [wait] + batch + [wait] * 3


def test_a_background_that_stands_still_is_uploaded_once_for_every_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[int | None] = []
    original = cuda.StagingBuffers.run

    def counted(slot: cuda.StagingBuffers, work: Any, **told: int) -> None:
        changed.append(told["changed"])
        original(slot, work, **told)

    monkeypatch.setattr(cuda.StagingBuffers, "run", counted)
    done([frame(n) for n in range(9)], settings(bg="#3060a0"))
    assert changed == [6] * cuda.SLOTS + [3] * (9 - cuda.SLOTS)


def test_buffers_are_made_once(buffers_made: list[cuda.Buffer]) -> None:
    done([frame(n) for n in range(8)], settings(bg="blur"), 3)
    planes_and_result = 4
    assert len(buffers_made) == planes_and_result * cuda.SLOTS


@pytest.mark.parametrize("bg", ["green", None])
def test_the_line_gives_its_engine_whole_frames(bg: str | None) -> None:
    """A stage for what would be three, and the mattes are those of the engine alone."""
    engine, source = StreamedEngine(randomised(), CPU), ListSource([frame(n) for n in range(5)])
    chosen = settings(bg=bg, batch_size=2)
    with Collector() as sink:
        statistics = run(source, engine, sink, chosen)
    assert list(statistics.stages) == ["decode", "gpu", "sink"]
    batches = smooth(infer(source, engine, 160), on_device(chosen.smooth))
    assert_alike(sink.frames, list(composite(batches, chosen.composite)))


@pytest.mark.parametrize(
    ("rate", "stages"),
    [(Fraction(1, 10**9), ["decode", "gpu", "sink"]), (Fraction(10**9), ["decode", "infer", "composite", "sink"])],
)
def test_live_it_is_one_station_if_the_engine_keeps_pace(rate: Fraction, stages: list[str]) -> None:
    """No frame waits for one that does not."""
    source = ListSource([frame(n) for n in range(5)], live=True)
    source.info = VideoInfo(WIDTH_PX, HEIGHT_PX, rate, 1 / rate, 5, live=True)
    with Collector() as sink:
        statistics = run(source, StreamedEngine(randomised(), CPU), sink, settings(bg="green"))
    assert list(statistics.stages) == stages
    assert sink.frames[-1].index == 4


def test_with_a_stride_the_stations_are_those_of_a_cpu() -> None:
    engine = StreamedEngine(randomised(), CPU)
    with Collector() as sink:
        statistics = run(ListSource([frame(n) for n in range(5)]), engine, sink, settings(bg="blur", stride=2))
    assert list(statistics.stages) == ["decode", "infer", "composite", "sink"]
    assert [one.index for one in sink.frames] == list(range(5))


@pytest.mark.gpu
@pytest.mark.parametrize("bg", ["blur", "green", None])
def test_nothing_waits_in_secret(bg: str | None) -> None:
    """Every wait for the GPU but that for a batch's own event is an error here."""
    engine, given = StreamedEngine(randomised()), [frame(n) for n in range(8)]
    list(composite_on_gpu(given, engine, settings(bg=bg), 1, cuda.SLOTS - 1))  # libraries choose their kernels

    def frames() -> Any:
        for n, one in enumerate(given):
            if n == 1:  # the graph is there
                torch.cuda.set_sync_debug_mode("error")
            yield one

    try:
        made = list(composite_on_gpu(frames(), engine, settings(bg=bg), 1, cuda.SLOTS - 1))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(made) == len(given)
