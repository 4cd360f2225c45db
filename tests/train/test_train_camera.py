from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from train.camera import (
    Blur,
    Change,
    Curves,
    Jpeg,
    Noise,
    blur_kernel,
    draw_changes,
    low_light,
    of_a_kind,
    on_device,
    on_host,
)
from train.camera import photometric as photometric_curves
from train.config import Augment

ALL = Augment(photometric=0.6, low_light=1, blur=1, noise=1, jpeg=1)


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), np.empty(0), 0, 255, cv2.NORM_MINMAX)


def changed(image: np.ndarray, change: Change) -> tuple[np.ndarray, np.ndarray]:
    """On the host and on a device, both `(H, W, 3)`."""
    host = on_host(image, change, np.random.default_rng(1))
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()
    device = on_device(pixels[None], [[change]], lambda _: torch.Generator().manual_seed(1))
    return host, device[0].numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("seed", range(4))
def test_host_and_device_agree(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for change in (Curves(photometric_curves(0.8, rng)), Curves(low_light(rng)), Blur(blur_kernel(3, rng))):
        host, device = changed(picture(), change)
        assert host.dtype == np.uint8
        assert np.abs(host - device).max() <= 0.51, change
    host, device = changed(picture(), Jpeg(50))
    assert np.abs(host - device).mean() < 3
    assert np.abs(host.astype(float) - picture()).mean() > 0.2


@pytest.mark.parametrize("grain", [1, 2])
def test_noise_has_its_deviation_and_grain(grain: int) -> None:
    grey = np.full((81, 95, 3), 128, np.uint8)
    for noisy in changed(grey, Noise(deviation=8, grain_px=grain)):
        assert noisy.shape == grey.shape
        assert noisy.std() == pytest.approx(8, rel=0.1)
        assert noisy.mean() == pytest.approx(128, abs=0.6)
        assert (noisy[:80:2] == noisy[1:81:2]).all() == (grain == 2)


def test_changes_come_in_a_cameras_order_and_only_when_wanted() -> None:
    kinds = [type(change).__name__ for change in draw_changes(ALL, 256, np.random.default_rng(0))]
    assert kinds == ["Curves", "Curves", "Noise", "Blur", "Noise", "Jpeg"]
    before = np.random.default_rng(0)
    assert list(draw_changes(Augment(), 256, before)) == []
    assert before.random() == np.random.default_rng(0).random()
    half = Augment(blur=0.5)
    blurred = sum(len(list(draw_changes(half, 256, np.random.default_rng(seed)))) for seed in range(200))
    assert 70 < blurred < 130


def test_changes_of_a_kind_are_made_together_and_each_image_keeps_its_order() -> None:
    curves, blur = Curves(photometric_curves(0.5, np.random.default_rng(0))), Blur(np.ones((1, 1), np.float32))
    noise, jpeg = Noise(2.0, 1), Jpeg(50)
    given = [[curves, blur, noise, jpeg], [], [curves, curves, noise, blur, noise, jpeg], [jpeg], [curves, noise]]
    rounds = list(of_a_kind(given))
    assert [(type(kind[0]), places) for places, kind in rounds] == [
        (Curves, [0, 2, 4]),
        (Curves, [2]),
        (Noise, [2, 4]),
        (Blur, [0, 2]),
        (Noise, [0, 2]),
        (Jpeg, [0, 2, 3]),
    ]
    for n, own in enumerate(given):
        assert [kind[places.index(n)] for places, kind in rounds if n in places] == own, n
    assert list(of_a_kind([[], []])) == list(of_a_kind([])) == []


def test_a_batch_is_what_its_images_are_alone() -> None:
    config = Augment(photometric=0.6, low_light=0.3, blur=0.5, noise=0.5, jpeg=0.5)
    images = torch.from_numpy(np.stack([picture(48, 48).transpose(2, 0, 1)] * 8)).float()
    changes = [list(draw_changes(config, 256, np.random.default_rng(seed))) for seed in range(8)]
    assert len({len(own) for own in changes}) > 2

    def generator(n: int) -> torch.Generator:
        return torch.Generator().manual_seed(n)

    together = on_device(images, changes, generator)
    for n, own in enumerate(changes):
        alone = on_device(images[n : n + 1], [own], lambda _, n=n: generator(n))[0]  # type: ignore[misc]
        # A level that rounds the other way is rare.
        assert (together[n] - alone).abs().mean() < 0.01
    assert torch.equal(images[0], images[1])


def test_a_dim_room_is_darker_and_curves_vanish_at_no_strength() -> None:
    for seed in range(20):
        assert low_light(np.random.default_rng(seed)).max() < 0.75 * 255
    identity = photometric_curves(0.0, np.random.default_rng(3)).astype(int)
    assert np.abs(identity - np.arange(256)[:, None]).max() <= 1


def test_blur_kernels_keep_the_light_and_grow_with_the_crop() -> None:
    kernels = [blur_kernel(longest, np.random.default_rng(seed)) for seed in range(20) for longest in (1.0, 4.0)]
    for kernel in kernels:
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert kernel.shape[0] == kernel.shape[1]
        assert kernel.shape[0] % 2 == 1
    assert max(kernel.shape[0] for kernel in kernels[1::2]) > max(kernel.shape[0] for kernel in kernels[::2])
