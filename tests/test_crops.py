"""`--refine`: the network looks again, closer, where its matte is unsure."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from streamseg.errors import ConfigError
from streamseg.frames import Frame
from streamseg.image import Pixels
from streamseg.infer.crops import infer_with_crops
from streamseg.settings import InferSettings, load_settings
from streamseg.yuv import RgbImage, YuvImage
from tests.synthetic import DISC, WALL, DiscEngine

HEIGHT_PX, WIDTH_PX = 360, 640


class ShortSighted(DiscEngine):
    """Sees no detail finer than some pixels of its input, as networks do."""

    def alpha(self, frames: Tensor) -> Tensor:
        sharp = super().alpha(frames)
        return torch.stack([torch.from_numpy(cv2.GaussianBlur(one[0].numpy(), (0, 0), 3))[None] for one in sharp])


def truth(shift_px: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """Alpha of bars 12 px wide beside a disc."""
    alpha = np.zeros((HEIGHT_PX, WIDTH_PX), np.float32)
    cv2.circle(alpha, (250 + shift_px, 180), 90, 1.0, -1)
    for top in range(100, 260, 24):
        alpha[top : top + 12, 320 + shift_px : 420 + shift_px] = 1
    return alpha


def shown(alpha: np.ndarray) -> Pixels:  # type: ignore[type-arg]
    rgb: Pixels = np.rint(alpha[..., None] * DISC + (1 - alpha[..., None]) * WALL).astype(np.uint8)
    return rgb


def frames(count: int = 1, kind: type[RgbImage] = RgbImage) -> list[Frame]:
    return [Frame(n, Fraction(n, 25), kind(shown(truth(4 * n)))) for n in range(count)]


def settings(**given: object) -> InferSettings:
    return InferSettings.model_validate({"input_size": 160, "refine": True, **given})


@pytest.mark.parametrize("kind", [RgbImage, YuvImage.of])
def test_what_was_too_fine_is_seen(kind: type[RgbImage]) -> None:
    errors = []
    for refine in (False, True):
        (batch,) = infer_with_crops(frames(kind=kind), ShortSighted(), settings(refine=refine))
        matte = cv2.resize(batch.alpha[0, 0].numpy(), (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_LINEAR)
        errors.append(np.abs(matte - truth()).mean())
    assert errors[1] < 0.95 * errors[0]


def test_the_batch_does_not_show() -> None:
    alone, together = (
        torch.cat([batch.alpha for batch in infer_with_crops(frames(5), ShortSighted(), settings(batch_size=size))])
        for size in (1, 3)
    )
    assert torch.equal(alone, together)


@pytest.mark.parametrize(("level", "calls"), [(0.0, 1), (1.0, 1), (0.5, 5)])
def test_where_all_is_sure_it_looks_once(level: float, calls: int) -> None:
    engine = DiscEngine()
    frame = Frame(0, Fraction(0), RgbImage(shown(np.full((HEIGHT_PX, WIDTH_PX), level, np.float32))))
    (batch,) = infer_with_crops([frame], engine, settings())
    assert engine.calls == calls
    assert torch.allclose(batch.alpha, torch.tensor(level), atol=0.02)


def test_crops_without_the_subject_are_not_listened_to() -> None:
    class NeedsAllOfIt(ShortSighted):
        """Finds its subject in whole frames alone, as networks do with a hand that fills the image."""

        def alpha(self, frames: Tensor) -> Tensor:
            found = super().alpha(frames)
            return found if self.calls == 1 else torch.zeros_like(found)

    engine = NeedsAllOfIt()
    (whole,) = infer_with_crops(frames(), ShortSighted(), settings(refine=False))
    (batch,) = infer_with_crops(frames(), engine, settings())
    assert engine.calls == 5
    enlarged = torch.nn.functional.interpolate(whole.alpha, batch.alpha.shape[-2:], mode="bilinear")
    assert torch.allclose(batch.alpha, enlarged, atol=1e-4)


def test_tall_and_tiny_frames() -> None:
    for height, width in ((360, 90), (16, 300), (17, 19)):
        rgb = cv2.resize(shown(truth()), (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        (batch,) = infer_with_crops([Frame(0, Fraction(0), RgbImage(rgb))], DiscEngine(), settings())
        matte = cv2.resize(batch.alpha[0, 0].numpy(), (width, height), interpolation=cv2.INTER_AREA)
        true = cv2.resize(truth(), (width, height), interpolation=cv2.INTER_AREA)
        assert np.abs(matte - true).mean() < 0.1


def test_it_does_not_go_with_a_stride() -> None:
    with pytest.raises(ConfigError, match="refine runs the network more often and stride=3 less: choose one of them"):
        load_settings(overrides={"refine": True, "stride": 3})
