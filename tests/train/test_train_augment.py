from __future__ import annotations

import numpy as np
import pytest
import torch

from streamseg.infer import normalise
from train.augment import augment, phase_at, photometric, random_crop, resize
from train.config import Augment, Phase

PHASE = Phase(resize_px=64, crop_px=48)


def blobs(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(5).integers(0, 256, (height // 8 + 1, width // 8 + 1), np.uint8)
    return np.kron(noise, np.ones((8, 8), np.uint8))[:height, :width]


@pytest.mark.parametrize("config", [Augment(), Augment(squash=False, antialias=True, scale=(0.5, 1.6), stretch=0.4)])
@pytest.mark.parametrize("size", [(90, 130), (130, 90), (20, 300), (40, 40)])
def test_the_mask_follows_the_image_exactly(config: Augment, size: tuple[int, int]) -> None:
    mask = blobs(*size)
    image = np.repeat(mask[..., None], 3, axis=2)
    for seed in range(6):
        pixels, alpha = augment(image, mask, config, PHASE, np.random.default_rng(seed))
        assert pixels.shape == (3, 48, 48)
        assert alpha.shape == (1, 48, 48)
        assert pixels.dtype == alpha.dtype == torch.float32
        assert alpha.min() >= 0
        assert alpha.max() <= 1
        expected = normalise((alpha * 255).round().to(torch.uint8).expand(3, -1, -1))
        torch.testing.assert_close(pixels, expected, rtol=0, atol=0)


def test_one_seed_gives_one_sample_and_seeds_differ() -> None:
    mask = blobs(90, 130)
    image = np.stack([mask, mask[::-1], mask[:, ::-1]], axis=2)
    config = Augment(photometric=0.6, scale=(0.8, 1.6))
    one, same, other = (augment(image, mask, config, PHASE, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])


def test_stretch_changes_the_proportions_by_at_most_its_share() -> None:
    """A ramp from 0 to 255 over the whole width or height: the crop's own range tells how far it was enlarged."""
    ramp = np.linspace(0, 255, 256).round().astype(np.uint8)
    whole = Phase(resize_px=256, crop_px=32)
    ratios = []
    for seed in range(100):
        spans = []
        for mask in (np.tile(ramp, (256, 1)), np.tile(ramp[:, None], (1, 256))):
            _, alpha = augment(
                np.repeat(mask[..., None], 3, axis=2), mask, Augment(stretch=0.5), whole, np.random.default_rng(seed)
            )
            spans.append(float(alpha.max() - alpha.min()))
        ratios.append(spans[1] / spans[0])
    assert 1 / 1.6 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.6


def test_about_half_of_the_samples_are_flipped() -> None:
    mask = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    image = np.repeat(mask[..., None], 3, axis=2)
    samples = [augment(image, mask, Augment(), PHASE, np.random.default_rng(seed))[1] for seed in range(200)]
    flipped = sum(bool(alpha[0, 0, 0] > alpha[0, 0, -1]) for alpha in samples)
    assert 70 < flipped < 130


def test_crops_reach_every_edge() -> None:
    mask = np.arange(36, dtype=np.uint8).reshape(6, 6)
    corners = {int(random_crop(mask, mask, 4, np.random.default_rng(seed))[0][0, 0]) for seed in range(200)}
    assert corners == {6 * y + x for y in range(3) for x in range(3)}


def test_resize_is_plain_bilinear_unless_antialiased() -> None:
    pixels = blobs(90, 130)
    source = torch.from_numpy(pixels)[None, None].float()
    plain = torch.nn.functional.interpolate(source, (32, 32), mode="bilinear", align_corners=False)
    assert np.abs(resize(pixels, (32, 32), antialias=False) - plain[0, 0].numpy()).max() <= 1
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert set(resize(stripes, (16, 16), antialias=True).ravel()) <= {127, 128}


def test_photometric_changes_keep_the_range_and_vanish_at_zero() -> None:
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    changed = photometric(image, 1.0, np.random.default_rng(3))
    assert changed.dtype == np.uint8
    assert changed.shape == image.shape
    assert (changed != image).any()
    assert np.abs(photometric(image, 0.0, np.random.default_rng(3)).astype(int) - image).max() <= 1


def test_phases_take_over_in_order() -> None:
    phases = tuple(Phase(until=until, crop_px=crop) for until, crop in ((0.5, 32), (0.9, 64)))
    config = Augment(phases=phases)
    crops = [phase_at(config, progress).crop_px for progress in (0.0, 0.49, 0.5, 0.89, 0.9, 1.0)]
    assert crops == [32, 32, 64, 64, 64, 64]
