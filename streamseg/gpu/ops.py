"""Letterbox, YUV to RGB, guided filter, blur and blending with PyTorch, for batches on a GPU; all YUV is BT.709."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from streamseg.composite.background import PLANE_SCALES, blur_scale
from streamseg.composite.guided_filter import GUIDE_EPSILON
from streamseg.composite.weighted_blur import EXPONENT, FLOOR
from streamseg.infer.letterbox import Letterbox
from streamseg.yuv import BLACK, NEUTRAL_CHROMA, WHITE, rgb_weights


def images(planes: Tensor) -> Tensor:
    """Convert planes uint8 `(N, H, W)` to float `(N, 1, H, W)`."""
    return planes[:, None].float()


def averaged(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Average areas of `(N, C, H, W)` to `(N, C, h, w)`; bilinear if a side has to grow, as Cb and Cr may."""
    height, width = _size(image)
    if size[0] > height or size[1] > width:
        return F.interpolate(image, size, mode="bilinear")
    return _area_weights(height, size[0], image.device) @ image @ _area_weights(width, size[1], image.device).T


@cache
def _area_weights(length: int, shorter: int, device: torch.device) -> Tensor:
    """Return `(shorter, length)`: each pixel's weight in each mean by overlap, which PyTorch's averaging ignores."""
    edges = torch.arange(shorter + 1, device=device) * (length / shorter)
    pixel = torch.arange(length, device=device)
    ends, starts = torch.minimum(edges[1:, None], pixel + 1), torch.maximum(edges[:-1, None], pixel)
    return (ends - starts).clamp_(min=0) * (shorter / length)


def rgb_of(y: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    """Convert Y, Cb and Cr `(N, 1, h, w)` of one size in limited range to RGB `(N, 3, h, w)` in [0, 255]."""
    y, cb, cr = y - BLACK, cb - NEUTRAL_CHROMA, cr - NEUTRAL_CHROMA
    channels = [by_y * y + by_cb * cb + by_cr * cr for by_y, by_cb, by_cr in rgb_weights().T.tolist()]
    return torch.cat(channels, 1).clamp_(0, 255)


def bordered(rgb: Tensor, letterbox: Letterbox) -> Tensor:
    """Repeat the frame's edges up to the network's size, as `Letterbox.fill` does."""
    return F.pad(rgb, (letterbox.left, letterbox.right, letterbox.top, letterbox.bottom), mode="replicate")


def matte(y: Tensor, alpha: Tensor) -> Tensor:
    """Upsample alpha `(N, 1, h, w)` in [0, 1] guided by Y uint8 `(N, H, W)` to uint8 `(N, H, W)`, as `refine` does."""
    full = images(y)
    refined = _refined(full, averaged(full, _size(alpha)), alpha)
    return refined.mul_(255).round_().to(torch.uint8)[:, 0]


def blended(front: Sequence[Tensor], small_y: Tensor, alpha: Tensor, back: Sequence[Tensor]) -> Tensor:
    """Blend images over backgrounds, or over themselves, blurred without the subject.

    Args:
        front: Y `(N, 1, H, W)`, Cb and Cr `(N, 1, H / 2, W / 2)` in [0, 255].
        small_y: Y averaged to the size of alpha.
        alpha: `(N, 1, h, w)` in [0, 1].
        back: planes of the backgrounds, like `front`; empty for the blurred images.

    Returns:
        uint8 `(N, H * W * 3 / 2)`: the planes of each image one after the other, row by row.
    """
    y_weight = _refined(front[0], small_y, alpha)
    backgrounds = back or _blurred_planes(front, y_weight)
    chroma_weight = F.avg_pool2d(y_weight, 2)
    weights = (y_weight, chroma_weight, chroma_weight)
    planes = (torch.lerp(b, f, weight) for b, f, weight in zip(backgrounds, front, weights, strict=True))
    return torch.cat([plane.round_().to(torch.uint8).flatten(1) for plane in planes], 1)


def _refined(y: Tensor, small_y: Tensor, alpha: Tensor) -> Tensor:
    """Upsample alpha with the guided filter to `(N, 1, H, W)` in [0, 1]."""
    guide, small_guide = ((levels - BLACK) / (WHITE - BLACK) for levels in (y, small_y))
    slope = _slope(small_guide, alpha)
    model = torch.cat([slope, alpha - slope * small_guide], 1)
    slope, offset = F.interpolate(model, _size(y), mode="bicubic").chunk(2, 1)
    return torch.addcmul(offset, slope, guide).clamp_(0, 1)


def _slope(guide: Tensor, alpha: Tensor) -> Tensor:
    """Return the slope of alpha over the guide in each pixel's 3x3 window, averaged over 3x3 pixels."""
    mean_guide, mean_alpha = _box(guide), _box(alpha)
    covariance = _box(guide * alpha) - mean_guide * mean_alpha
    variance = _box(guide * guide) - mean_guide * mean_guide
    return _box(covariance / (variance + GUIDE_EPSILON))


def _box(values: Tensor) -> Tensor:
    """Return the mean over 3x3 pixels."""
    return F.avg_pool2d(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _size(image: Tensor) -> tuple[int, int]:
    """Return height and width."""
    return image.shape[-2], image.shape[-1]


def _blurred_planes(planes: Sequence[Tensor], matte: Tensor) -> list[Tensor]:
    """Blur planes `(N, 1, H, W)` of images as `BlurBackground.around(matte)` does; the matte is in [0, 1]."""
    height, width, deviation_px = blur_scale(*_size(planes[0]))
    sizes = [(ceil(height * scale), ceil(width * scale)) for scale in PLANE_SCALES]
    deviations_px = [deviation_px * scale for scale in PLANE_SCALES]
    each = zip(planes, sizes, deviations_px, strict=True)
    return [_blurred(plane, matte, size, deviation_px) for plane, size, deviation_px in each]


def _blurred(plane: Tensor, matte: Tensor, size: tuple[int, int], deviation_px: float) -> Tensor:
    """Reduce planes `(N, 1, H, W)` to `size`, blur them there without the subject, and enlarge them again."""
    nearest = F.max_pool2d(averaged(matte, size), 3, stride=1, padding=1)
    share = (1 - nearest) ** EXPONENT + FLOOR
    soft = _gaussian(averaged(plane, size) * share, deviation_px) / _gaussian(share, deviation_px)
    return F.interpolate(soft, _size(plane), mode="bilinear")


def _gaussian(small: Tensor, deviation_px: float) -> Tensor:
    """Blur images `(N, 1, h, w)`."""
    radius = round(3 * deviation_px)
    offsets = torch.arange(-radius, radius + 1, device=small.device)
    weights = torch.softmax(-offsets.square() / (2 * deviation_px**2), 0)
    # Mirror the edge as OpenCV does, if the image is large enough.
    mode = "reflect" if radius < min(_size(small)) else "replicate"
    padded = F.pad(small, (radius, radius, radius, radius), mode=mode)
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
