from __future__ import annotations

import numpy as np
import pytest
import torch

from streamseg.infer.engines.base import normalise
from train.augment import View, augment, crop_shape, phase_at, resize
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
    phase = Phase(resize_px=40, crop_px=38)
    views = [View.draw(40, 40, Augment(), phase, np.random.default_rng(seed)) for seed in range(200)]
    assert {view.corner for view in views} == {(y, x) for y in range(3) for x in range(3)}


def test_pictures_smaller_than_the_crop_are_mirrored_at_every_side() -> None:
    phase, config = Phase(resize_px=32, crop_px=36), Augment(horizontal_flip=0)
    pixels = blobs(32, 32)
    for seed in range(10):
        view = View.draw(32, 32, config, phase, np.random.default_rng(seed))
        top, bottom, left, right = view.border
        assert top + bottom == left + right == 4
        np.testing.assert_array_equal(view.of(pixels), np.pad(pixels, ((top, bottom), (left, right)), "reflect"))


def test_vertical_flips_are_drawn_only_where_they_are_wanted() -> None:
    for share, expected in ((0.0, {False}), (0.5, {False, True}), (1.0, {True})):
        config = Augment(vertical_flip=share, horizontal_flip=0)
        views = [View.draw(64, 64, config, PHASE, np.random.default_rng(seed)) for seed in range(20)]
        assert {view.upside_down for view in views} == expected
        assert not any(view.mirrored for view in views)
    pixels = blobs(64, 64)
    upright, flipped = (
        View((64, 64), (0, 0, 0, 0), (0, 0), (64, 64), False, down).of(pixels) for down in (False, True)
    )
    np.testing.assert_array_equal(flipped, upright[::-1])


def test_resize_is_plain_bilinear_unless_antialiased() -> None:
    pixels = blobs(90, 130)
    source = torch.from_numpy(pixels)[None, None].float()
    plain = torch.nn.functional.interpolate(source, (32, 32), mode="bilinear", align_corners=False)
    assert np.abs(resize(pixels, (32, 32), antialias=False) - plain[0, 0].numpy()).max() <= 1
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    assert set(resize(stripes, (16, 16), antialias=True).ravel()) <= {127, 128}


def test_phases_take_over_in_order() -> None:
    phases = tuple(Phase(until=until, crop_px=crop) for until, crop in ((0.5, 32), (0.9, 64)))
    config = Augment(phases=phases)
    crops = [phase_at(config, progress).crop_px for progress in (0.0, 0.49, 0.5, 0.89, 0.9, 1.0)]
    assert crops == [32, 32, 64, 64, 64, 64]


def test_a_share_of_the_steps_has_wide_crops_of_the_same_area() -> None:
    config, phase = Augment(wide_share=0.5), Phase(crop_px=256)
    shapes = [crop_shape(config, phase, seed=1, step=step) for step in range(200)]
    assert set(shapes) == {(256, 256), (192, 352)}
    assert 70 < shapes.count((192, 352)) < 130
    assert shapes == [crop_shape(config, phase, seed=1, step=step) for step in range(200)]
    assert {crop_shape(Augment(), phase, 1, step) for step in range(50)} == {(256, 256)}
    mask = blobs(90, 130)
    image = np.repeat(mask[..., None], 3, axis=2)
    pixels, alpha = augment(image, mask, config, PHASE, np.random.default_rng(0), shape=(48, 96))
    assert pixels.shape == (3, 48, 96)
    assert alpha.shape == (1, 48, 96)
