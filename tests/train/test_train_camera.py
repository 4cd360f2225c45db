from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from train.camera import Blur, Change, Curves, Jpeg, Noise, blur_kernel, draw_changes, low_light, on_device, on_host
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
    device = on_device(pixels, change, torch.Generator().manual_seed(1))
    return host, device.numpy().transpose(1, 2, 0)


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
